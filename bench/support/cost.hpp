// What linearizing costs, from sizes and measured rates: bytes on disk, host and card, and seconds.
#pragma once

#include "flops.hpp"

#include <lolcats/io/llama_config.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

#include <algorithm>
#include <cmath>

namespace bench {

/// Of one H100 or H200 (docs/scale.md): operations and bytes per second.
struct Rates {
  double transfer = 580e12;  // steps of stage 1, counted as step_flops does
  double forward = 580e12;   // the teacher between blocks
  double finetune = 540e12;  // steps of stage 2
  double stream = 14e9;      // the teacher's stream, between host memory and the card
  double upload = 7.5e9;     // weights, from host memory to the card
  double gather = 200e9;   // at least: of a layer's pieces, from other cards of the host
  double other_bytes = 1.5 * (1 << 30);  // on the card, of the driver, the libraries and scratch
};

/// What is to be done; lengths in tokens.
struct Work {
  Index gpus = 1;  // stage 1: each trains blocks of its own; stage 2: they share the rows and the base
  Index block = 4;
  double tokens = 20e6;  // of the training data
  double epochs = 1;
  Index length = 1024;
  Index micro_batch = 8;  // rows of a forward pass
  Index rank = 8;         // of LoRA on q, k, v, o
};

struct StageCost {
  double seconds = 0;
  double waiting = 0;  // of these, for weights from disk, host or other cards
  double between = 0;  // of these, in forward passes between blocks
  double disk = 0, host = 0, card = 0;  // bytes; host and card of one GPU, disk of all
};

/// Hedgehog<64> and Terraced<64>, the paper's attention.
class CostModel {
 public:
  using Attention = lolcats::Hybrid<lolcats::Hedgehog<64>, lolcats::Terraced<64>>;

  explicit CostModel(const lolcats::LlamaConfig& config, const Rates& rates = {}) : c_(config), rates_(rates) {}

  /// Numbers of a layer, and of the whole model.
  double layer_weights() const {
    return width() * (2 * queries() + 2 * keys()) + 3 * width() * static_cast<double>(c_.intermediate_size) + 2 * width();
  }
  double embedding() const { return width() * static_cast<double>(c_.vocab_size); }
  double weights() const { return layers() * layer_weights() + (c_.tied_embeddings ? 1 : 2) * embedding() + width(); }

  /// Stage 1 in streamed blocks of bf16 (train/streamed_transfer.hpp), by the GPU that has most to do: jobs of as many blocks in
  /// a row, each of which runs the layers below its last block once.
  StageCost transfer(const Work& w) const {
    const double blocks = std::ceil(layers() / static_cast<double>(w.block));
    const double own = std::ceil(blocks / static_cast<double>(w.gpus));
    const double own_layers = std::min(own * static_cast<double>(w.block), layers());
    const double below = layers() - static_cast<double>(w.block);
    const auto flops = layer_flops(w.length);
    StageCost cost;
    const double once = 2 * w.tokens * width() / rates_.stream;  // the streams of all rows, in one direction
    const double training = w.epochs * (w.tokens * own_layers * flops.transfer / rates_.transfer + own * once);
    cost.between = w.tokens * below * flops.forward / rates_.forward + (2 * blocks - 1) * once;
    const double block_bytes = 2 * static_cast<double>(w.block) * layer_weights();
    const double load = block_bytes / rates_.upload;
    // Nothing runs while the embedding comes; the first block comes while it is used, the others while a block is trained or passed.
    const double least = w.tokens * static_cast<double>(w.block) * flops.forward / rates_.forward + 2 * once;
    cost.waiting = 2 * embedding() / rates_.upload + std::max(0.0, load - once) + (blocks - 1) * std::max(0.0, load - least);
    cost.seconds = training + cost.between + cost.waiting;
    const double streams = 2 * w.tokens * width();
    cost.disk = 2 * weights() + static_cast<double>(w.gpus) * streams + 2 * maps() * layers();
    cost.host = streams;
    const double held = std::max(blocks > 1 ? 2 * block_bytes : block_bytes, block_bytes + 2 * embedding());
    cost.card = held + 2 * maps() * layers() + 2 * adapters(w.rank) * layers() + trained * maps() * static_cast<double>(w.block) +
                activations(w) + rates_.other_bytes;
    return cost;
  }

