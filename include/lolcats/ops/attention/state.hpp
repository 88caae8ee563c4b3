// Attention one token, or one chunk, at a time: what decoding keeps.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// The decoding state of one attention layer for a batch of sequences.
///
/// Far keys live in S (H, F, D) = sum phi_k(k) v^T and z (H, F) = sum phi_k(k), in Real, one pair per sequence.  Near keys
/// and values are kept raw per key/value head, and a key is mapped and folded into S and z when it leaves the window
/// (a whole tile at once where the window is terraced).  A memory with a gate multiplies S and z by it for every token.
/// Sinks are kept apart.  A memory that corrects has S (N, F, D) alone, one for each of N = H or G key maps, of all tokens read.
/// So the size does not depend on how many tokens were read, except for an unbounded window, where this is a key/value cache.
template <Backend B>
struct AttentionState {
  /// One sequence.
  struct Slot {
    Index length = 0;              // tokens read
    Index first = 0;               // position of the first kept key; all before it are folded
    Index begin = 0;               // row of that key in `keys`
    Array<B> keys, values;         // (G, capacity, D) on the CPU, (capacity, G * D) on a GPU
    Array<B> features;             // the same with H or G times F, with GivenFeatures only
    Array<B, Real<B>> sums;        // S (H, F, D), or (G, F, D) where a backend shares it between heads of one key map
    Array<B, Real<B>> normalizer;  // z (H, F) or (G, F)
    Array<B, Real<B>> decays;      // log a of the kept keys' tokens, of a memory with a gate; beside `keys`
    Array<B, Real<B>> scores;           // of the kept keys, of a memory with a cache, but for recall errors; beside `keys`
    std::vector<Index> cache_begins;    // (G + 1): each key/value head has places of its own, as many as it keeps keys
    Array<B, int> cache_begins_there;   // the same where kernels read it, on a GPU
    Array<B> cache_keys, cache_values;  // (places of all heads, D): far keys that stay raw, the oldest first
    Array<B, Real<B>> cache_scores;     // (places of all heads)
    Array<B, Real<B>> unit_keys;        // (G, D) of Novelty: the sum of all keys before their rotation, each of length one
    Array<B> sink_keys, sink_values;  // (G, sinks, D), or (sinks, G * D) on a GPU; the first `sinks` tokens

    /// The places of one key/value head in the cache.
    Index places(Index head) const {
      const auto at = static_cast<std::size_t>(head);
      return cache_begins[at + 1] - cache_begins[at];
    }
    Index most_places() const {
      Index most = 0;
      for (std::size_t g = 1; g < cache_begins.size(); ++g) most = std::max(most, cache_begins[g] - cache_begins[g - 1]);
      return most;
    }
    /// f(array) for each of the arrays of a slot; those that are not in use are empty.
    template <class Self, class F>
    static void visit(Self& slot, F&& f) {
      f(slot.keys);
      f(slot.values);
      f(slot.features);
      f(slot.sums);
      f(slot.normalizer);
      f(slot.decays);
      f(slot.scores);
      f(slot.cache_keys);
      f(slot.cache_values);
      f(slot.cache_scores);
      f(slot.unit_keys);
      f(slot.sink_keys);
      f(slot.sink_values);
    }
    /// The same state in memory of its own, to be read on independently.
    Slot clone(const B& backend) const {
      Slot copy = *this;
      visit(copy, [&backend](auto& array) { own(backend, array); });
      return copy;
    }

   private:
    template <class T>
    static void own(const B& backend, Array<B, T>& array) {
      if (!array) return;
      Array<B, T> fresh(array.shape());
      backend.copy(std::as_const(array).data(), fresh.data(), array.size());
      array = std::move(fresh);
    }
  };
  std::vector<Slot> slots;

