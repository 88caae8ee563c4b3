// Device memory between guards: whoever writes outside of it is found out, whoever reads there gets NaN.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/testing/random.hpp>

#include <cstring>
#include <limits>
#include <vector>

namespace lolcats::testing {

/// An array of the backend with guards of NaN before and behind it.
template <Backend B, class T = Scalar<B>>
class Guarded {
 public:
  Guarded(const Shape& shape, const std::vector<double>& values, const B& backend = {})
      : backend_(backend), shape_(shape), all_(Shape{shape.size() + 2 * guard}) {
    std::vector<double> filled(static_cast<std::size_t>(all_.size()), std::numeric_limits<double>::quiet_NaN());
    std::copy(values.begin(), values.end(), filled.begin() + guard);
    backend_.from_host(filled.data(), all_.data(), all_.size());
    before_ = bits();
  }
  /// Nothing but NaN.
  explicit Guarded(const Shape& shape, const B& backend = {}) : Guarded(shape, {}, backend) {}

  View<T> view() { return {all_.data() + guard, shape_}; }
  std::vector<double> host() { return testing::host(backend_, view()); }
  /// Are the guards what they were?
  bool intact() {
    const std::vector<T> now = bits();
    const auto same = [&](Index first) {
      return std::memcmp(&now[at(first)], &before_[at(first)], guard * sizeof(T)) == 0;
    };
    return same(0) && same(guard + shape_.size());
  }

 private:
  static constexpr Index guard = 1024;
  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
  std::vector<T> bits() {
    std::vector<T> all(at(all_.size()));
    backend_.download(all_.data(), all.data(), all_.size());
    return all;
  }

  B backend_;
  Shape shape_;
  Array<B, T> all_;
  std::vector<T> before_;
};

}  // namespace lolcats::testing