  /// Stage 2 with the layers' weights shared out between all GPUs, gathered while the layer before computes, and layers run again in
  /// the backward pass; embedding and head are whole.
  StageCost finetune(const Work& w) const {
    const auto flops = layer_flops(w.length);
    const double gpus = static_cast<double>(w.gpus);
    StageCost cost;
    const double micro = static_cast<double>(w.micro_batch * w.length), passes = w.epochs * w.tokens / (gpus * micro);
    const double ahead = micro * (2 * layer_weights() + flops.student) / rates_.finetune;  // of a layer, forward
    const double back = micro * flops.finetune / rates_.finetune - ahead;
    const double gather = 2 * layer_weights() * (gpus - 1) / gpus / rates_.gather;
    cost.waiting = passes * layers() * (std::max(0.0, gather - ahead) + std::max(0.0, gather - back));
    cost.seconds = passes * (layers() * (ahead + back) + micro * 3 * 2 * embedding() / rates_.finetune) + cost.waiting;
    cost.disk = 2 * weights() + 4 * adapters(w.rank) * layers();
    const double in_layers = 2 * layers() * layer_weights(), buffers = w.gpus > 1 ? 2 * 2 * layer_weights() : 0;
    cost.card = in_layers / gpus + buffers + 2 * weights() - in_layers + trained * adapters(w.rank) * layers() + 2 * maps() * layers() +
                2 * micro * width() * layers() + 2 * activations(w) + rates_.other_bytes;
    return cost;
  }

 private:
  /// Beside the value in bf16: gradient, master and two moments.
  static constexpr double trained = 16;

  struct LayerFlops {
    double transfer = 0, forward = 0, finetune = 0;  // per token
    double student = 0;                              // of its attention, forward
  };
  LayerFlops layer_flops(Index length) const {
    const auto student = attention_flops<Attention>({}, c_.heads, c_.head_dim, length);
    const double teacher = attention_flops<lolcats::Softmax<>>(lolcats::Sliding<>(lolcats::unlimited), c_.heads, c_.head_dim, length).forward;
    const double products = 2 * layer_weights(), below = products + teacher;
    const double twice_again = 3 * products + 2 * student.forward + student.inputs;  // forward, forward again, gradient of inputs
    return {below + student.forward + student.learned, below, twice_again, student.forward};
  }

  double layers() const { return static_cast<double>(c_.layers); }
  double width() const { return static_cast<double>(c_.hidden_size); }
  double queries() const { return static_cast<double>(c_.heads * c_.head_dim); }
  double keys() const { return static_cast<double>(c_.kv_heads * c_.head_dim); }
  /// Numbers of a layer's maps and gamma, and of its adapter.
  double maps() const { return static_cast<double>(c_.heads) * (2.0 * static_cast<double>(c_.head_dim) * 64 + 1); }
  double adapters(Index rank) const { return static_cast<double>(rank) * (4 * width() + 2 * queries() + 2 * keys()); }

  /// Of one layer: the stream and its copies, norms and sums (7 C), queries raw and rotated and two attentions (4 H D), keys raw and
  /// rotated and values (3 K D), the feed-forward part (3 I), in bf16.
  double activations(const Work& w) const {
    const double micro = static_cast<double>(w.micro_batch * w.length);
    return 2 * micro * (7 * width() + 4 * queries() + 3 * keys() + 3 * static_cast<double>(c_.intermediate_size));
  }

  lolcats::LlamaConfig c_;
  Rates rates_;
};

}  // namespace bench
