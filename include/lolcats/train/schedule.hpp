// Learning rate schedules: constant, cosine with warmup, reduce on plateau.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <numbers>
#include <span>
#include <string>
#include <vector>

namespace lolcats {

/// A schedule is a policy of hyperparameters with a nested State made from (policy, learning rate, updates of the run).
///
/// `rate(u)` is the learning rate of update u = 0, 1, ...; `observe(loss)` hears every validation loss; `save` and
/// `load` carry what was learned from them over an interruption; `describe` is text that differs wherever
/// the rates would.
// clang-format off
template <class S>
concept Schedule = std::default_initializable<S> && std::copyable<S> && requires(
    const S policy, typename S::State state, const typename S::State current, std::span<const double> saved) {
  requires std::copyable<typename S::State>;
  requires std::constructible_from<typename S::State, const S&, double, Index>;
  { current.rate(Index{}) } -> std::same_as<double>;
  state.observe(double{});
  { current.save() } -> std::same_as<std::vector<double>>;
  state.load(saved);
  { current.describe() } -> std::convertible_to<std::string>;
};
// clang-format on

namespace detail {
/// What the State of a schedule without memory shares.
struct ForgetfulState {
  void observe(double) {}
  std::vector<double> save() const { return {}; }
  void load(std::span<const double> saved) {
    require<FormatError>(saved.empty(), "schedule: the saved state has {} numbers, expected none", saved.size());
  }
};
}  // namespace detail

/// The learning rate as given, for every update.
struct Constant {
  class State : public detail::ForgetfulState {
   public:
    State(const Constant&, double rate, Index) : rate_(rate) {}
    double rate(Index) const { return rate_; }
    std::string describe() const { return "constant"; }

   private:
    double rate_;
  };
};

/// Linear warmup, then half a cosine from the learning rate down to floor * learning rate at update `total`.
///
///   u < warmup:  rate (u + 1) / warmup
///   otherwise:   rate (floor + (1 - floor) (1 + cos(pi (u - warmup) / (total - warmup))) / 2)
/// Loshchilov and Hutter 2017, arXiv:1608.03983.
struct Cosine {
  Index warmup = 0;  // updates
  Index total = 0;   // updates, warmup included; 0: as many as the run has
  double floor = 0;  // share of the learning rate that is left at the end

  class State;
};

class Cosine::State : public detail::ForgetfulState {
 public:
  State(const Cosine& policy, double rate, Index updates) : policy_(policy), rate_(rate) {
    if (policy_.total == 0) policy_.total = std::max(updates, policy_.warmup);
    require<ConfigError>(
        policy_.warmup >= 0 && policy_.total >= policy_.warmup && policy_.floor >= 0 && policy_.floor <= 1,
        "Cosine: warmup is {}, total {}, floor {}; expected 0 <= warmup <= total and 0 <= floor <= 1", policy_.warmup,
        policy_.total, policy_.floor);
  }
  double rate(Index update) const {
    if (update < policy_.warmup) return rate_ * static_cast<double>(update + 1) / static_cast<double>(policy_.warmup);
    if (update >= policy_.total) return rate_ * policy_.floor;
    const double done =
        static_cast<double>(update - policy_.warmup) / static_cast<double>(policy_.total - policy_.warmup);
    return rate_ * (policy_.floor + (1 - policy_.floor) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
  }
  std::string describe() const {
    return fmt::format("cosine(warmup={}, total={}, floor={})", policy_.warmup, policy_.total, policy_.floor);
  }

 private:
  Cosine policy_;
  double rate_;
};

/// torch's ReduceLROnPlateau in mode "min" with a relative threshold: an evaluation is good if
/// loss < best * (1 - threshold); the (patience + 1)-th bad one in a row multiplies the rate by `factor`.
struct ReduceOnPlateau {
  double factor = 0.1;
  int patience = 10;    // bad evaluations that are forgiven
  double floor = 1e-5;  // a learning rate, not a share
  double threshold = 1e-4;

  class State;
};

class ReduceOnPlateau::State {
 public:
  State(const ReduceOnPlateau& policy, double rate, Index) : policy_(policy), rate_(rate) {
    require<ConfigError>(policy.factor > 0 && policy.factor < 1 && policy.patience >= 0,
                         "ReduceOnPlateau: factor is {}, patience {}; expected 0 < factor < 1 and patience >= 0",
                         policy.factor, policy.patience);
  }
  double rate(Index) const { return rate_; }
  void observe(double loss) {
    if (loss < best_ * (1 - policy_.threshold)) {
      best_ = loss;
      bad_ = 0;
    } else {
      ++bad_;
    }
    if (bad_ > policy_.patience) {
      const double lower = std::max(rate_ * policy_.factor, policy_.floor);
      if (rate_ - lower > smallest_change) rate_ = lower;
      bad_ = 0;
    }
  }
  std::vector<double> save() const { return {rate_, best_, static_cast<double>(bad_)}; }
  void load(std::span<const double> saved) {
    require<FormatError>(saved.size() == 3, "ReduceOnPlateau: the saved state has {} numbers, expected 3",
                         saved.size());
    require<FormatError>(std::isfinite(saved[0]) && saved[0] >= 0 && !std::isnan(saved[1]) && saved[2] >= 0 &&
                             saved[2] <= std::numeric_limits<int>::max(),
                         "ReduceOnPlateau: the saved state is (rate {}, best {}, bad evaluations {}), expected a rate, "
                         "a loss and a count",
                         saved[0], saved[1], saved[2]);
    rate_ = saved[0];
    best_ = saved[1];
    bad_ = static_cast<int>(saved[2]);
  }
  std::string describe() const {
    return fmt::format("reduce_on_plateau(factor={}, patience={}, floor={}, threshold={})", policy_.factor,
                       policy_.patience, policy_.floor, policy_.threshold);
  }

 private:
  static constexpr double smallest_change = 1e-8;  // torch ignores smaller reductions

  ReduceOnPlateau policy_;
  double rate_;
  double best_ = std::numeric_limits<double>::infinity();
  int bad_ = 0;
};

static_assert(Schedule<Constant> && Schedule<Cosine> && Schedule<ReduceOnPlateau>);

}  // namespace lolcats
