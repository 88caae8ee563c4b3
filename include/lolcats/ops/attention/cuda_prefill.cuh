// Prefill on a GPU: chunks of any lengths behind what slots remember, by the kernels of whole passes.
#pragma once

#include <lolcats/ops/attention/cuda_key_sets.cuh>
#include <lolcats/ops/attention/cuda_path.cuh>
#include <lolcats/ops/attention/cuda_ring.cuh>
#include <lolcats/ops/attention/state.hpp>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

namespace lolcats::general {

/// Rows of a slot's rings.
template <class Slot>
Index capacity(const Slot& slot) {
  return slot.keys ? slot.keys.shape()[0] : 0;
}

/// One call.  The keys that slots keep (sinks, cached keys, rings) are packed in front of the new ones, a pass runs over
/// these segments from where the sums of the slots are, and what is kept of them goes into rings that are large enough.
template <class T, class Map, Window W, MemoryPolicy M>
class Prefill {
 public:
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;
  using Slot = typename AttentionState<B>::Slot;
  using Slots = std::span<Slot* const>;  // one per sequence

  Prefill(const B& backend, const Problem& problem, Slots slots)
      : backend_(backend), problem_(problem), slots_(slots), p_(problem), call_(backend, p_), space_(backend.stream()) {
    if constexpr (caches<M>) {
      if (std::ranges::any_of(slots, [](const Slot* s) { return s->cache_begins.empty(); }))
        cache_begins_ = places_of_heads(backend, problem.weights.cache_sizes, problem.heads.keys, M::Cache::size);
    }
    fresh_ = std::ranges::all_of(slots, [&](const Slot* s) { return s->length == s->first && apart(*s) == 0; });
    if (given) given_keys_ = problem.weights.key_features.value();
  }

  void run(View<T> y) {
    plan_segments();
    reserve();
    const Segments segments = plan_.upload(backend_, segment_piece_);
    upload_rings();
    pack_scores(segments);
    if (!fresh_) pack(segments);
    if (!attend_fused(y)) attend(segments, y);
    store(segments);
    // New slots share the arrays that were large enough; the others go with the old slots.  step() moves these two on.
    for (std::size_t n = 0; n < after_.size(); ++n) {
      after_[n].length = slots_[n]->length;
      after_[n].first = slots_[n]->first;
      *slots_[n] = std::move(after_[n]);
    }
  }

 private:
  using C = Call<T, Map, W, M>;
  using Paths = AttentionPaths<T, Map, W, M>;
  using Cache = CachePass<T, Map, W, M>;
  template <class X>
  using Piece = Workspace::Piece<X>;
  static constexpr bool far = C::far, given = C::given;
  static constexpr Index sinks = sinks_of<W>;
  static constexpr int arrays = given ? 3 : 2;                           // keys, values, given features
  static constexpr bool scored = scored_when_read<M> || counts_attention<M>;  // do rings hold scores, too?

  Index count() const { return problem_.sequences->count(); }
  cudaStream_t stream() const { return backend_.stream(); }
  /// Keys in the cache of the head that keeps most, when keys from `first` on are in the window.
  static Index cached(const Slot& s, Index first) { return std::min(s.most_places(), std::max<Index>(0, first - sinks)); }
  /// Sinks and cached keys before the kept ones.
  static Index apart(const Slot& s) { return std::min(sinks, s.first) + cached(s, s.first); }
  /// Tokens that a slot will have read, and the first key that it will keep then.
  Index length_after(std::size_t n) const { return slots_[n]->length + (*problem_.sequences)[static_cast<Index>(n)].length; }
  Index first_after(std::size_t n) const {
    const Index length = length_after(n);
    return std::max(slots_[n]->first, std::min(length, problem_.window.begin(length)));
  }

  /// Segments, and slots with room for what they will keep; these replace the old ones after those have been read.
  void plan_segments() {
    int packed_rows = 0;
    for (std::size_t n = 0; n < slots_.size(); ++n) {
      const Extent& e = (*problem_.sequences)[static_cast<Index>(n)];
      const Slot& slot = *slots_[n];
      const Index kept = slot.length - slot.first;
      // Keys of a segment: sinks, cached keys, kept keys, new keys; queries begin behind `offset` of them.
      Segment s;
      s.q_row = static_cast<int>(e.row);
      s.k_row = fresh_ ? s.q_row : packed_rows;
      s.queries = static_cast<int>(e.length);
      s.keys = static_cast<int>(apart(slot) + kept + e.length);
      s.offset = static_cast<int>(apart(slot) + kept);
      s.apart = static_cast<int>(apart(slot));
      s.position = static_cast<int>(slot.length);
      s.leaving = far || caches<M> ? static_cast<int>(apart(slot) + first_after(n) - slot.first) : 0;
      packed_rows += s.keys;
      plan_.add(s);
      after_.push_back(make_room(slot, length_after(n) - first_after(n)));
    }
    const HeadRange all = call_.all_heads();
    call_.choose_chunks(plan_, all, all.size);
  }

