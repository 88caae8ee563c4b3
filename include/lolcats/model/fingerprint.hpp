// Numbers that tell the weights of one model from those of another.
#pragma once

#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/tape/parameter.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// Of bytes, eight at a time in four independent chains, so that memory is the limit.  Every step is one to one, so a
/// change within a single word is always seen.
inline std::uint64_t fingerprint_of_bytes(std::span<const std::byte> bytes) {
  constexpr std::uint64_t prime = 0x9e3779b97f4a7c15ULL;
  std::array<std::uint64_t, 4> chains{1, 2, 3, 4};
  std::array<std::uint64_t, 4> words{};
  const auto mix = [&] {
    for (std::size_t i = 0; i < 4; ++i) chains[i] = std::rotl(chains[i] ^ words[i], 29) * prime;
  };
  std::size_t at = 0;
  for (; at + sizeof words <= bytes.size(); at += sizeof words) {
    std::memcpy(words.data(), bytes.data() + at, sizeof words);
    mix();
  }
  words = {};
  if (at < bytes.size()) std::memcpy(words.data(), bytes.data() + at, bytes.size() - at);
  mix();
  Fingerprint print;
  for (const std::uint64_t chain : chains) print.add(chain);
  print.add(static_cast<std::uint64_t>(bytes.size()));
  return print.value();
}

/// Adds n numbers in host memory, as they are or rounded to bf16.  In blocks of one size, so that the result does not
/// depend on the number of threads.
template <class T>
void add_numbers(Fingerprint& print, const T* numbers, Index n, bool rounded) {
  constexpr Index block = Index{1} << 18;
  std::vector<std::uint64_t> parts(static_cast<std::size_t>((n + block - 1) / block));
  parallel_ranges(n, block, [&](Index first, Index last) {
    std::uint64_t& part = parts[static_cast<std::size_t>(first / block)];
    const std::span<const T> own(numbers + first, static_cast<std::size_t>(last - first));
    if (!rounded || std::is_same_v<T, bf16>) {
      part = fingerprint_of_bytes(std::as_bytes(own));
    } else {
      std::vector<bf16> copy(own.size());
      std::transform(own.begin(), own.end(), copy.begin(), [](T x) { return bf16(static_cast<float>(x)); });
      part = fingerprint_of_bytes(std::as_bytes(std::span<const bf16>(copy)));
    }
  });
  for (const std::uint64_t part : parts) print.add(part);
}

/// Adds a tensor: its name, its shape, and its numbers; host(first, n) is where n of them lie in host memory.
template <class F>
void add_tensor(Fingerprint& print, const std::string& name, const Shape& shape, bool rounded, F&& host) {
  constexpr Index at_once = Index{1} << 24;  // numbers that are brought to the host
  print.add(name);
  print.add(to_string(shape));
  for (Index first = 0; first < shape.size(); first += at_once) {
    const Index n = std::min(at_once, shape.size() - first);
    add_numbers(print, host(first, n), n, rounded);
  }
}

template <Backend B>
std::uint64_t fingerprint_of(const B& backend, const ConstParameters<B>& parameters, bool rounded) {
  Fingerprint print;
  std::vector<Scalar<B>> copy;
  for (const auto& [name, parameter] : parameters) {
    const Scalar<B>* values = parameter->value().data;
    add_tensor(print, name, parameter->shape(), rounded, [&](Index first, Index n) -> const Scalar<B>* {
      if constexpr (in_host_memory<B>) {
        return values + first;
      } else {
        copy.resize(static_cast<std::size_t>(n));
        download(backend, values + first, copy.data(), n);
        return copy.data();
      }
    });
  }
  return print.value();
}

}  // namespace detail

/// Of names, shapes and every number as the backend holds it: backends of other precision give other values.
template <Backend B>
std::string fingerprint_of(const B& backend, const ConstParameters<B>& parameters) {
  return fmt::format("{:016x}", detail::fingerprint_of(backend, parameters, false));
}
template <Backend B>
std::string fingerprint_of(const B& backend, const Parameters<B>& parameters) {
  return fingerprint_of(backend, read_only(parameters));
}

/// Of names, shapes and every number rounded to bf16: the same on all backends, for what a file says of its base.
/// Weights that differ by less than this rounding are not told apart.
template <Backend B>
std::string rounded_fingerprint_of(const B& backend, const ConstParameters<B>& parameters) {
  return fmt::format("{:016x}", detail::fingerprint_of(backend, parameters, true));
}

/// The same of a model's base, with numbers as they are or rounded, wherever its layers' weights are.
template <class Model>
std::string fingerprint_of_base(const Model& model, bool rounded) {
  if (const auto& loader = model.layer_loader()) return loader->fingerprint(rounded);
  return fmt::format("{:016x}", detail::fingerprint_of(model.backend(), model.base_parameters(), rounded));
}

/// Whether a file that names its base may be used over another: a quantised form of it, say.
enum class BaseCheck { same, any };

/// Refuses a base that is not the one a file names; a file that names none is taken at its word.
/// Errors: ConfigError with both fingerprints.
template <class Model>
void check_base(const Model& model, const std::string& file, const std::string& made_over, BaseCheck check) {
  if (made_over.empty() || check == BaseCheck::any) return;
  const std::string here = fingerprint_of_base(std::as_const(model), true);
  require<ConfigError>(made_over == here,
                       "{}: was made over a base model with fingerprint {:.64}, expected {}, that of the model here; load it "
                       "over its own base, or ask for any",
                       file, made_over, here);
}

}  // namespace lolcats
