// The attention of a layer: what its policy learns, and its two forms, whole sequences and steps.
#pragma once

#include <lolcats/nn/feature_map.hpp>
#include <lolcats/nn/gate.hpp>
#include <lolcats/ops/attention/correcting.hpp>
#include <lolcats/ops/novelty/novelty.hpp>

#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace lolcats {

/// Queries, keys and values of M tokens; queries and keys rotated already.
template <Backend B>
struct Qkv {
  Var<B> q;  // (M, H * D)
  Var<B> k;  // (M, G * D)
  Var<B> v;  // (M, G * D)
  /// What gates and scores may read; may be null for those that do not.
  Var<B> hidden{};     // (M, C), the layer's normed input
  Var<B> unrotated{};  // (M, G * D), keys before their rotation
};

/// Where gamma starts: logit(0.1) [QUIRKS 2].
inline constexpr double initial_window_factor = -2.1972245773362196;
/// Where gamma is the whole share of the window, beside a memory that corrects: logit(0.9).
inline constexpr double initial_window_share = -initial_window_factor;

namespace detail {
/// A composed attention as the operation sees it: its features are computed already.
template <AttentionPolicy A>
struct OverGivenFeatures : A {
  using Map = GivenFeatures;
};
/// The same maps without a window, and without the cache, whose keys are read like those of a window.
template <AttentionPolicy A>
struct WithoutWindow {
  using Map = typename A::Map;
  using Window = Nothing;
  using Memory = std::conditional_t<caches<MemoryOf<A>>, Sum, MemoryOf<A>>;
  static constexpr bool affine = false;
  static constexpr bool shared_maps = A::shared_maps;
  static constexpr bool key_maps_per_group = A::key_maps_per_group;
  static std::string name() { return A::name() + " without its window"; }
};
struct NoMaps {};
struct NoGates {};
template <Backend B, class Map>
struct MapLayerOf {
  using type = typename Map::template Layer<B>;
};
template <Backend B>
struct MapLayerOf<B, NoMap> {
  using type = NoMaps;
};
template <Backend B, FeatureMap Map>
struct MapLayerOf<B, Map> {
  using type = FeatureMapLayer<B, Map>;
};
}  // namespace detail

/// Attention by policy A over the heads of one layer.
template <Backend B, AttentionPolicy A>
class AttentionLayer {
 public:
  using Map = typename A::Map;
  using Window = typename A::Window;
  using Memory = MemoryOf<A>;
  static constexpr bool composed = has_maps<A> && !FeatureMap<Map>;
  /// The policy as the operation sees it: composed maps are evaluated before.
  using Policy = std::conditional_t<composed, detail::OverGivenFeatures<A>, A>;
  static_assert(std::is_empty_v<Window> || std::is_same_v<A, Softmax<>>, "a model's window has its size in its type");
  static_assert(!composed || ComposedFeatureMap<Map, B>, "neither a FeatureMap nor a ComposedFeatureMap");
  static_assert(!(A::shared_maps && A::key_maps_per_group), "shared maps are per query head");

  AttentionLayer() = default;

  /// Fresh maps, and gamma where its mix starts.  Keys start with the maps of the queries.  `sliding_window` is the checkpoint's
  /// own (0: none), which Softmax<> takes; `width` C, which gates of the layer's input ask for.
  AttentionLayer(const B& backend, const Heads& heads, Index sliding_window, Index layer, std::uint64_t seed, Index width = 0)
      : heads_(heads), layer_(static_cast<std::uint64_t>(layer)) {
    if constexpr (std::is_same_v<A, Softmax<>>) window_ = checkpoint_window(sliding_window);
    if constexpr (composed) {
      const std::uint64_t start = mix_bits(seed + static_cast<std::uint64_t>(layer));
      query_map_ = MapLayer(backend, heads, heads.queries, start);
      if (!A::shared_maps) key_map_ = MapLayer(backend, heads, heads.keys, start);
    } else if constexpr (has_maps<A>) {
      query_map_ = MapLayer(backend, heads.queries, heads.size, seed, static_cast<std::uint64_t>(layer));
      key_map_ = MapLayer::every(backend, query_map_, A::key_maps_per_group ? heads.group() : 1);
    }
    if constexpr (has_mixing<A>) {
      const std::vector<double> start(static_cast<std::size_t>(heads.queries), corrects<Memory> ? initial_window_share : initial_window_factor);
      window_factors_ = detail::make_parameter(backend, Shape{1, heads.queries, 1, 1}, start);
    }
    if constexpr (gated<Memory>) {
      gate_ = Gates(backend, heads, A::key_maps_per_group ? heads.keys : heads.queries, width);
    }
    if constexpr (caches<Memory>) {
      set_cache_sizes(backend, std::vector<Index>(static_cast<std::size_t>(heads.keys), Memory::Cache::size));
    }
    if constexpr (projects_scores<Memory>) {
      require<ConfigError>(width > 0, "attention '{}': the width of the layer's input is {}, expected at least 1", A::name(), width);
      score_ = detail::make_parameter(backend, Shape{heads.keys, width},
                                      std::vector<double>(static_cast<std::size_t>(heads.keys * width), 0.0));
    }
  }

