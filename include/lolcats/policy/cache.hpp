// Caches: which far keys stay raw.
#pragma once

#include <lolcats/core/index.hpp>

#include <concepts>
#include <string>

namespace lolcats {

/// What scores a key when it leaves the window.
enum class ScoreInput {
  hidden,     // a projection of the layer's normed input at the key's token
  keys,       // the key and all earlier ones, before their rotation
  recall,     // how badly the maps' sums over all earlier keys recall the key's value
  attention,  // the queries that had the key in their window
};

/// A score says which keys are worth their place in a cache.  A key gets one score, when it leaves the window, and it does
/// not change; so which keys a query finds in the cache depends on the keys alone, and training, prefill at any split and
/// decoding agree.
// clang-format off
template <class S>
concept ScorePolicy = requires {
  { S::input } -> std::convertible_to<ScoreInput>;
  { S::name() } -> std::convertible_to<std::string>;
};
// clang-format on

/// A linear function of the layer's input, one per key/value head; `fit_scores` (eval/fit_scores.hpp) makes it predict how
/// much attention a key will get from beyond the window.  Without a fit it scores all keys alike, and the first ones stay.
struct LearnedScore {
  static constexpr ScoreInput input = ScoreInput::hidden;
  static std::string name() { return "learned"; }
};

/// The self-recall error: | v - (phi_k^T S) / (phi_k^T z) |, summed over the query heads of a key/value head, with S and z over
/// all earlier keys (LoLA, arXiv:2505.23666).  Needs feature maps, and no training.
struct RecallError {
  static constexpr ScoreInput input = ScoreInput::recall;
  static std::string name() { return "recall error"; }
};

/// 1 - cos(k, m), m the mean of all earlier keys of the sequence, each of length one: how unlike the others a key is, before its
/// rotation.  As KeyDiff (arXiv:2504.15364), whose mean is over the keys it has kept.  Needs no training and no feature maps.
struct Novelty {
  static constexpr ScoreInput input = ScoreInput::keys;
  static std::string name() { return "novelty"; }
};

/// The attention that a key got while it was in the window: the softmax weight over window and sinks alone, summed over
/// the query heads of its key/value head, on average over the queries that had it there.  A sum over queries, as H2O's
/// (arXiv:2306.14048), would favour keys that stay longer in a terraced window.  Needs no training and no feature maps.
struct ReceivedAttention {
  static constexpr ScoreInput input = ScoreInput::attention;
  static std::string name() { return "received attention"; }
};

static_assert(ScorePolicy<LearnedScore> && ScorePolicy<RecallError> && ScorePolicy<Novelty> && ScorePolicy<ReceivedAttention>);

/// Per key/value head, the `Size` far keys of the highest score stay raw and are read by softmax like near ones; of
/// equals, the earlier one.  NaN is less than all numbers.  A layer may give its heads less (`cache_sizes`).
template <Index Size, ScorePolicy S>
struct Cache {
  static_assert(Size > 0, "a cache holds at least one key");
  static constexpr Index size = Size;
  using Score = S;
  static std::string name() { return "kept<" + std::to_string(Size) + ", " + S::name() + ">"; }
};

/// No far key stays raw.
struct NoCache {
  static constexpr Index size = 0;
};

/// A cache has `size` places per key/value head and, unless there are none, a name and a Score by which keys get them.
// clang-format off
template <class C>
concept CachePolicy = requires { { C::size } -> std::convertible_to<Index>; } && (C::size == 0 || requires {
  requires ScorePolicy<typename C::Score>;
  { C::name() } -> std::convertible_to<std::string>;
});
// clang-format on

static_assert(CachePolicy<NoCache> && CachePolicy<Cache<8, Novelty>>);

}  // namespace lolcats
