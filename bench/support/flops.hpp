// How many floating-point operations a training step needs, whatever code computes it.
#pragma once

#include <lolcats/io/llama_config.hpp>
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/lora.hpp>

#include <string>

namespace bench {

using lolcats::Index;

/// Multiply-adds count as two; elementwise work (norms, exponentials, the optimizer) and whatever a kernel computes a
/// second time are left out.  So a share of the machine's product rate made of these numbers is a lower bound.

/// The mean number of near keys of a query in a sequence of `length`.
template <lolcats::Window W>
double near_keys(const W& window, Index length) {
  double sum = 0;
  for (Index n = 0; n < length; ++n) sum += static_cast<double>(n + 1 - window.begin(n));
  return sum / static_cast<double>(length);
}

/// One attention, per token, in all of its passes.
struct AttentionFlops {
  double forward = 0;
  double inputs = 0;    // gradients of q, k and v
  double learned = 0;   // gradients of the maps and gamma alone: the near part drops out (docs/math/attention.md)
};

/// `heads` query heads of size `d`, and sequences of `length`.
template <lolcats::AttentionPolicy A>
AttentionFlops attention_flops(const typename A::Window& window, Index heads, Index d, Index length) {
  const double near = near_keys(window, length), size = static_cast<double>(d);
  AttentionFlops flops{near * 4 * size, near * 8 * size, 0};  // scores and values; dp, dq, dk, dv
  if constexpr (lolcats::has_maps<A>) {
    const double projected = static_cast<double>(A::Map::projected), features = A::Map::count * projected;
    const double maps = 2 * 2 * size * projected;     // queries and keys
    const double state = 2 * features * (size + 1);   // S and z: one update, or one read
    flops.forward += maps + 2 * state;
    flops.inputs += maps + 4 * state;                 // dphi_q, R, dphi_k, dv
    flops.learned += maps + 3 * state;                // W from x and dz; dphi_q, R, dphi_k
  }
  const double count = static_cast<double>(heads);
  return {count * flops.forward, count * flops.inputs, count * flops.learned};
}

/// What a stage trains.
enum class Stage { transfer, finetune, pretrain };

/// A whole update, per token.
template <class Model>
double step_flops(const Model& model, Stage stage, Index length) {
  using A = typename Model::Attention;
  using P = typename Model::Adapter;
  const lolcats::LlamaConfig& c = model.config();
  const Index queries = c.heads * c.head_dim, keys = c.kv_heads * c.head_dim;
  const auto product = [](Index in, Index out) { return 2.0 * static_cast<double>(in * out); };
  const double qkv = product(c.hidden_size, queries) + 2 * product(c.hidden_size, keys);
  const double after = product(queries, c.hidden_size) + 3 * product(c.hidden_size, c.intermediate_size);
  const double head = product(c.hidden_size, c.vocab_size);
  const double layers = static_cast<double>(c.layers);
  const auto attention = attention_flops<A>(model.layer(0).attention().window(), c.heads, c.head_dim, length);

  if (stage == Stage::transfer) {
    const double teacher = attention_flops<lolcats::Softmax<>>(
        lolcats::checkpoint_window(c.sliding_window), c.heads, c.head_dim, length).forward;
    return layers * (qkv + after + teacher + attention.forward + attention.learned);
  }
  const double both_ways = layers * (attention.forward + attention.inputs);
  if (stage == Stage::pretrain) return 3 * (layers * (qkv + after) + head) + both_ways;

  double adapter = 0;
  const auto on = [&](lolcats::Projections target, Index in, Index out) {
    if (P::targets.contains(target)) adapter += product(in, P::rank) + product(P::rank, out);
  };
  using enum lolcats::Projections;
  on(q, c.hidden_size, queries);
  on(k, c.hidden_size, keys);
  on(v, c.hidden_size, keys);
  on(o, queries, c.hidden_size);
  on(gate, c.hidden_size, c.intermediate_size);
  on(up, c.hidden_size, c.intermediate_size);
  on(down, c.intermediate_size, c.hidden_size);
  // Nothing trained lies below layer 0, so its input needs no gradient.
  return layers * (2 * (qkv + after) + 3 * adapter) - qkv + 2 * head + both_ways;
}

}  // namespace bench
