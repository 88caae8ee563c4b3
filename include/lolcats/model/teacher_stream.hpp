// The teacher's residual stream, layer by layer, in the memory of one layer.
#pragma once

#include <lolcats/model/adapter_scope.hpp>
#include <lolcats/nn/attention.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/sequences.hpp>

#include <span>
#include <utility>

namespace lolcats {

/// Runs the softmax teacher inside a student: every layer computes both attentions from one set of projections, and the
/// teacher's output goes on to the next layer.  So a layer's attention error depends on its own parameters alone.
///
/// The stream x (M, C) between two layers lives outside the tape; all else disappears with the layer.  Adapters are
/// off while the stream is alive.
template <class Model>
class TeacherStream {
 public:
  using B = typename Model::Device;

  TeacherStream(Tape<B>& tape, Model& model) : tape_(tape), model_(model), without_adapters_(model) {}

  /// Starts before layer 0.  `sequences` must outlive the pass.
  void start(std::span<const Index> tokens, const Sequences& sequences) {
    const typename Tape<B>::Scope scope(tape_);
    const typename Tape<B>::NoGradient quiet(tape_);
    start(0, model_.embed(tape_, tokens).value(), sequences);
  }

  /// Starts before `layer` from the stream x (M, C) that enters it.
  void start(Index layer, View<const Scalar<B>> x, const Sequences& sequences) {
    require<ShapeError>(x.rows() == sequences.rows(), "TeacherStream: x has {} rows, expected {}", x.rows(),
                        sequences.rows());
    sequences_ = &sequences;
    layer_ = layer;
    store(x);
  }

  /// The layer that comes next, and the stream that enters it.
  Index layer() const { return layer_; }
  View<const Scalar<B>> value() const { return View<const Scalar<B>>{buffer_.data(), shape_}; }
  const Sequences& sequences() const { return *sequences_; }

  /// Runs one layer and calls visit(layer, qkv, y) with its rotated projections and the teacher's attention
  /// y (M, H * D), both without gradient.  What visit records and computes is gone afterwards.
  template <class F>
  void advance(F&& visit) {
    const typename Tape<B>::Scope scope(tape_);
    auto&& layer = model_.layer(layer_);
    const Var<B> x = tape_.constant(value());
    const auto [qkv, y] = [&] {
      const typename Tape<B>::NoGradient quiet(tape_);
      const auto projected = layer.project(tape_, x, *sequences_, model_.rope(*sequences_));
      return std::pair{projected, layer.attend_softmax(tape_, projected, *sequences_)};
    }();
    {
      const typename Tape<B>::Scope visited(tape_);
      visit(layer, qkv, y);
    }
    const typename Tape<B>::NoGradient quiet(tape_);
    store(layer.finish(tape_, x, y).value());
    ++layer_;
  }
  void advance() {
    advance([](auto&&...) {});
  }

 private:
  void store(View<const Scalar<B>> x) {
    if (buffer_.size() < x.size()) buffer_ = Array<B>(x.shape);
    shape_ = x.shape;
    tape_.backend().copy(x.data, buffer_.data(), x.size());
  }

  Tape<B>& tape_;
  Model& model_;
  WithoutAdapters<Model> without_adapters_;
  const Sequences* sequences_ = nullptr;
  Index layer_ = 0;
  Array<B> buffer_;
  Shape shape_;
};

}  // namespace lolcats
