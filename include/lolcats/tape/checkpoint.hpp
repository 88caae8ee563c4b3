// Recomputation: trade a second forward pass for the memory of the first.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// y = f(tape, x), keeping only x and y: the backward pass runs f again (Chen et al. 2016, arXiv:1604.06174).
///
/// f maps a Var to a Var of the same shape, uses no other Var, and computes the same thing when called twice.  It is
/// stored in the tape, so it may capture references and numbers only.  y wants a gradient whenever recording is on,
/// because what f trains is not known before it runs.
template <Backend B, class F>
Var<B> checkpoint(Tape<B>& tape, F f, Var<B> x) {
  if (!tape.recording()) return f(tape, x);
  auto [y, y_value] = tape.result(x.shape(), true);
  {
    const typename Tape<B>::Scope scope(tape);
    const typename Tape<B>::NoGradient quiet(tape);
    const Var<B> inner = f(tape, tape.constant(x.value()));
    check_shape("checkpoint", "f(x)", inner.shape(), x.shape());
    tape.backend().copy(inner.value().data, y_value.data, y_value.size());
  }
  tape.record(y, [&tape, f, x, y = y]() mutable {
    // The gradient of x must outlive the scope below, so it is made before it.
    const bool wanted = x.wants_gradient();
    const Sink<Scalar<B>> outer = wanted ? x.sink() : Sink<Scalar<B>>{};
    const typename Tape<B>::Scope scope(tape);
    tape.recording_ = true;
    const Var<B> again(new (tape.host_.allocate(sizeof(detail::Node<B, Scalar<B>>))) detail::Node<B, Scalar<B>>{
        x.value(), outer.gradient, wanted, outer.add, &tape.gradients_});
    const Var<B> output = f(tape, again);
    tape.recording_ = false;
    if (!output.wants_gradient()) {
      if (wanted && !outer.add) tape.backend().zero(outer.gradient.data, outer.gradient.size());
      return;
    }
    const Sink<Scalar<B>> seed = output.sink();
    tape.backend().copy(y.gradient().data, seed.gradient.data, seed.gradient.size());
    tape.replay(scope.first_record());
    if (wanted && !again.has_gradient()) tape.backend().zero(outer.gradient.data, outer.gradient.size());
  });
  return y;
}

}  // namespace lolcats
