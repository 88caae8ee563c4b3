// RMSNorm with its weight.
#pragma once

#include <lolcats/ops/rms_norm/rms_norm.hpp>

#include <string>

namespace lolcats {

/// y = x / sqrt(mean(x^2) + eps) * w over rows of C numbers.
template <Backend B>
class Norm {
 public:
  Norm() = default;
  Norm(Index width, double eps) : width_(width), eps_(eps) {}

  Var<B> operator()(Tape<B>& tape, Var<B> x) const { return rms_norm<B>(tape, x, weight_, eps_); }
  /// The same over each head of x (M, H * C).
  Var<B> of_heads(Tape<B>& tape, Var<B> x) const { return rms_norm_heads<B>(tape, x, weight_, eps_); }

  /// False for a norm that is not there.
  explicit operator bool() const { return width_ > 0; }

  /// f(name, shape, parameter).
  template <class F>
  void visit_base(const std::string& name, F&& f) {
    f(name + ".weight", Shape{width_}, weight_);
  }

 private:
  Index width_ = 0;
  double eps_ = 0;
  Parameter<B> weight_;  // (C)
};

}  // namespace lolcats
