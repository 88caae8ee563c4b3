// Decoding states on a GPU: prefill of any length by the kernels of whole passes, single tokens by kernels of their own.
#pragma once

#include <lolcats/ops/attention/cuda_call.cuh>
#include <lolcats/ops/attention/cuda_decode.cuh>
#include <lolcats/ops/attention/cuda_path.cuh>
#include <lolcats/ops/attention/cuda_ring.cuh>
#include <lolcats/ops/attention/softmax_decode.cuh>
#include <lolcats/ops/attention/state.hpp>

#include <algorithm>
#include <vector>

namespace lolcats {

/// The slots' `keys`, `values`, `features` and `decays` (capacity, sums) are rings of `capacity` rows, and `begin` is not used:
/// the key at position p is in row p % capacity.  A window of at most `general::ring_at_once` keys gets its whole ring with the
/// first token, a wider one as it fills.
template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionStateKernel<Cuda<T>, Map, W, M> {
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;
  using State = AttentionState<B>;
  using Slot = typename State::Slot;

  static void step(const B& backend, const Problem& p, State& state, View<T> y) {
    if (general::has_padding(*p.sequences)) backend.zero(y.data, y.size());
    if (p.sequences->count() == 0) return;
    if (!decode(backend, p, state, y)) prefill(backend, p, state, y);
    for (Index n = 0; n < p.sequences->count(); ++n) {
      Slot& slot = state.slots[static_cast<std::size_t>(n)];
      slot.length += (*p.sequences)[n].length;
      slot.first = std::max(slot.first, std::min(slot.length, p.window.begin(slot.length)));
    }
  }

 private:
  using Call = general::Call<T, Map, W, M>;
  using Paths = AttentionPaths<T, Map, W, M>;
  static constexpr bool far = Call::far;
  static constexpr Index sinks = sinks_of<W>;
  static constexpr Index few_enough = 64;  // rows that are mapped a few per block

  static Index capacity(const Slot& slot) { return slot.keys ? slot.keys.shape()[0] : 0; }

  /// One token per sequence, if every slot is ready for that.
  static bool decode(const B& backend, const Problem& p, State& state, View<T> y) {
    if (std::is_same_v<Map, GivenFeatures> || caches<M> || !general::decode_takes(p.heads)) return false;
    const Index count = p.sequences->count();
    for (Index n = 0; n < count; ++n) {
      const Slot& slot = state.slots[static_cast<std::size_t>(n)];
      const bool room = p.window.span() == 0 || capacity(slot) > slot.length - slot.first;
      const bool ready = room && (!far || slot.sums) && (sinks == 0 || slot.sink_keys);
      if ((*p.sequences)[n].length != 1 || !ready) return false;
    }
    const Call call(backend, p);
    const cudaStream_t stream = backend.stream();
    constexpr Index batch = general::DecodeSlots<T>::capacity;
    for (Index first = 0; first < count; first += batch) {
      general::DecodeSlots<T> slots;
      bool in_order = true;  // do kept keys lie one behind the other?
      int longest = 0;
      for (Index n = first; n < std::min(count, first + batch); ++n) {
        Slot& slot = state.slots[static_cast<std::size_t>(n)];
        general::DecodeSlot<T>& to = slots.slots[slots.count++];
        const Index begin = p.window.begin(slot.length), next = p.window.begin(slot.length + 1);
        to.keys = slot.keys.data();
        to.values = slot.values.data();
        to.sums = slot.sums.data();
        to.normalizer = slot.normalizer.data();
        to.row = static_cast<int>((*p.sequences)[n].row);
        to.capacity = static_cast<int>(capacity(slot));
        to.start = to.capacity > 0 ? static_cast<int>(slot.first % to.capacity) : 0;
        to.kept = static_cast<int>(slot.length - slot.first);
        to.sink_keys = slot.sink_keys.data();
        to.sink_values = slot.sink_values.data();
        to.decays = slot.decays.data();
        to.sinks = static_cast<int>(std::min(sinks, slot.length + 1));
        to.sink_row = slot.length < sinks ? static_cast<int>(slot.length) : -1;
        to.near_begin = static_cast<int>(std::clamp<Index>(std::max(begin, sinks) - slot.first, 0, to.kept + 1));
        if (far) {
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
      if (!far && sinks == 0 && in_order && longest >= 4 * general::decode_keys && cuda::softmax_decode_takes(p.heads)) {
        decode_cache(backend, p, slots, y);
      } else {
        decode_batch(call, slots, stream, y);
      }
    }
    return true;
  }

  static void decode_batch(const Call& call, const general::DecodeSlots<T>& slots, cudaStream_t stream, View<T> y) {
    const Problem& p = call.problem();
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
    if (p.heads.size % general::decode_alignment<T> == 0)
      cuda::launch("attention: one token", general::decode<T, 4>, how, slots, d);
    else
      cuda::launch("attention: one token", general::decode<T, 1>, how, slots, d);
  }

  static void decode_cache(const B& backend, const Problem& p, const general::DecodeSlots<T>& slots, View<T> y) {
    const Index width = p.k.cols();
    cuda::launch("attention: append", general::append_rows<T>,
                 {static_cast<unsigned>(slots.count), 128, backend.stream()}, slots, p.k.data, p.v.data,
                 static_cast<int>(width));
    std::vector<cuda::DecodeSlot<T>> caches;
    for (int i = 0; i < slots.count; ++i) {
      const general::DecodeSlot<T>& s = slots.slots[i];
      const Index at = (s.start + s.near_begin) * width;
      caches.push_back({s.keys + at, s.values + at, s.kept + 1 - s.near_begin, s.row});
    }
    cuda::softmax_decode<T>(backend.stream(), p.heads, caches, p.q.data, y.data);
  }

  /// Any lengths.
  static void prefill(const B& backend, const Problem& problem, State& state, View<T> y) {
    constexpr bool given = Call::given;
    const cudaStream_t stream = backend.stream();
    const Index count = problem.sequences->count(), rows = problem.sequences->rows();
    std::vector<Index> cache_begins;  // of slots that are new
    if constexpr (caches<M>) {
      if (std::any_of(state.slots.begin(), state.slots.end(), [](const Slot& s) { return s.cache_begins.empty(); }))
        cache_begins = general::places_of_heads(backend, problem.weights.cache_sizes, problem.heads.keys, M::Cache::size);
    }
    // Of the head that keeps most, when keys from `first` on are in the window.
    const auto cached = [](const Slot& s, Index first) { return std::min(s.most_places(), std::max<Index>(0, first - sinks)); };
    // Sinks and cached keys before the kept ones.
    const auto apart = [&](const Slot& s) { return std::min(sinks, s.first) + cached(s, s.first); };
    const bool fresh = std::all_of(state.slots.begin(), state.slots.end(),
                                   [&](const Slot& s) { return s.length == s.first && apart(s) == 0; });

    // Rings as they are and as they will be; new ones replace old ones after these have been read.
    general::Plan plan;
    std::vector<Slot> after;
    int packed_rows = 0;
    for (Index n = 0; n < count; ++n) {
      const Extent& e = (*problem.sequences)[n];
      const Slot& slot = state.slots[static_cast<std::size_t>(n)];
      const Index length = slot.length + e.length, kept = slot.length - slot.first;
      const Index first = std::max(slot.first, std::min(length, problem.window.begin(length)));
      general::Segment s;
      s.q_row = static_cast<int>(e.row);
      s.k_row = fresh ? s.q_row : packed_rows;
      s.queries = static_cast<int>(e.length);
      s.keys = static_cast<int>(apart(slot) + kept + e.length);
      s.offset = static_cast<int>(apart(slot) + kept);
      s.apart = static_cast<int>(apart(slot));
      s.position = static_cast<int>(slot.length);
      s.leaving = far || caches<M> ? static_cast<int>(apart(slot) + first - slot.first) : 0;
      packed_rows += s.keys;
      plan.add(s);
      after.push_back(make_room(backend, problem, slot, length - first, cache_begins));
    }
    const Index key_rows = plan.key_rows, width = problem.k.cols();

    Problem p = problem;
    const Call call(backend, p);
    const Index F = call.features(), D = p.heads.size;
    const Index feature_width = given ? p.weights.key_features.cols() : 0;
    general::HeadRange all = call.all_heads();
    call.choose_chunks(plan, all, all.size);

    general::Workspace space(stream);
    const auto segment_piece = plan.reserve(space);
    const auto resumed_piece = space.template add<hopper::Resumed>(count);
    constexpr int arrays = given || caches<M> ? 3 : 2;  // keys, values, given features or scores
    const auto rings_before = space.template add<general::Ring<T>>(arrays * count),
               rings_after = space.template add<general::Ring<T>>(arrays * count);
    const auto slot_pointers = space.template add<float*>(2 * count);
    const auto begins = space.template add<int>(rows);
    const auto running = space.template add<double>(key_rows * call.gate_sums());
    const auto ends = space.template add<int>(caches<M> ? key_rows : 0), until = space.template add<int>(call.cache_numbers(plan));
    const auto cache_rows = space.template add<general::CacheRows<T>>(caches<M> ? count : 0);
    const auto places = space.template add<int>(caches<M> ? count * (p.heads.keys + 1) : 0);
    const auto scores = space.template add<T>(caches<M> && !fresh ? key_rows * p.heads.keys : 0);
    const auto decay_rings = space.template add<general::DecayRing>(Call::gated ? count : 0);
    const Index packed = fresh ? 0 : key_rows;
    const auto keys = space.template add<T>(packed * width), values = space.template add<T>(packed * width),
               features = space.template add<T>(packed * feature_width);
    space.allocate();
    const general::Segments segments = plan.upload(backend, segment_piece);
    std::vector<general::Ring<T>> before_list, after_list;
    const auto ring = [](Array<B>& x, T* sink_rows, Index position, Index from) {
      const Index held = x ? x.shape()[0] : 0;
      return general::Ring<T>{x.data(), sink_rows, static_cast<int>(held),
                              held > 0 ? static_cast<int>(position % held) : 0, static_cast<int>(from)};
    };
    for (int which = 0; which < arrays; ++which) {
      for (Index n = 0; n < count; ++n) {
        const auto at = static_cast<std::size_t>(n);
        const auto array = [&](Slot& s) -> Array<B>& {
          return which == 0 ? s.keys : which == 1 ? s.values : given ? s.features : s.scores;
        };
        const Index first = state.slots[at].first, length = state.slots[at].length + (*p.sequences)[n].length;
        const Index from = std::max(first, std::min(length, p.window.begin(length))) - first;
        Slot& with_room = after[at];
        T* const sink_rows = which == 0 ? with_room.sink_keys.data() : which == 1 ? with_room.sink_values.data() : nullptr;
        before_list.push_back(ring(array(state.slots[at]), sink_rows, first, 0));
        after_list.push_back(ring(array(with_room), sink_rows, first, from));
      }
    }
    if constexpr (Call::gated) {
      std::vector<general::DecayRing> list;
      for (std::size_t n = 0; n < after.size(); ++n) {
        const Slot& was = state.slots[n];
        Slot& is = after[n];
        list.push_back({was.decays.data(), is.decays.data(), static_cast<int>(was.decays ? was.decays.shape()[0] : 0),
                        static_cast<int>(is.decays ? is.decays.shape()[0] : 0), static_cast<int>(was.first),
                        after_list[n].from});
      }
      backend.upload(list.data(), decay_rings.data(), count);
    }
    backend.upload(before_list.data(), rings_before.data(), static_cast<Index>(before_list.size()));
    backend.upload(after_list.data(), rings_after.data(), static_cast<Index>(after_list.size()));

    const cuda::Launch by_cache{dim3(static_cast<unsigned>(count), static_cast<unsigned>(p.heads.keys)), 32, stream};
    if constexpr (caches<M>) {
      std::vector<general::CacheRows<T>> list;
      std::vector<int> begins_list;
      for (std::size_t n = 0; n < after.size(); ++n) {
        const Index length = state.slots[n].length + (*p.sequences)[static_cast<Index>(n)].length;
        const Index first = std::max(state.slots[n].first, std::min(length, p.window.begin(length)));
        list.push_back({after[n].cache_keys.data(), after[n].cache_values.data(), after[n].cache_scores.data(),
                        places.data() + begins_list.size(), static_cast<int>(cached(after[n], state.slots[n].first)),
                        static_cast<int>(cached(after[n], first))});
        begins_list.insert(begins_list.end(), after[n].cache_begins.begin(), after[n].cache_begins.end());
      }
      backend.upload(begins_list.data(), places.data(), static_cast<Index>(begins_list.size()));
      backend.upload(list.data(), cache_rows.data(), count);
    }
    View<const T> given_keys = given ? p.weights.key_features.value() : View<const T>{};
    const unsigned key_tiles = static_cast<unsigned>(plan.key_tiles);
    if (!fresh) {
      const auto pack = [&](int which, const T* inputs, Index columns, T* to) {
        cuda::launch("attention: pack kept keys", general::pack_rows<T>, {key_tiles, general::tile_threads, stream},
                     segments, rings_before.data() + which * count, inputs, static_cast<int>(columns),
                     static_cast<int>(sinks), to);
      };
      pack(0, problem.k.data, width, keys.data());
      pack(1, problem.v.data, width, values.data());
      if (given) pack(2, given_keys.data, feature_width, features.data());
      if constexpr (caches<M>) {
        pack(2, p.weights.score.value().data, p.heads.keys, scores.data());
        cuda::launch("attention: pack cached keys", general::pack_cache<T>, by_cache, segments,
                     static_cast<const general::CacheRows<T>*>(cache_rows.data()), static_cast<int>(D), keys.data(),
                     values.data(), scores.data());
      }
      p.k = {keys.data(), Shape{key_rows, width}};
      p.v = {values.data(), Shape{key_rows, width}};
      if (given) given_keys.data = features.data();
    }
    if (!prefill_fused(backend, p, state, plan, after, resumed_piece.data(), y)) {
      std::vector<float*> pointers;
      for (Slot& s : after) pointers.push_back(s.sums.data());
      for (Slot& s : after) pointers.push_back(s.normalizer.data());
      backend.upload(pointers.data(), slot_pointers.data(), static_cast<Index>(pointers.size()));
      call.run_window(segments, plan, begins.data());
      call.run_gate(segments, decay_rings.data(), running.data());
      const general::CachedKeys near = call.run_cache(segments, plan, ends.data(), until.data(), fresh ? nullptr : scores.data());
      call.for_heads(std::max(rows, key_rows), far ? 2 * F + D + 1 : 0, [&](const general::HeadRange& r) {
        general::forward_heads(call, plan, segments, r, begins.data(), near, running.data(), given_keys, y, {},
                               far ? slot_pointers.data() : nullptr, far ? slot_pointers.data() + count : nullptr);
      });
    }
    const auto store = [&](int which, const T* from, Index columns) {
      cuda::launch("attention: keep keys", general::store_rows<T>, {key_tiles, general::tile_threads, stream}, segments,
                   rings_after.data() + which * count, from, static_cast<int>(columns), static_cast<int>(sinks));
    };
    if (problem.window.span() > 0 || sinks > 0) {
      store(0, p.k.data, width);
      store(1, p.v.data, width);
      if (given) store(2, given_keys.data, feature_width);
    }
    if constexpr (caches<M>) {
      const T* const all = fresh ? p.weights.score.value().data : static_cast<const T*>(scores.data());
      store(2, all, p.heads.keys);
      cuda::launch("attention: keep cached keys", general::store_cache<T>, by_cache, segments,
                   static_cast<const general::CacheRows<T>*>(cache_rows.data()), static_cast<int>(D), p.k.data, p.v.data,
                   all, static_cast<int>(sinks));
    }
    for (Index n = 0; n < count; ++n) {
      Slot& slot = state.slots[static_cast<std::size_t>(n)];
      Slot& with_room = after[static_cast<std::size_t>(n)];
      with_room.length = slot.length;
      with_room.first = slot.first;
      slot = std::move(with_room);
    }
  }

  /// The rest of a prefill by fused kernels, if they take it.  p.k and p.v hold the keys of all segments, `to` has room
  /// for what is to be told of them.
  static bool prefill_fused(const B& backend, const Problem& p, const State& state, const general::Plan& plan,
                            std::vector<Slot>& after, hopper::Resumed* to, View<T> y) {
    if constexpr (!Paths::softmax_fits && !Paths::forward_fits) {
      return false;
    } else {
      std::vector<Extent> extents;
      std::vector<hopper::Resumed> resumed;
      for (std::size_t n = 0; n < plan.segments.size(); ++n) {
        const general::Segment& s = plan.segments[n];
        if (!hopper::sees_the_same(p.window, state.slots[n].first - s.apart, s.offset, s.keys)) return false;
        extents.push_back({s.k_row, s.keys, 0});
        resumed.push_back({s.q_row - s.offset, s.offset, s.leaving, after[n].sums.data(), after[n].normalizer.data()});
      }
      if (Paths::prefill(p, extents) == AttentionPath::general) return false;
      backend.upload(resumed.data(), to, static_cast<Index>(resumed.size()));
      if constexpr (Paths::softmax_fits)
        hopper::softmax_forward_resumed(backend, p, extents, to, y);
      else
        hopper::forward_resumed<Map>(backend, p, extents, to, y);
      return true;
    }
  }

  /// The slot with rings for `kept` keys, fresh ones where the old ones are too small, and with its sums.
  static Slot make_room(const B& backend, const Problem& p, const Slot& slot, Index kept, const std::vector<Index>& cache_begins) {
    Slot result = slot;
    const Index rows = general::ring_rows(p.window, capacity(slot), kept);
    if (rows > capacity(slot)) {
      result.keys = Array<B>(Shape{rows, p.k.cols()});
      result.values = Array<B>(Shape{rows, p.k.cols()});
      if (Call::given) result.features = Array<B>(Shape{rows, p.weights.key_features.cols()});
      if (Call::gated) result.decays = Array<B, float>(Shape{rows, p.weights.gate_bias.value.size()});
      if (caches<M>) result.scores = Array<B>(Shape{rows, p.heads.keys});
    }
    if (sinks > 0 && !slot.sink_keys) {
      result.sink_keys = Array<B>(Shape{sinks, p.k.cols()});
      result.sink_values = Array<B>(Shape{sinks, p.k.cols()});
    }
    if (caches<M> && slot.cache_begins.empty()) {
      result.cache_begins = cache_begins;
      if (const Index places = cache_begins.back(); places > 0) {
        result.cache_keys = Array<B>(Shape{places, p.heads.size});
        result.cache_values = Array<B>(Shape{places, p.heads.size});
        result.cache_scores = Array<B>(Shape{places});
      }
    }
    if (far && !slot.sums) {
      const Index F = Call(backend, p).features();
      result.sums = Array<B, float>(Shape{p.heads.queries, F, p.heads.size});
      result.normalizer = Array<B, float>(Shape{p.heads.queries, F});
      backend.zero(result.sums.data(), result.sums.size());
      backend.zero(result.normalizer.data(), result.normalizer.size());
    }
    return result;
  }
};

}  // namespace lolcats
