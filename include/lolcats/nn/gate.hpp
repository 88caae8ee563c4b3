// The gate of a layer's memory: its weights, and what it reads.
#pragma once

#include <lolcats/nn/feature_map.hpp>
#include <lolcats/ops/linear/linear.hpp>

#include <string>
#include <vector>

namespace lolcats {

/// What gates (policy/gate.hpp) are made of in one layer: a bias for each of `sums` memories, and for GateInput::hidden a
/// projection of the layer's normed input (sums, C).
template <Backend B, GatePolicy G>
class GateLayer {
 public:
  GateLayer() = default;

  /// `width` is C; only GateInput::hidden asks for it.
  GateLayer(const B& backend, const Heads& heads, Index sums, Index width) : sums_(sums) {
    std::vector<double> start;
    for (Index s = 0; s < sums; ++s) start.push_back(G::start(s, sums));
    bias_ = detail::make_parameter(backend, Shape{1, sums, 1, 1}, start);
    if constexpr (G::input == GateInput::hidden) {
      require<ConfigError>(width > 0, "gate '{}': the width of the layer's input is {}, expected at least 1", G::name(), width);
      projection_ = detail::make_parameter(backend, Shape{sums, width},
                                           std::vector<double>(static_cast<std::size_t>(sums * width), 0.0));
    } else if constexpr (G::input == GateInput::keys) {
      // The mean over a key head, for every sum that it serves.
      std::vector<double> means(static_cast<std::size_t>(sums * heads.keys * heads.size), 0.0);
      for (Index s = 0; s < sums; ++s) {
        const Index g = s / (sums / heads.keys);
        for (Index i = 0; i < heads.size; ++i) {
          means[static_cast<std::size_t>((s * heads.keys + g) * heads.size + i)] = 1.0 / static_cast<double>(heads.size);
        }
      }
      projection_ = detail::make_parameter(backend, Shape{sums, heads.keys * heads.size}, means);
    }
  }

  Weight<B> bias() const { return bias_; }
  /// Gate inputs (M, sums), of the layer's normed input (M, C) or of keys before their rotation (M, G * D); null where
  /// the gate has none.
  Var<B> operator()([[maybe_unused]] Tape<B>& tape, [[maybe_unused]] Var<B> hidden, [[maybe_unused]] Var<B> keys) const {
    if constexpr (G::input == GateInput::hidden) {
      require<ShapeError>(static_cast<bool>(hidden), "gate '{}': the layer's input is missing", G::name());
      return linear(tape, hidden, projection_);
    } else if constexpr (G::input == GateInput::keys) {
      require<ShapeError>(static_cast<bool>(keys), "gate '{}': the keys before their rotation are missing", G::name());
      return linear(tape, keys, projection_);
    } else {
      return {};
    }
  }

  /// f(name, shape, parameter) for what is learned.
  template <class F>
  void visit([[maybe_unused]] const std::string& at, [[maybe_unused]] F&& f) {
    if constexpr (G::learned) f(at + ".bias", Shape{1, sums_, 1, 1}, bias_);
    if constexpr (G::input == GateInput::hidden) f(at + ".weight", projection_.shape(), projection_);
  }

 private:
  Index sums_ = 0;
  Parameter<B> bias_;        // (1, sums, 1, 1)
  Parameter<B> projection_;  // (sums, C), or the means of keys (sums, G * D), which are not learned
};

}  // namespace lolcats
