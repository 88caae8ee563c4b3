// What a backend is: an element type, a memory space and a few memory operations.
#pragma once

#include <lolcats/tensor/tensor.hpp>

#include <algorithm>
#include <concepts>
#include <string_view>

namespace lolcats {

/// A backend decides where numbers live and which kernels run.
///
/// `Scalar` is the type of activations and frozen weights, `Real` the type of everything that must not lose small
/// contributions: losses, normalizers, states, gradients of parameters, master weights and optimizer moments.
/// A backend object is a small regular value (a handle); kernels are specialisations `SomeKernel<B>`.
// clang-format off
template <class B>
concept Backend = std::regular<B> && requires(const B backend, typename B::Scalar* scalars, typename B::Real* reals,
                                              const typename B::Scalar* source, double* host, const double* from, Index n) {
  typename B::Space;
  { B::name() } -> std::convertible_to<std::string_view>;
  { B::Space::allocate(std::size_t{}) } -> std::same_as<void*>;
  backend.zero(scalars, n);                 // n elements become 0
  backend.copy(source, scalars, n);         // within the space
  backend.to_host(source, host, n);         // to doubles, exact
  backend.from_host(from, scalars, n);      // from doubles, rounded to nearest
} && (std::same_as<typename B::Space, Host> || requires(const B backend, typename B::Scalar* there, typename B::Scalar* here,
                                                        Index n) {
  backend.download(there, here, n);         // elements as they are, to host memory
  backend.upload(here, there, n);           // and from it
});
// clang-format on

/// Element type of activations.
template <Backend B>
using Scalar = typename B::Scalar;

/// Element type of losses, statistics, states, parameter gradients and masters.
template <Backend B>
using Real = typename B::Real;

/// An owning array in the backend's memory.
template <Backend B, class T = Scalar<B>>
using Array = Tensor<T, typename B::Space>;

/// Can the host read a backend's arrays where they lie?
template <Backend B>
inline constexpr bool in_host_memory = std::same_as<typename B::Space, Host>;

/// n elements as they are, from the backend's memory to the host's; waits for the backend.
template <Backend B, class T>
void download(const B& backend, const T* from, T* to, Index n) {
  if constexpr (in_host_memory<B>) std::copy_n(from, n, to);
  else backend.download(from, to, n);
}

/// n elements as they are, from host memory to the backend's.  The host may change its own at once.
template <Backend B, class T>
void upload(const B& backend, const T* from, T* to, Index n) {
  if constexpr (in_host_memory<B>) std::copy_n(from, n, to);
  else backend.upload(from, to, n);
}

}  // namespace lolcats
