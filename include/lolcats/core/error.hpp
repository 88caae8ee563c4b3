// Typed errors.  Every message names the function or file, what it got and what it expected.
#pragma once

#include <lolcats/core/index.hpp>

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace lolcats {

/// Base of everything this library throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Two sizes that must agree do not.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// The bytes of a file are not what its format promises.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// A configuration asks for something unknown, contradictory or unsupported.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused to read or write.
class FileError : public Error {
 public:
  using Error::Error;
};

/// Text, tokens or labels that cannot be used.
class DataError : public Error {
 public:
  using Error::Error;
};

/// A computation left the finite numbers.
class NumericError : public Error {
 public:
  using Error::Error;
};

/// The CUDA runtime, a CUDA library or the device refused.
class CudaError : public Error {
 public:
  using Error::Error;
};

/// MPI, NCCL or the operating system refused what processes that work together need.
class CommunicationError : public Error {
 public:
  using Error::Error;
};

/// Another of the processes that work together has failed or is gone.
class RankError : public CommunicationError {
 public:
  RankError(const std::string& message, Index rank) : CommunicationError(message), rank_(rank) {}
  Index rank() const { return rank_; }

 private:
  Index rank_;
};

/// A training run was asked to stop, and did after an update; its state is saved where its recipe names a file.
class Interrupted : public Error {
 public:
  Interrupted(const std::string& message, std::string stage, Index update)
      : Error(message), stage_(std::move(stage)), update_(update) {}
  const std::string& stage() const { return stage_; }
  Index update() const { return update_; }  // the last one that was finished

 private:
  std::string stage_;
  Index update_;
};

namespace detail {
/// Apart from the types of the arguments, so that a message costs the compiler as little as it can: there are hundreds.
template <class E>
[[noreturn]] void throw_formatted(fmt::string_view format, fmt::format_args args) {
  throw E(fmt::vformat(format, args));
}
}  // namespace detail

/// Throws E with a formatted message.
template <class E = Error, class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  detail::throw_formatted<E>(format, fmt::make_format_args(args...));
}

/// Throws E with a formatted message unless `condition` holds.  The message is only built on failure.
template <class E = Error, class... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]] detail::throw_formatted<E>(format, fmt::make_format_args(args...));
}

}  // namespace lolcats
