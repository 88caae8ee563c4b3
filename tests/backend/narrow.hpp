// A backend whose numbers are narrow, on machines without a GPU.
#pragma once

#include <lolcats/backend/backend.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <algorithm>
#include <string_view>

namespace lolcats::testing {

/// Host memory with a narrow Scalar and a wide Real, as a GPU backend has them.
struct Narrow {
  using Scalar = bf16;
  using Real = float;
  using Space = Host;
  static constexpr std::string_view name() { return "narrow"; }
  template <class T>
  static void zero(T* data, Index n) {
    std::fill_n(data, n, T(0.0F));
  }
  template <class T, class U>
  static void copy(const T* from, U* to, Index n) {
    std::transform(from, from + n, to, [](T x) { return static_cast<U>(static_cast<float>(x)); });
  }
  template <class T>
  static void to_host(const T* from, double* to, Index n) {
    std::transform(from, from + n, to, [](T x) { return static_cast<double>(static_cast<float>(x)); });
  }
  template <class T>
  static void from_host(const double* from, T* to, Index n) {
    std::transform(from, from + n, to, [](double x) { return static_cast<T>(static_cast<float>(x)); });
  }
  friend bool operator==(const Narrow&, const Narrow&) = default;
};
static_assert(Backend<Narrow>);

}  // namespace lolcats::testing
