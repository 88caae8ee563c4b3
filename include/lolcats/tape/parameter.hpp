// Weights of a model, and how an operation sees them.
#pragma once

#include <lolcats/backend/backend.hpp>

#include <string>
#include <vector>

namespace lolcats {

/// A weight as an operation sees it: its value, and where its gradient is added if it is trained.
///
/// Gradients of weights are kept in Real and always added to, over any number of backward passes.
template <Backend B>
struct Weight {
  View<const Scalar<B>> value;
  View<Real<B>> gradient;  // null when frozen

  const Shape& shape() const { return value.shape; }
  bool trained() const { return static_cast<bool>(gradient); }
  explicit operator bool() const { return static_cast<bool>(value); }
};

/// A weight that a model owns or borrows.  Frozen until `train()` is called.
///
/// Copying shares the value and leaves the training state behind: the copy is frozen.  So a student made from a
/// teacher costs no memory for what they have in common, and training the student's parameters is its own affair.
template <Backend B>
class Parameter {
 public:
  Parameter() = default;
  explicit Parameter(Array<B> value) : value_(std::move(value)) {}

  Parameter(const Parameter& other) : value_(other.value_) {}
  Parameter& operator=(const Parameter& other) {
    if (this != &other) *this = Parameter(other);
    return *this;
  }
  Parameter(Parameter&&) noexcept = default;
  Parameter& operator=(Parameter&&) noexcept = default;

  const Shape& shape() const { return value_.shape(); }
  Index size() const { return value_.size(); }
  explicit operator bool() const { return static_cast<bool>(value_); }
  bool trained() const { return static_cast<bool>(gradient_); }
  bool shares_storage_with(const Parameter& other) const { return value_.shares_storage_with(other.value_); }

  View<const Scalar<B>> value() const { return value_.view(); }
  /// The value for writing.  It must not be borrowed: call `train()` or `own()` first.
  View<Scalar<B>> mutable_value() { return value_.view(); }
  /// What the optimizer updates, in Real; the same memory as the value where Scalar is Real.
  View<Real<B>> master() { return master_.view(); }
  View<Real<B>> gradient() { return gradient_.view(); }

  operator Weight<B>() const { return {value_.view(), gradient_.view()}; }
  Weight<B> frozen() const { return {value_.view(), {}}; }

  /// Replaces borrowed or shared storage by a private copy.
  void own(const B& backend) {
    Array<B> copy(value_.shape());
    backend.copy(value_.data(), copy.data(), value_.size());
    value_ = std::move(copy);
  }

  /// Allocates gradient (zero) and master; the value becomes private to this parameter.
  void train(const B& backend) {
    if (trained()) return;
    own(backend);
    gradient_ = Array<B, Real<B>>(value_.shape());
    backend.zero(gradient_.data(), gradient_.size());
    if constexpr (std::is_same_v<Scalar<B>, Real<B>>) {
      master_ = value_;
    } else {
      master_ = Array<B, Real<B>>(value_.shape());
      backend.copy(value_.data(), master_.data(), value_.size());
    }
  }

  /// Drops gradient and master.
  void freeze() {
    gradient_ = {};
    master_ = {};
  }

 private:
  Array<B> value_;
  Array<B, Real<B>> master_;
  mutable Array<B, Real<B>> gradient_;  // backward passes add to it while the model itself does not change
};

/// A parameter with the name it has in a checkpoint.
template <Backend B>
struct NamedParameter {
  std::string name;
  Parameter<B>* parameter = nullptr;
};

template <Backend B>
using Parameters = std::vector<NamedParameter<B>>;

/// The same to look at.
template <Backend B>
struct NamedConstParameter {
  std::string name;
  const Parameter<B>* parameter = nullptr;
};

template <Backend B>
using ConstParameters = std::vector<NamedConstParameter<B>>;

template <Backend B>
ConstParameters<B> read_only(const Parameters<B>& parameters) {
  ConstParameters<B> list;
  for (const auto& [name, parameter] : parameters) list.push_back({name, parameter});
  return list;
}

}  // namespace lolcats
