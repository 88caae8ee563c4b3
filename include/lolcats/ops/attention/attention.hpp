// The one attention: any window, any feature map, softmax and linear attention included.
#pragma once

#include <lolcats/policy/attention.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/sequences.hpp>

#include <algorithm>
#include <cstdint>

namespace lolcats {

/// Query heads, key/value heads and their size.  Query head h reads key/value head h / (queries / keys).
struct Heads {
  Index queries = 0;  // H
  Index keys = 0;     // G
  Index size = 0;     // D

  Index group() const { return queries / keys; }
  friend bool operator==(const Heads&, const Heads&) = default;
};

/// What an attention learns.  Empty weights where the policy has none.
template <Backend B>
struct AttentionWeights {
  Weight<B> query_map;       // (H, D, f)
  Weight<B> query_bias;      // (H, f) or (H, 1)
  Weight<B> key_map;         // (H, D, f) or (G, D, f)
  Weight<B> key_bias;        // like query_bias
  Weight<B> window_factors;  // (H) in any shape of H elements; gamma = sigmoid(window_factors)
  /// Instead of maps, with GivenFeatures:
  Var<B> query_features{};   // (M, H * F)
  Var<B> key_features{};     // (M, H * F) or (M, G * F)
  /// Of a memory with a gate, one per state: per query head, or per key/value head with KeyMapsPerGroup.
  Weight<B> gate_bias{};     // (H) or (G) in any shape
  Var<B> gate{};             // (M, H) or (M, G), where the gate has an input
  /// Of a memory with a cache, per key/value head:
  Var<B> score{};            // (M, G), where keys are scored when they are read; constants
  Weight<B> cache_sizes{};   // (G) in any shape, at most the size of the cache; null: all have that
};

/// Added to the denominator where no near key keeps it away from zero [QUIRKS 3].
inline constexpr double linear_epsilon = 1e-12;

/// Row statistics that the backward pass needs; each (M, H).
template <Backend B>
struct AttentionStatistics {
  View<Real<B>> largest;               // c_n, the largest near score
  View<Real<B>> inverse_denominator;   // 1 / sum_j p_nj
  View<std::int32_t> largest_at;       // the near key, counted from the start of the sequence, that has it
};

/// What a call of attention computes with: one plain struct for every backend.
template <Backend B, class Window>
struct AttentionProblem {
  Heads heads;
  const Sequences* sequences = nullptr;
  Window window;
  bool affine = false;
  View<const Scalar<B>> q, k, v;  // (M, H * D), (M, G * D), (M, G * D)
  AttentionWeights<B> weights;
};

/// Specialised per backend, Map (a FeatureMap, NoMap or GivenFeatures), Window and Memory:
///   forward(backend, problem, y (M, H * D), statistics)            statistics may be null views
///   backward(tape, problem, y, dy, statistics, AttentionSinks)     adds what is wanted, computes nothing else
/// and, where a backend has several ways to compute one,
///   explain(problem)                                               a sentence: which it takes, and why
template <Backend B, class Map, Window W, MemoryPolicy M>
struct AttentionKernel;

/// Where the backward pass puts gradients of its inputs; unwanted ones have null views.  Gradients of the weights go to
/// the weights themselves.
template <Backend B>
struct AttentionSinks {
  Sink<Scalar<B>> q, k, v, query_features, key_features, gate;
};

namespace detail {

/// Can a cache, if there is one, stand beside this map and window?  Its keys leave a window, are read like near ones, and are mapped
/// again when they lose their places.
template <class Map, Window W, MemoryPolicy M>
inline constexpr bool cache_fits =
    !caches<M> || (W::has_near && W::has_far && (FeatureMap<Map> || (std::is_same_v<Map, NoMap> && !recalls_values<M>)));

/// N, the key maps of an attention, and so the states of its memory.
template <AttentionPolicy A>
Index key_maps(const Heads& heads) {
  return A::key_maps_per_group ? heads.keys : heads.queries;
}

template <AttentionPolicy A, Backend B>
void check_attention(const Shape& q, const Shape& k, const Shape& v, const Sequences& sequences, const Heads& heads,
                     const AttentionWeights<B>& w) {
  using Map = typename A::Map;
  static_assert(cache_fits<Map, typename A::Window, MemoryOf<A>>,
                "a cache stands beside a window that keys leave, and no map or a row map, which maps them again");
  require<ShapeError>(heads.keys > 0 && heads.size > 0 && heads.queries > 0 && heads.queries % heads.keys == 0,
                      "attention: {} query heads and {} key/value heads of size {}; expected a multiple", heads.queries,
                      heads.keys, heads.size);
  const Index rows = sequences.rows();
  check_shape("attention", "q", q, Shape{rows, heads.queries * heads.size});
  check_shape("attention", "k", k, Shape{rows, heads.keys * heads.size});
  check_shape("attention", "v", v, Shape{rows, heads.keys * heads.size});
  if constexpr (has_mixing<A>) {
    require<ShapeError>(w.window_factors && w.window_factors.value.size() == heads.queries,
                        "attention: window_factors has {} elements, expected {}, one per query head",
                        w.window_factors ? w.window_factors.value.size() : 0, heads.queries);
  }
  if constexpr (FeatureMap<Map>) {
    const auto check_map = [&](const char* name, const Weight<B>& map, const Weight<B>& bias, bool per_group) {
      const Index count = per_group ? heads.keys : heads.queries;
      require<ShapeError>(map && map.shape().rank() == 3 && map.shape()[0] == count && map.shape()[1] == heads.size &&
                              (Map::projected == dynamic || map.shape()[2] == Map::projected) &&
                              (!Map::skip || map.shape()[2] == heads.size),
                          "attention: {} of {} has shape {}, expected ({}, {}, {})", name, Map::name(),
                          to_string(map.shape()), count, heads.size,
                          Map::skip ? heads.size : (Map::projected == dynamic ? map.shape()[2] : Map::projected));
      if constexpr (Map::bias != Bias::none) {
        const Index width = Map::bias == Bias::head ? 1 : map.shape()[2];
        require<ShapeError>(bias && bias.value.size() == count * width, "attention: bias of {} has shape {}, expected {} elements",
                            name, to_string(bias.shape()), count * width);
      }
    };
    check_map("query_map", w.query_map, w.query_bias, false);
    check_map("key_map", w.key_map, w.key_bias, A::key_maps_per_group);
    require<ShapeError>(w.query_map.shape()[2] == w.key_map.shape()[2],
                        "attention: query_map projects onto {} features, key_map onto {}", w.query_map.shape()[2],
                        w.key_map.shape()[2]);
  }
  if constexpr (std::is_same_v<Map, GivenFeatures>) {
    const Var<B>&query = w.query_features, &key = w.key_features;
    require<ShapeError>(query && query.rows() == rows && query.cols() % heads.queries == 0,
                        "attention: query_features has shape {}, expected ({}, {} * F)",
                        query ? to_string(query.shape()) : "()", rows, heads.queries);
    const Index features = query.cols() / heads.queries;
    require<ShapeError>(key && key.rows() == rows &&
                            (key.cols() == heads.queries * features || key.cols() == heads.keys * features),
                        "attention: key_features has shape {}, expected ({}, {} * {}) or ({}, {} * {})",
                        key ? to_string(key.shape()) : "()", rows, heads.queries, features, rows, heads.keys, features);
  }
  if constexpr (gated<MemoryOf<A>>) {
    const Index sums = key_maps<A>(heads);
    require<ShapeError>(w.gate_bias && w.gate_bias.value.size() == sums,
                        "attention: gate_bias has {} elements, expected {}, one per state of far keys",
                        w.gate_bias ? w.gate_bias.value.size() : 0, sums);
    if constexpr (MemoryOf<A>::Gate::input != GateInput::none) {
      require<ShapeError>(static_cast<bool>(w.gate), "attention: gate is missing, expected shape ({}, {})", rows, sums);
      check_shape("attention", "gate", w.gate.shape(), Shape{rows, sums});
    }
  }
  if constexpr (scored_when_read<MemoryOf<A>>) {
    require<ShapeError>(static_cast<bool>(w.score), "attention: score is missing, expected shape ({}, {})", rows, heads.keys);
    check_shape("attention", "score", w.score.shape(), Shape{rows, heads.keys});
  }
  if constexpr (caches<MemoryOf<A>>) {
    require<ShapeError>(!w.cache_sizes || w.cache_sizes.value.size() == heads.keys,
                        "attention: cache_sizes has {} elements, expected {}, one per key/value head",
                        w.cache_sizes ? w.cache_sizes.value.size() : 0, heads.keys);
  }
}

/// Refuses what asks for the weights of an attention that has none.
template <AttentionPolicy A>
void require_weights(const char* who) {
  require<ConfigError>(!corrects<MemoryOf<A>>, "{}: {} has no attention weights, as its memory corrects what it wrote; expected one that sums",
                       who, A::name());
}

}  // namespace detail

/// y (M, H * D) of attention `A` on q (M, H * D), k and v (M, G * D), rotated already.
///
/// O(M) memory and, for every window but an unbounded one, O(M) time.  The backward pass computes the gradients of q, k,
/// v, maps and gamma that are wanted and no others.  `sequences` must outlive the tape's scope.
/// Throws ShapeError naming the argument.
/// Memories that correct what they wrote have a form of their own: ops/attention/correcting.hpp.
template <AttentionPolicy A, Backend B>
  requires(!corrects<MemoryOf<A>>)
Var<B> attention(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, const Sequences& sequences, const Heads& heads,
                 const AttentionWeights<B>& weights = {}, typename A::Window window = detail::window_of_type<typename A::Window>()) {
  using W = typename A::Window;
  using Kernel = AttentionKernel<B, typename A::Map, W, MemoryOf<A>>;
  detail::check_attention<A>(q.shape(), k.shape(), v.shape(), sequences, heads, weights);

  constexpr bool given = std::is_same_v<typename A::Map, GivenFeatures>;
  const auto wants = [](const Var<B>& x) { return x && x.wants_gradient(); };
  const bool wanted = wants(q) || wants(k) || wants(v) || weights.query_map.trained() || weights.key_map.trained() ||
                      weights.query_bias.trained() || weights.key_bias.trained() || weights.window_factors.trained() ||
                      weights.gate_bias.trained() || wants(weights.gate) ||
                      (given && (wants(weights.query_features) || wants(weights.key_features)));

  AttentionProblem<B, W> problem{.heads = heads, .sequences = &sequences, .window = window, .affine = A::affine,
                                 .q = q.value(), .k = k.value(), .v = v.value(), .weights = weights};
  auto [y, out] = tape.result(q.shape(), wanted);
  AttentionStatistics<B> statistics;
  if (y.wants_gradient()) {
    const Shape shape{q.rows(), heads.queries};
    statistics = {tape.template scratch<Real<B>>(shape), tape.template scratch<Real<B>>(shape),
                  tape.template scratch<std::int32_t>(shape)};
  }
  Kernel::forward(tape.backend(), problem, out, statistics);
  tape.record(y, [&tape, problem, statistics, q, k, v, y = y] {
    const auto sink = [](const Var<B>& x) { return x && x.wants_gradient() ? x.sink() : Sink<Scalar<B>>{}; };
    const AttentionSinks<B> sinks{sink(q), sink(k), sink(v), sink(problem.weights.query_features),
                                  sink(problem.weights.key_features), sink(problem.weights.gate)};
    Kernel::backward(tape, problem, y.value(), y.gradient(), statistics, sinks);
  });
  return y;
}

}  // namespace lolcats
