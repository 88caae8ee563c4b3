// The gated feed-forward part of a decoder layer.
#pragma once

#include <lolcats/nn/projection.hpp>
#include <lolcats/ops/swiglu/swiglu.hpp>

namespace lolcats {

/// y (M, C) = (silu(x gate^T) * (x up^T)) down^T, each projection adapted where P says so.
template <Backend B, AdapterPolicy P>
class Mlp {
 public:
  Mlp() = default;
  Mlp(const B& backend, Index width, Index hidden, Index layer, std::uint64_t seed)
      : gate_(backend, width, hidden, layer, seed),
        up_(backend, width, hidden, layer, seed),
        down_(backend, hidden, width, layer, seed) {}

  Var<B> operator()(Tape<B>& tape, Var<B> x) const { return down_(tape, swiglu(tape, gate_(tape, x), up_(tape, x))); }

  /// f(projection) for each of the three.
  template <class F>
  void visit_projections(F&& f) {
    f(gate_), f(up_), f(down_);
  }

 private:
  Projection<B, P, Projections::gate> gate_;
  Projection<B, P, Projections::up> up_;
  Projection<B, P, Projections::down> down_;
};

}  // namespace lolcats