  void reserve() {
    const Index rows = problem_.sequences->rows(), key_rows = plan_.key_rows, packed = fresh_ ? 0 : key_rows;
    segment_piece_ = plan_.reserve(space_);
    resumed_ = space_.add<hopper::Resumed>(count());
    rings_before_ = space_.add<Ring<T>>(arrays * count());
    rings_after_ = space_.add<Ring<T>>(arrays * count());
    score_rings_ = space_.add<Ring<float>>(scored ? 2 * count() : 0);
    slot_pointers_ = space_.add<float*>(2 * count());
    begins_ = space_.add<int>(rows);
    running_ = space_.add<double>(key_rows * call_.gate_sums());
    cache_rows_ = space_.add<CacheRows<T>>(caches<M> ? count() : 0);
    scores_ = space_.add<float>(caches<M> ? key_rows * problem_.heads.keys : 0);
    received_ = space_.add<float>(counts_attention<M> ? key_rows * problem_.heads.keys : 0);
    decay_rings_ = space_.add<DecayRing>(C::gated ? count() : 0);
    keys_ = space_.add<T>(packed * problem_.k.cols());
    values_ = space_.add<T>(packed * problem_.k.cols());
    features_ = space_.add<T>(given ? packed * given_keys_.cols() : 0);
    space_.allocate();
  }

  /// Where kept rows are, and where they will be.
  void upload_rings() {
    std::vector<Ring<T>> before, after;
    // The key at position p of a sequence is in row p % capacity; rows below `from` are not kept.
    const auto ring = []<class X>(Array<B, X>& x, X* sink_rows, Index position, Index from) {
      const Index held = x ? x.shape()[0] : 0;
      return Ring<X>{.rows = x.data(),
                     .sinks = sink_rows,
                     .capacity = static_cast<int>(held),
                     .start = held > 0 ? static_cast<int>(position % held) : 0,
                     .from = static_cast<int>(from)};
    };
    for (int which = 0; which < arrays; ++which) {
      const auto array = [&](Slot& s) -> Array<B>& {
        return which == 0 ? s.keys : which == 1 ? s.values : s.features;
      };
      for (std::size_t n = 0; n < slots_.size(); ++n) {
        const Index first = slots_[n]->first;
        T* const sink_rows = which == 0 ? after_[n].sink_keys.data() : which == 1 ? after_[n].sink_values.data() : nullptr;
        before.push_back(ring(array(*slots_[n]), sink_rows, first, 0));
        after.push_back(ring(array(after_[n]), sink_rows, first, first_after(n) - first));
      }
    }
    backend_.upload(before.data(), rings_before_.data(), static_cast<Index>(before.size()));
    backend_.upload(after.data(), rings_after_.data(), static_cast<Index>(after.size()));
    if constexpr (scored) {
      std::vector<Ring<float>> list;
      for (Slot* slot : slots_) list.push_back(ring(slot->scores, static_cast<float*>(nullptr), slot->first, 0));
      for (std::size_t n = 0; n < slots_.size(); ++n) {
        const Index first = slots_[n]->first;
        list.push_back(ring(after_[n].scores, static_cast<float*>(nullptr), first, first_after(n) - first));
      }
      backend_.upload(list.data(), score_rings_.data(), static_cast<Index>(list.size()));
    }
    if constexpr (C::gated) {
      std::vector<DecayRing> list;
      for (std::size_t n = 0; n < slots_.size(); ++n) {
        const Slot& was = *slots_[n];
        Slot& is = after_[n];
        list.push_back({.before = was.decays.data(),
                        .after = is.decays.data(),
                        .capacity_before = static_cast<int>(was.decays ? was.decays.shape()[0] : 0),
                        .capacity_after = static_cast<int>(is.decays ? is.decays.shape()[0] : 0),
                        .position = static_cast<int>(was.first),
                        .from = after[n].from});
      }
      backend_.upload(list.data(), decay_rings_.data(), count());
    }
    if constexpr (caches<M>) {
      std::vector<CacheRows<T>> list;
      for (std::size_t n = 0; n < slots_.size(); ++n) {
        list.push_back({.keys = after_[n].cache_keys.data(),
                        .values = after_[n].cache_values.data(),
                        .scores = after_[n].cache_scores.data(),
                        .begins = after_[n].cache_begins_there.data(),
                        .count = static_cast<int>(cached(after_[n], slots_[n]->first))});
      }
      backend_.upload(list.data(), cache_rows_.data(), count());
    }
  }