  /// y (M, H * D).  `sequences` must outlive the tape's scope.
  Var<B> operator()(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const {
    if constexpr (window_dropout<A>.acts()) {
      if (tape.training && Rng(tape.seed, detail::window_streams + layer_).uniform() < window_dropout<A>.at(tape.update)) {
        AttentionWeights<B> maps = weights(tape, x, sequences);
        maps.window_factors = {};
        return attention<detail::WithoutWindow<Policy>>(tape, x.q, x.k, x.v, sequences, heads_, maps);
      }
    }
    return attention<Policy>(tape, x.q, x.k, x.v, sequences, heads_, weights(tape, x, sequences), window_);
  }

  /// The same for new tokens of sequences that `state` has read up to here, or of those among them that `chosen` names;
  /// records nothing.
  Var<B> step(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, AttentionState<B>& state,
              std::span<const Index> chosen = {}) const {
    const typename Tape<B>::NoGradient quiet(tape);
    const auto read = [&](std::span<Real<B>* const> unit_keys) {
      return attention_step<Policy>(tape, x.q, x.k, x.v, sequences, heads_, state, weights(tape, x, sequences, unit_keys), window_, chosen);
    };
    if constexpr (!compares_keys<Memory>) {
      return read({});
    } else {
      const auto slots = detail::slots_of(state, sequences, chosen);
      std::vector<Array<B, Real<B>>> after;  // a step that is refused leaves the slots as they were
      std::vector<Real<B>*> unit_keys;
      for (const auto* slot : slots) {
        after.push_back(Array<B, Real<B>>(Shape{heads_.keys, heads_.size}));
        unit_keys.push_back(after.back().data());
        if (slot->unit_keys) tape.backend().copy(std::as_const(slot->unit_keys).data(), unit_keys.back(), slot->unit_keys.size());
        else tape.backend().zero(unit_keys.back(), after.back().size());
      }
      const Var<B> y = read(unit_keys);
      for (std::size_t n = 0; n < slots.size(); ++n) slots[n]->unit_keys = std::move(after[n]);
      return y;
    }
  }

  const Heads& heads() const { return heads_; }
  const Window& window() const { return window_; }

  /// What the operation computes with; composed maps, gates and scores are evaluated here.  `unit_keys` is what Novelty has seen of
  /// each sequence, and goes on; empty at their start.
  AttentionWeights<B> weights([[maybe_unused]] Tape<B>& tape, [[maybe_unused]] const Qkv<B>& x, [[maybe_unused]] const Sequences& sequences,
                              [[maybe_unused]] std::span<Real<B>* const> unit_keys = {}) const {
    AttentionWeights<B> w;
    if constexpr (composed) {
      w.query_features = query_map_(tape, x.q, heads_);
      w.key_features = key_map()(tape, x.k, heads_);
    } else if constexpr (has_maps<A>) {
      w.query_map = query_map_.weight();
      w.query_bias = query_map_.bias();
      w.key_map = key_map().weight();
      w.key_bias = key_map().bias();
    }
    if constexpr (has_mixing<A>) w.window_factors = window_factors_;
    if constexpr (gated<Memory>) {
      w.gate_bias = gate_.bias();
      w.gate = gate_(tape, x.hidden, x.unrotated);
    }
    if constexpr (caches<Memory>) w.cache_sizes = cache_sizes_;
    if constexpr (projects_scores<Memory>) {
      require<ShapeError>(static_cast<bool>(x.hidden), "attention '{}': the layer's input is missing", A::name());
      const typename Tape<B>::NoGradient quiet(tape);
      w.score = linear(tape, x.hidden, score_);
    } else if constexpr (compares_keys<Memory>) {
      require<ShapeError>(static_cast<bool>(x.unrotated), "attention '{}': the keys before their rotation are missing", A::name());
      const typename Tape<B>::NoGradient quiet(tape);
      w.score = novelty(tape, x.unrotated, sequences, heads_.keys, unit_keys);
    }
    return w;
  }

  /// The projection (G, C) that scores keys; see fit_scores.
  void set_scores(const B& backend, const std::vector<double>& projection)
    requires(projects_scores<Memory>)
  {
    require<ShapeError>(static_cast<Index>(projection.size()) == score_.shape().size(),
                        "set_scores: {} numbers, expected {}", projection.size(), score_.shape().size());
    score_ = detail::make_parameter(backend, score_.shape(), projection);
  }
  /// How many keys each key/value head keeps, 0 to the size in the type.
  void set_cache_sizes(const B& backend, const std::vector<Index>& sizes)
    requires(caches<Memory>)
  {
    require<ShapeError>(static_cast<Index>(sizes.size()) == heads_.keys, "set_cache_sizes: {} numbers, expected {}, one per key/value head",
                        sizes.size(), heads_.keys);
    for (const Index size : sizes) {
      require<ConfigError>(size >= 0 && size <= Memory::Cache::size, "set_cache_sizes: {} keys, expected 0 to {}", size, Memory::Cache::size);
      const auto held = static_cast<float>(static_cast<Scalar<B>>(static_cast<float>(size)));
      require<ConfigError>(static_cast<Index>(held) == size, "set_cache_sizes: {} keys are {} in {}, expected a number that it holds",
                           size, held, B::name());
    }
    cache_sizes_ = detail::make_parameter(backend, Shape{1, heads_.keys, 1, 1}, std::vector<double>(sizes.begin(), sizes.end()));
  }

  std::vector<Index> cache_sizes(const B& backend) const
    requires(caches<Memory>)
  {
    std::vector<double> sizes(static_cast<std::size_t>(heads_.keys));
    backend.to_host(cache_sizes_.value().data, sizes.data(), heads_.keys);
    return {sizes.begin(), sizes.end()};
  }

  /// f(name, shape, parameter) for the maps and gamma, under the published names, and for what gates learn.
  template <class F>
  void visit_maps([[maybe_unused]] const std::string& at, [[maybe_unused]] F&& f) {
    if constexpr (has_maps<A>) query_map_.visit_maps(at + "feature_map_q", f);
    if constexpr (has_maps<A> && !A::shared_maps) key_map_.visit_maps(at + "feature_map_k", f);
    if constexpr (has_mixing<A>) f(at + "window_factors", Shape{1, heads_.queries, 1, 1}, window_factors_);
    if constexpr (gated<Memory>) gate_.visit(at + "memory_gate", f);
  }
  /// The same for what is fitted, not trained: scores and sizes of a cache.
  template <class F>
  void visit_fitted([[maybe_unused]] const std::string& at, [[maybe_unused]] F&& f) {
    if constexpr (projects_scores<Memory>) f(at + "memory_cache.score", score_.shape(), score_);
    if constexpr (caches<Memory>) f(at + "memory_cache.sizes", cache_sizes_.shape(), cache_sizes_);
  }

 private:
  using MapLayer = typename detail::MapLayerOf<B, Map>::type;
  using Gates = std::conditional_t<gated<Memory>, GateLayer<B, typename Memory::Gate>, detail::NoGates>;

  const MapLayer& key_map() const {
    if constexpr (A::shared_maps) return query_map_;
    else return key_map_;
  }

  Heads heads_;
  std::uint64_t layer_ = 0;
  Window window_{};
  [[no_unique_address]] MapLayer query_map_{};
  MapLayer key_map_{};
  Parameter<B> window_factors_;  // (1, H, 1, 1)
  [[no_unique_address]] Gates gate_{};
  Parameter<B> score_, cache_sizes_;  // (G, C), (1, G, 1, 1)
};

}  // namespace lolcats