  /// Some slots by their numbers, in the order given; all of them if there are no numbers.
  /// Throws ShapeError for a number that is none, or is named twice.
  std::vector<Slot*> choose(std::span<const Index> numbers) {
    std::vector<Slot*> chosen;
    if (numbers.empty()) {
      for (Slot& slot : slots) chosen.push_back(&slot);
    }
    std::vector<bool> taken(slots.size());
    for (const Index n : numbers) {
      require<ShapeError>(n >= 0 && n < static_cast<Index>(slots.size()), "AttentionState: sequence {}, expected 0 to {}", n,
                          static_cast<Index>(slots.size()) - 1);
      const auto at = static_cast<std::size_t>(n);
      require<ShapeError>(!taken[at], "AttentionState: sequence {} is chosen twice", n);
      taken[at] = true;
      chosen.push_back(&slots[at]);
    }
    return chosen;
  }

  /// Bytes held; constant in the number of tokens for bounded windows.
  std::size_t bytes() const {
    std::size_t n = 0;
    const auto add = [&n](const auto& x) { n += x ? sizeof(*x.data()) * static_cast<std::size_t>(x.size()) : 0; };
    for (const Slot& s : slots) Slot::visit(s, add);
    return n;
  }
};

/// Specialised per backend, Map, Window and Memory:
///   step(backend, problem, slots, y (M, H * D))   reads new tokens, updates the slots (pointers, one per extent, none twice)
template <Backend B, class Map, Window W, MemoryPolicy M>
struct AttentionStateKernel;

namespace detail {
/// The slots that a step reads into, one per extent, whose position is the slot's length.  A state without slots gets them, unless
/// the step is refused.
template <Backend B>
std::vector<typename AttentionState<B>::Slot*> slots_of(AttentionState<B>& state, const Sequences& sequences, std::span<const Index> chosen) {
  AttentionState<B> fresh;
  if (state.slots.empty()) fresh.slots.resize(static_cast<std::size_t>(sequences.count()));
  auto slots = (state.slots.empty() ? fresh : state).choose(chosen);
  require<ShapeError>(sequences.count() == static_cast<Index>(slots.size()),
                      "attention_step: {} sequences, expected {}, one per slot of the state", sequences.count(), slots.size());
  for (Index n = 0; n < sequences.count(); ++n) {
    const Index length = slots[static_cast<std::size_t>(n)]->length;
    require<ShapeError>(sequences[n].position == length, "attention_step: sequence {} starts at position {}, expected {}, the tokens read",
                        n, sequences[n].position, length);
  }
  if (state.slots.empty()) state.slots.swap(fresh.slots);  // which moves no slot
  return slots;
}
}  // namespace detail

/// Reads new tokens: q (M, H * D), k and v (M, G * D), one extent of `sequences` per slot of `state`, or of those that
/// `chosen` names, in order, with extent.position = the slot's length.  Extents may have any lengths, so this is prefill,
/// chunked prefill and decoding.
/// Returns y (M, H * D), equal to the rows of a pass over the whole sequences.  Records nothing.
template <AttentionPolicy A, Backend B>
  requires(!corrects<MemoryOf<A>>)
Var<B> attention_step(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, const Sequences& sequences, const Heads& heads,
                      AttentionState<B>& state, const AttentionWeights<B>& weights = {},
                      typename A::Window window = detail::window_of_type<typename A::Window>(), std::span<const Index> chosen = {}) {
  using W = typename A::Window;
  detail::check_attention<A>(q.shape(), k.shape(), v.shape(), sequences, heads, weights);
  const auto slots = detail::slots_of(state, sequences, chosen);
  AttentionProblem<B, W> problem{.heads = heads, .sequences = &sequences, .window = window, .affine = A::affine,
                                 .q = q.value(), .k = k.value(), .v = v.value(), .weights = weights};
  auto [y, out] = tape.result(q.shape(), false);
  AttentionStateKernel<B, typename A::Map, W, MemoryOf<A>>::step(tape.backend(), problem, slots, out);
  return y;
}

}  // namespace lolcats