  cuda::Launch by_key_tile() const { return {static_cast<unsigned>(plan_.key_tiles), tile_threads, stream()}; }
  cuda::Launch by_cache() const {
    return {dim3(static_cast<unsigned>(count()), static_cast<unsigned>(problem_.heads.keys)), 32, stream()};
  }

  /// Scores of the keys in the rings, or what these have received so far, in front of those of the new ones.
  void pack_scores(const Segments& segments) {
    const int heads = static_cast<int>(problem_.heads.keys);
    const Ring<float>* const rings = score_rings_.data();
    if constexpr (counts_attention<M>) {
      cuda::launch("attention: pack scores", pack_rows<float, float>, by_key_tile(), segments, rings, nullptr, heads, 0, received_.data());
    } else if constexpr (scored) {
      cuda::launch("attention: pack scores", pack_rows<float, T>, by_key_tile(), segments, rings, problem_.weights.score.value().data,
                   heads, 0, scores_.data());
    }
  }

  /// Kept keys in front of the new ones; from here on p_ is a problem over these segments.
  void pack(const Segments& segments) {
    const Index width = problem_.k.cols();
    const auto rows = [&](int which, const T* inputs, Index columns, T* to) {
      cuda::launch("attention: pack kept keys", pack_rows<T, T>, by_key_tile(), segments, rings_before_.data() + which * count(),
                   inputs, static_cast<int>(columns), static_cast<int>(sinks), to);
    };
    rows(0, problem_.k.data, width, keys_.data());
    rows(1, problem_.v.data, width, values_.data());
    if (given) rows(2, given_keys_.data, given_keys_.cols(), features_.data());
    if constexpr (caches<M>) {
      cuda::launch("attention: pack cached keys", pack_cache<T>, by_cache(), segments,
                   static_cast<const CacheRows<T>*>(cache_rows_.data()), static_cast<int>(problem_.heads.size), keys_.data(),
                   values_.data(), scores_.data());
    }
    p_.k = {keys_.data(), Shape{plan_.key_rows, width}};
    p_.v = {values_.data(), Shape{plan_.key_rows, width}};
    if (given) given_keys_.data = features_.data();
  }

  /// The pass by fused kernels, if they take it.
  bool attend_fused(View<T> y) {
    if constexpr (!Paths::softmax_fits && !Paths::forward_fits) {
      return false;
    } else {
      std::vector<Extent> extents;
      std::vector<hopper::Resumed> resumed;
      for (std::size_t n = 0; n < plan_.segments.size(); ++n) {
        const Segment& s = plan_.segments[n];
        // Fused kernels derive windows from places in the segment, which must give the near keys that positions give.
        if (!hopper::sees_the_same(p_.window, slots_[n]->first - s.apart, s.offset, s.keys)) return false;
        extents.push_back({s.k_row, s.keys, 0});
        resumed.push_back({.query_row = s.q_row - s.offset,
                           .first_query = s.offset,
                           .leaving = s.leaving,
                           .sums = after_[n].sums.data(),
                           .normalizer = after_[n].normalizer.data()});
      }
      if (Paths::prefill(p_, extents) == AttentionPath::general) return false;
      backend_.upload(resumed.data(), resumed_.data(), static_cast<Index>(resumed.size()));
      if constexpr (Paths::softmax_fits)
        hopper::softmax_forward_resumed(backend_, p_, extents, resumed_.data(), y);
      else
        hopper::forward_resumed<Map>(backend_, p_, extents, resumed_.data(), y);
      return true;
    }
  }

  /// The same by the general ones.
  void attend(const Segments& segments, View<T> y) {
    const Index F = call_.features(), D = p_.heads.size;
    std::vector<float*> pointers;  // S of every slot, then z of every slot
    for (Slot& s : after_) pointers.push_back(s.sums.data());
    for (Slot& s : after_) pointers.push_back(s.normalizer.data());
    backend_.upload(pointers.data(), slot_pointers_.data(), static_cast<Index>(pointers.size()));
    call_.run_window(segments, plan_, begins_.data());
    call_.run_gate(segments, decay_rings_.data(), running_.data());
    float* const* const sums = far ? slot_pointers_.data() : nullptr;
    float* const* const weights = far ? slot_pointers_.data() + count() : nullptr;
    cache_.emplace(call_, plan_, typename Cache::Slots{cache_rows_.data(), sums, weights, scores_.data(), received_.data()});
    call_.for_heads(std::max<Index>(problem_.sequences->rows(), plan_.key_rows), far ? 2 * F + D + 1 : 0, [&](const HeadRange& r) {
      forward_heads(call_, plan_, segments, r, begins_.data(), cache_->keys(), running_.data(), given_keys_, y, {}, sums, weights);
    });
  }

