// Gates: how fast a memory forgets, or at what rate it learns.
#pragma once

#include <lolcats/core/index.hpp>

#include <cmath>
#include <concepts>
#include <string>

namespace lolcats {

/// What the number behind a gate is made of, beside a bias per head.
enum class GateInput {
  none,    // nothing: every token decays alike
  keys,    // the mean over a head's key before its rotation
  hidden,  // a projection of the layer's normed input, learned
};

/// A gate is two functions of one number: with z = input + bias, the sums over far keys are multiplied by
/// a = exp(log_decay(z)) <= 1 when a token is read, and `slope` is d log_decay / dz.  So a far key j weighs
/// exp(G_n - G_j) times as much for query n, G the running sum of log_decay.  There is one gate per memory: per query
/// head, or per key/value head with KeyMapsPerGroup.
///
/// `start(h, heads)` is the bias of head h before training, `learned` says whether it is trained.  Both functions are
/// constexpr, so that a GPU may call them.
// clang-format off
template <class G>
concept GatePolicy = requires(double z, Index h) {
  { G::input } -> std::convertible_to<GateInput>;
  { G::learned } -> std::convertible_to<bool>;
  { G::start(h, h) } -> std::same_as<double>;
  { G::log_decay(z) } -> std::same_as<double>;
  { G::slope(z) } -> std::same_as<double>;
  { G::name() } -> std::convertible_to<std::string>;
};
// clang-format on

/// Nothing is forgotten.
struct NoGate {
  static constexpr GateInput input = GateInput::none;
  static constexpr bool learned = false;
  static constexpr double start(Index, Index) { return 0; }
  static constexpr double log_decay(double) { return 0; }
  static constexpr double slope(double) { return 0; }
  static std::string name() { return "none"; }
};

namespace detail {
/// A number that is the logarithm of the decay itself.
struct FixedGate {
  static constexpr GateInput input = GateInput::none;
  static constexpr bool learned = false;
  static constexpr double log_decay(double z) { return z; }
  static constexpr double slope(double) { return 1; }
};

/// log sigmoid(z) / Temperature, which keeps 0 < a < 1 whatever z is.
template <int Temperature>
struct SigmoidGate {
  static_assert(Temperature > 0, "a temperature is positive");
  static constexpr bool learned = true;
  static constexpr double log_decay(double z) {
    return (z < 0 ? z - std::log1p(std::exp(z)) : -std::log1p(std::exp(-z))) / Temperature;
  }
  static constexpr double slope(double z) { return (1 - 1 / (1 + std::exp(-z))) / Temperature; }
};
}  // namespace detail

/// Fixed, a = 1 - 2^-(5 + 8 h / H): those of RetNet's eight heads (Sun et al. 2023, arXiv:2307.08621, section 3.1), spread
/// over any number.
struct RetentionGate : detail::FixedGate {
  static double start(Index h, Index heads) {
    return std::log1p(-std::exp2(-(5 + 8 * static_cast<double>(h) / static_cast<double>(heads))));
  }
  static std::string name() { return "retention"; }
};

/// Fixed, a = exp(-2^(-8 (h + 1) / H)), the slopes of ALiBi, as Lightning Attention spaces them (Qin et al. 2024,
/// arXiv:2401.04658).
struct LightningGate : detail::FixedGate {
  static double start(Index h, Index heads) {
    return -std::exp2(-8 * static_cast<double>(h + 1) / static_cast<double>(heads));
  }
  static std::string name() { return "lightning"; }
};

/// Learned, one number per head: a = sigmoid(b)^(1/16).  Starts at half-lives from 1024 tokens up to 16384.
struct HeadGate : detail::SigmoidGate<16> {
  static constexpr GateInput input = GateInput::none;
  /// -log_decay is log 2 / half-life, so sigmoid(-z) is about 16 log 2 / half-life.
  static double start(Index h, Index heads) {
    const double half_life = 1024 * std::exp2(4 * static_cast<double>(h) / static_cast<double>(heads));
    return -std::log(std::expm1(16 * 0.6931471805599453 / half_life));
  }
  static std::string name() { return "per head"; }
};

/// From the keys, without new weights but a bias: the mean of a key's elements stands for a gate, as Liger pools them (Lan et
/// al. 2025, arXiv:2503.01496).
struct KeyGate : detail::SigmoidGate<16> {
  static constexpr GateInput input = GateInput::keys;
  static double start(Index h, Index heads) { return HeadGate::start(h, heads); }
  static std::string name() { return "of keys"; }
};

/// From the layer's input by a projection, a = sigmoid(x w + b)^(1/16), as gated linear attention does it (Yang et al. 2024,
/// arXiv:2312.06635, with one number per head).  The projection starts at zero.
struct ProjectedGate : detail::SigmoidGate<16> {
  static constexpr GateInput input = GateInput::hidden;
  static double start(Index h, Index heads) { return HeadGate::start(h, heads); }
  static std::string name() { return "projected"; }
};

/// The rate of a delta rule (policy/memory.hpp), from the layer's input by a projection: b = sigmoid(x w + z0), which starts at a
/// half, as DeltaNet has it (Yang et al. 2024, arXiv:2406.06484).
struct ProjectedRate : detail::SigmoidGate<1> {
  static constexpr GateInput input = GateInput::hidden;
  static constexpr double start(Index, Index) { return 0; }
  static std::string name() { return "projected rate"; }
};

/// The same, one number per head.
struct HeadRate : detail::SigmoidGate<1> {
  static constexpr GateInput input = GateInput::none;
  static constexpr double start(Index, Index) { return 0; }
  static std::string name() { return "rate per head"; }
};

static_assert(GatePolicy<NoGate> && GatePolicy<RetentionGate> && GatePolicy<LightningGate> && GatePolicy<HeadGate> &&
              GatePolicy<KeyGate> && GatePolicy<ProjectedGate> && GatePolicy<ProjectedRate> && GatePolicy<HeadRate>);

}  // namespace lolcats
