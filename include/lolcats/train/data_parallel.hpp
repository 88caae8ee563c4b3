// Training on several ranks: each has the whole model and a share of the rows, and all have the same parameters.
#pragma once

#include <lolcats/core/version.hpp>
#include <lolcats/data/row_groups.hpp>
#include <lolcats/distributed/communicator.hpp>
#include <lolcats/tape/parameter.hpp>
#include <lolcats/train/recipe_fields.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats::detail {

/// Null means this process alone.
inline Communicator& or_alone(Communicator* communicator) {
  static Alone alone;
  return communicator ? *communicator : alone;
}
template <class R>
Communicator& communicator_of(const R& recipe) {
  return or_alone(recipe.communicator);
}

/// Does the run have to know what it is made from?
template <class R>
bool is_identified(const R& recipe) {
  return !recipe.checkpoint.empty() || communicator_of(recipe).size() > 1;
}

/// What all ranks of a run must agree on: its identity, and when it ends.
template <class R>
RunIdentity identity_of_rank(const R& recipe, Index updates, RunIdentity identity) {
  identity["library version"] = version;
  identity["updates"] = fmt::format("{}", updates);
  identity["patience"] = fmt::format("{}", recipe.patience);
  identity["checkpoint"] = recipe.checkpoint.string();
  return identity;
}

/// Refuses ranks that were told different things or have different bases or data.
/// Errors, on all ranks the same: ConfigError naming the field, the first rank that differs, and both values.
inline void check_same_on_all_ranks(Communicator& communicator, std::string_view stage, const RunIdentity& identity) {
  if (communicator.size() == 1) return;
  std::string text;  // length, colon, text: names and values in turn
  const auto put = [&](std::string_view part) { text += fmt::format("{}:{}", part.size(), part); };
  for (const auto& [name, value] : identity) put(name), put(value);

  std::vector<RunIdentity> all;
  for (const std::string& other : communicator.gather(text)) {
    RunIdentity& fields = all.emplace_back();
    std::size_t at = 0;
    const auto take = [&] {
      std::size_t digits = 0;
      const std::size_t size = std::stoul(other.substr(at), &digits);
      const std::string part = other.substr(at + digits + 1, size);
      at += digits + 1 + size;
      return part;
    };
    while (at < other.size()) {
      std::string name = take();
      fields.emplace(std::move(name), take());
    }
  }
  const auto value = [](const RunIdentity& fields, const std::string& name) {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string("none") : fmt::format("'{:.200}'", found->second);
  };
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    RunIdentity names = all.front();
    names.insert(all[rank].begin(), all[rank].end());
    for (const auto& [name, ignored] : names) {
      require<ConfigError>(value(all[rank], name) == value(all.front(), name), "{}: rank {} has {} {}, expected {}, that of rank 0", stage, rank,
                           name, value(all[rank], name), value(all.front(), name));
    }
  }
}

/// The gradients become the sums over all ranks, in the order of the ranks: one buffer, one collective.
/// Errors: ConfigError for a communicator that does not reach the backend's memory; those of the communicator.
template <Backend B>
void sum_gradients(Communicator& communicator, const B& backend, const Parameters<B>& parameters) {
  if (communicator.size() == 1) return;
  require<ConfigError>(communicator.in_host_memory() == in_host_memory<B>, "the communicator sums {} memory, expected that of {}",
                       communicator.in_host_memory() ? "host" : "GPU", B::name());
  Index total = 0;
  for (const auto& [name, parameter] : parameters) total += parameter->size();
  Array<B, Real<B>> flat(Shape{total});
  const auto for_all = [&](auto&& f) {
    Real<B>* at = flat.data();
    for (const auto& [name, parameter] : parameters) {
      f(parameter->gradient(), at);
      at += parameter->size();
    }
  };
  for_all([&](View<Real<B>> gradient, Real<B>* at) { backend.copy(gradient.data, at, gradient.size()); });
  communicator.sum(std::span<Real<B>>(flat.data(), static_cast<std::size_t>(total)));
  for_all([&](View<Real<B>> gradient, Real<B>* at) { backend.copy(at, gradient.data, gradient.size()); });
}

/// The sums over all groups of rows of what f(rows, values) finds: `count` numbers that are 0 before.  The groups are
/// shared out among the ranks, and what they gave is added in the order of the rows: the same bits on any number of ranks.
/// idle() is called for every group that other ranks have more than this one.
template <class F, class Idle>
std::vector<double> sum_over_row_groups(Communicator& communicator, Index rows, Index size, std::size_t count, F&& f, Idle&& idle) {
  const Index groups = (rows + size - 1) / size, most = (groups + communicator.size() - 1) / communicator.size();
  const Share own = share_of(groups, communicator.rank(), communicator.size());
  std::vector<double> values;
  Index group = 0;
  for_row_groups(rows, size, [&](std::span<const Index> chosen) {
    if (const Index index = group++; index < own.first || index >= own.last) return;
    values.resize(values.size() + count);
    f(chosen, std::span(values).last(count));
  });
  for (Index i = own.count(); i < most; ++i) idle();
  std::vector<double> sums(count);
  const std::vector<double> all = communicator.gather(values);
  for (std::size_t i = 0; i < all.size(); ++i) sums[i % count] += all[i];
  return sums;
}

}  // namespace lolcats::detail