  /// What is kept of the keys goes into the rings and caches.
  void store(const Segments& segments) {
    const auto rows = [&](int which, const T* from, Index columns) {
      cuda::launch("attention: keep keys", store_rows<T>, by_key_tile(), segments, rings_after_.data() + which * count(), from,
                   static_cast<int>(columns), static_cast<int>(sinks));
    };
    if (problem_.window.span() > 0 || sinks > 0) {
      rows(0, p_.k.data, problem_.k.cols());
      rows(1, p_.v.data, problem_.k.cols());
      if (given) rows(2, given_keys_.data, given_keys_.cols());
    }
    if constexpr (caches<M>) {
      if constexpr (scored) {
        cuda::launch("attention: keep scores", store_rows<float>, by_key_tile(), segments, score_rings_.data() + count(),
                     counts_attention<M> ? received_.data() : scores_.data(), static_cast<int>(p_.heads.keys), 0);
      }
      cuda::launch("attention: keep cached keys", store_cache<T>, by_cache(), segments, cache_->sizes(),
                   static_cast<int>(p_.heads.size), p_.k.data, p_.v.data, scores_.data(), cache_->keys().evicted_by);
    }
  }

  /// The slot with rings for `kept` keys, fresh ones where the old ones are too small, and with its sums.
  Slot make_room(const Slot& slot, Index kept) const {
    Slot result = slot;
    const Problem& p = problem_;
    const Index rows = ring_rows(p.window, capacity(slot), kept);
    if (rows > capacity(slot)) {
      result.keys = Array<B>(Shape{rows, p.k.cols()});
      result.values = Array<B>(Shape{rows, p.k.cols()});
      if (given) result.features = Array<B>(Shape{rows, p.weights.key_features.cols()});
      if (C::gated) result.decays = Array<B, float>(Shape{rows, p.weights.gate_bias.value.size()});
      if (scored) result.scores = Array<B, float>(Shape{rows, p.heads.keys});
    }
    if (sinks > 0 && !slot.sink_keys) {
      result.sink_keys = Array<B>(Shape{sinks, p.k.cols()});
      result.sink_values = Array<B>(Shape{sinks, p.k.cols()});
    }
    if (caches<M> && slot.cache_begins.empty()) {
      result.cache_begins = cache_begins_;
      const std::vector<int> begins(cache_begins_.begin(), cache_begins_.end());
      result.cache_begins_there = Array<B, int>(Shape{static_cast<Index>(begins.size())});
      backend_.upload(begins.data(), result.cache_begins_there.data(), static_cast<Index>(begins.size()));
      if (const Index places = cache_begins_.back(); places > 0) {
        result.cache_keys = Array<B>(Shape{places, p.heads.size});
        result.cache_values = Array<B>(Shape{places, p.heads.size});
        result.cache_scores = Array<B, float>(Shape{places});
      }
    }
    if (far && !slot.sums) {
      const Index F = call_.features();
      result.sums = Array<B, float>(Shape{p.heads.queries, F, p.heads.size});
      result.normalizer = Array<B, float>(Shape{p.heads.queries, F});
      backend_.zero(result.sums.data(), result.sums.size());
      backend_.zero(result.normalizer.data(), result.normalizer.size());
    }
    return result;
  }

  B backend_;
  const Problem& problem_;
  Slots slots_;
  Problem p_;  // the problem, over packed keys if there are kept ones
  C call_;
  View<const T> given_keys_;         // of p_'s keys, with GivenFeatures
  std::vector<Index> cache_begins_;  // of slots that are new
  bool fresh_ = false;               // does no slot keep a key?
  Plan plan_;
  std::vector<Slot> after_;
  std::optional<Cache> cache_;

  Workspace space_;
  Piece<Segment> segment_piece_;
  Piece<hopper::Resumed> resumed_;
  Piece<Ring<T>> rings_before_, rings_after_;  // (arrays, slots)
  Piece<Ring<float>> score_rings_;             // (before and after, slots)
  Piece<float*> slot_pointers_;
  Piece<int> begins_;
  Piece<double> running_;
  Piece<CacheRows<T>> cache_rows_;
  Piece<T> keys_, values_, features_;
  Piece<float> scores_, received_;             // (key rows, G)
  Piece<DecayRing> decay_rings_;
};

}  // namespace lolcats::general
