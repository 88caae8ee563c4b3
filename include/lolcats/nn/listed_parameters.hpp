// A list of parameters as layers write it.
#pragma once

#include <lolcats/tape/parameter.hpp>

#include <string>
#include <utility>
#include <vector>

namespace lolcats::detail {

/// A list that layers write their parameters to, whatever they are: one visitor for all lists.
template <Backend B>
class ListedParameters {
 public:
  struct Item {
    std::string name;
    Shape shape;
    Parameter<B>* parameter;
  };
  void operator()(std::string name, const Shape& shape, Parameter<B>& parameter);

  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }

 private:
  std::vector<Item> items_;
};
template <Backend B>
void ListedParameters<B>::operator()(std::string name, const Shape& shape, Parameter<B>& parameter) {
  items_.push_back({std::move(name), shape, &parameter});
}

template <Backend B>
Parameters<B> parameters_of(const ListedParameters<B>& list) {
  Parameters<B> parameters;
  for (const auto& [name, shape, parameter] : list) parameters.push_back({name, parameter});
  return parameters;
}

}  // namespace lolcats::detail
