// Decoding states on a GPU: prefill of any length by the kernels of whole passes, single tokens by kernels of their own.
#pragma once

#include <lolcats/ops/attention/cuda_decode.cuh>
#include <lolcats/ops/attention/cuda_prefill.cuh>
#include <lolcats/ops/attention/softmax_decode.cuh>

#include <algorithm>
#include <span>
#include <vector>

namespace lolcats {

/// The slots' `keys`, `values`, `features` and `decays` (capacity, sums) are rings of `capacity` rows, and `begin` is not used:
/// the key at position p is in row p % capacity.  A window of at most `general::ring_at_once` keys gets its whole ring with the
/// first token, a wider one as it fills.
template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionStateKernel<Cuda<T>, Map, W, M> {
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;
  using Slot = typename AttentionState<B>::Slot;
  using States = std::span<Slot* const>;  // one per sequence

  static void step(const B& backend, const Problem& p, States states, View<T> y) {
    if (p.sequences->padded()) backend.zero(y.data, y.size());
    if (p.sequences->count() == 0) return;
    if constexpr (caches<M>)
      read_apart(backend, p, states, y);
    else
      read(backend, p, states, y);
    for (Index n = 0; n < p.sequences->count(); ++n) {
      Slot& slot = *states[static_cast<std::size_t>(n)];
      slot.length += (*p.sequences)[n].length;
      slot.first = std::max(slot.first, std::min(slot.length, p.window.begin(slot.length)));
    }
  }

 private:
  using Call = general::Call<T, Map, W, M>;
  static constexpr bool far = Call::far;
  static constexpr Index sinks = sinks_of<W>;
  static constexpr Index few_enough = 64;  // rows that are mapped a few per block
  using Caches = std::conditional_t<caches<M>, general::DecodeCaches<T>, general::NoDecodeCaches>;

  static void read(const B& backend, const Problem& p, States states, View<T> y) {
    if (!decode(backend, p, states, y)) general::Prefill<T, Map, W, M>(backend, p, states).run(y);
  }

  /// Sequences whose caches have much to do apart from the others, which would be read as slowly.
  static void read_apart(const B& backend, const Problem& p, States states, View<T> y) {
    for (const bool quick : {true, false}) {
      std::vector<Extent> extents;
      std::vector<Slot*> slots;
      for (Index n = 0; n < p.sequences->count(); ++n) {
        Slot* const slot = states[static_cast<std::size_t>(n)];
        if (((*p.sequences)[n].length == 1 && cache_ready(p, *slot)) != quick) continue;
        extents.push_back((*p.sequences)[n]);
        slots.push_back(slot);
      }
      if (slots.empty()) continue;
      const Sequences some(p.sequences->rows(), std::move(extents));
      Problem part = p;
      part.sequences = &some;
      read(backend, part, slots, y);
    }
  }

  /// Is there nothing to do for the cache of a slot that reads one token, or no more than take up one key?  A whole tile that
  /// leaves a window, keys that turn from cached ones into sums, and scores that grow are left to a prefill of one token.
  static bool cache_ready(const Problem& p, const Slot& slot) {
    const Index leaving = std::min(slot.length + 1, p.window.begin(slot.length + 1)) - std::max(slot.first, sinks);
    return !slot.cache_begins.empty() && !counts_attention<M> && leaving <= (far ? 0 : 1);
  }

  /// One token per sequence, if every slot is ready for that.
  static bool decode(const B& backend, const Problem& p, States states, View<T> y) {
    if (std::is_same_v<Map, GivenFeatures> || !general::decode_takes(p.heads)) return false;
    const Index count = p.sequences->count();
    for (Index n = 0; n < count; ++n) {
      const Slot& slot = *states[static_cast<std::size_t>(n)];
      const bool room = p.window.span() == 0 || general::capacity(slot) > slot.length - slot.first;
      const bool ready = room && (!far || slot.sums) && (sinks == 0 || slot.sink_keys) && (!caches<M> || cache_ready(p, slot));
      if ((*p.sequences)[n].length != 1 || !ready) return false;
    }
    const Call call(backend, p);
    constexpr Index batch = general::DecodeSlots<T>::capacity;
    for (Index first = 0; first < count; first += batch) {
      general::DecodeSlots<T> slots;
      Caches cached;
      bool in_order = true;  // do kept keys lie one behind the other?
      int longest = 0;
      for (Index n = first; n < std::min(count, first + batch); ++n) {
        Slot& slot = *states[static_cast<std::size_t>(n)];
        general::DecodeSlot<T>& to = slots.slots[slots.count++];
        const Index begin = p.window.begin(slot.length), next = p.window.begin(slot.length + 1);
        to.keys = slot.keys.data();
        to.values = slot.values.data();
        to.sums = slot.sums.data();
        to.normalizer = slot.normalizer.data();
        to.row = static_cast<int>((*p.sequences)[n].row);
        to.capacity = static_cast<int>(general::capacity(slot));
        to.start = to.capacity > 0 ? static_cast<int>(slot.first % to.capacity) : 0;
        to.kept = static_cast<int>(slot.length - slot.first);
        to.sink_keys = slot.sink_keys.data();
        to.sink_values = slot.sink_values.data();
        to.decays = slot.decays.data();
        to.sinks = static_cast<int>(std::min(sinks, slot.length + 1));
        to.sink_row = slot.length < sinks ? static_cast<int>(slot.length) : -1;
        to.near_begin = static_cast<int>(std::clamp<Index>(std::max(begin, sinks) - slot.first, 0, to.kept + 1));
        if constexpr (caches<M>) cached.of[slots.count - 1] = general::decode_cache_of<T>(slot, sinks);
        if (far || caches<M>) {
          const Index stop = std::clamp<Index>(std::min(slot.length + 1, next) - slot.first, 0, to.kept + 1);
          to.leaving_from = static_cast<int>(std::clamp<Index>(sinks - slot.first, 0, stop));
          to.leaving = static_cast<int>(stop) - to.leaving_from;
        }
        to.leaving_at = slots.leaving;
        slots.leaving += to.leaving;
        in_order = in_order && to.start + to.kept < to.capacity;
        longest = std::max(longest, to.kept + 1 - to.near_begin);
      }
      // Long caches are read by more blocks than there are heads.
      if (!far && !caches<M> && sinks == 0 && in_order && longest >= 4 * general::decode_keys && cuda::softmax_decode_takes(p.heads)) {
        decode_cache(backend, p, slots, y);
      } else {
        decode_batch(call, slots, cached, y);
      }
    }
    return true;
  }

  /// Up to three launches for all sequences: features of queries and of keys that leave, what these have decayed by, and one
  /// kernel for the rest (cuda_decode.cuh).
  static void decode_batch(const Call& call, const general::DecodeSlots<T>& slots, Caches& cached, View<T> y) {
    const Problem& p = call.problem();
    const cudaStream_t stream = call.stream();
    const AttentionWeights<B>& w = p.weights;
    general::Decode<T> d;
    d.heads = call.all_heads();
    d.q = p.q.data;
    d.k = p.k.data;
    d.v = p.v.data;
    d.window_factors = w.window_factors ? w.window_factors.value.data : nullptr;
    d.near = Call::near;
    d.far = far;
    d.affine = p.affine;
    d.y = y.data;
    const Index F = call.features(), H = p.heads.queries;
    if (far) d.key_maps = static_cast<int>(call.key_maps_per_group() ? p.heads.keys : H);
    const Index features = (slots.count * H + slots.leaving * d.key_maps) * F;
    cuda::Scratch<float> phi(features + (Call::gated ? slots.count * d.key_maps : 0), stream);
    d.phi_q = phi.data();
    d.phi_k = phi.data() + slots.count * H * F;
    const unsigned slot_count = static_cast<unsigned>(slots.count);
    if constexpr (far && FeatureMap<Map>) {
      d.query_map = w.query_map.value.data;
      d.key_map = w.key_map.value.data;
      d.query_bias = w.query_bias.value.data;
      d.key_bias = w.key_bias.value.data;
      d.width = static_cast<int>(w.query_map.shape()[2]);
      const Index rows = std::max(slots.count, slots.leaving);
      if (rows <= few_enough && cuda::packs_fit(d.width, d.query_map, d.key_map)) d.rows = general::few_rows;
      const unsigned maps = static_cast<unsigned>(H + (slots.leaving > 0 ? d.key_maps : 0));
      general::for_row_type<Map>(d.width, [&]<int Lanes, int Count>() {
        cuda::launch("attention: features of a token", general::decode_features<T, Map, Lanes, Count>,
                     {dim3(cuda::blocks_for(rows, d.rows), maps), general::tile_threads, stream,
                      general::map_shared_bytes(d.width)},
                     slots, d);
      });
    }
    if constexpr (Call::gated) {
      cuda::launch("attention: decay of a token", general::decay_leaving<typename M::Gate, T>,
                   {dim3(static_cast<unsigned>(d.key_maps), slot_count), general::scan_threads, stream}, slots,
                   call.gate_inputs(), d.phi_k, static_cast<int>(F), phi.data() + features);
      d.decay = phi.data() + features;
    }
    const cuda::Launch how{dim3(static_cast<unsigned>(H), slot_count), general::tile_threads, stream,
                           sizeof(float) * static_cast<std::size_t>(F)};
    if constexpr (scored_when_read<M>) cached.scores = w.score.value().data;
    if (p.heads.size % general::decode_alignment<T> == 0)
      cuda::launch("attention: one token", general::decode<T, 4, Caches>, how, slots, d, cached);
    else
      cuda::launch("attention: one token", general::decode<T, 1, Caches>, how, slots, d, cached);
    if constexpr (caches<M>) {
      if (slots.leaving == 0) return;
      cuda::launch("attention: a key for the cache", general::cache_leaving<T>,
                   {dim3(slot_count, static_cast<unsigned>(p.heads.keys)), general::tile_threads, stream}, slots, d, cached);
    }
  }

  /// Softmax over rings that lie in order: new keys first go where they belong, then each ring is a cache that several blocks
  /// share (softmax_decode.cuh).
  static void decode_cache(const B& backend, const Problem& p, const general::DecodeSlots<T>& slots, View<T> y) {
    const Index width = p.k.cols();
    cuda::launch("attention: append", general::append_rows<T>,
                 {static_cast<unsigned>(slots.count), 128, backend.stream()}, slots, p.k.data, p.v.data,
                 static_cast<int>(width));
    std::vector<cuda::DecodeSlot<T>> caches;
    for (int i = 0; i < slots.count; ++i) {
      const general::DecodeSlot<T>& s = slots.slots[i];
      const Index at = (s.start + s.near_begin) * width;
      caches.push_back({.keys = s.keys + at, .values = s.values + at, .count = s.kept + 1 - s.near_begin, .row = s.row});
    }
    cuda::softmax_decode<T>(backend.stream(), p.heads, caches, p.q.data, y.data);
  }
};

}  // namespace lolcats
