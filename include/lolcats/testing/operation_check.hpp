// Does an operation of a backend do what its reference in plain doubles does?
#pragma once

#include <lolcats/core/parallel.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/bf16.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

namespace lolcats::testing {

/// An argument of an operation: a Var or a trained Weight, filled with normal numbers.
struct Argument {
  Shape shape;
  bool parameter = false;
  double scale = 1.0;
  double mean = 0.0;
};

namespace detail {
template <class T>
inline constexpr bool narrow = std::is_same_v<T, bf16>;
template <class T>
inline constexpr double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
}  // namespace detail

/// Tolerances relative to the largest entry (values) and to the norm (directional derivatives of the reference).
///
/// bf16 has 8 bits: a result is off by 2^-9 of itself, and by as much again for each intermediate result that is kept in
/// bf16 (the low product of an adapter, a gradient that is added to).  What an operation does beside that, in fp32, is
/// far below.  A directional derivative of few elements sees several of these at once, times a direction's length.
template <Backend B>
struct OperationCheckOptions {
  double value_tolerance = detail::narrow<Scalar<B>> ? 1e-2 : 64 * detail::epsilon<Scalar<B>>;
  // Below 1e-7 one sees the rounding of the reference's sums in its differences.
  double gradient_tolerance = detail::narrow<Scalar<B>> ? 4e-2 : std::max(256 * detail::epsilon<Scalar<B>>, 1e-7);
  std::uint64_t seed = 1;
  bool training = false;
};

namespace detail {
/// Runs with a number of threads and restores the old one.
class Threads {
 public:
  explicit Threads([[maybe_unused]] int count) {
#ifdef _OPENMP
    omp_set_num_threads(count);
#endif
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
#ifdef _OPENMP
    omp_set_num_threads(before_);
#endif
  }

 private:
  [[maybe_unused]] int before_ = max_threads();
};
}  // namespace detail

/// Checks op(tape, vars, weights) -> Var on Tape<B> against reference(arguments) -> vector<double>.
///
/// The arguments of the reference are all arguments in order; vars and weights are those of each kind in order.
/// Checked are: values; every gradient, in three random directions, against five-point differences of the reference;
/// gradients that are added to instead of set; the same bits in a second run, on the CPU with one and two threads; and
/// that nothing is recorded when nothing is trained.  Memory holds NaN before it is written.
template <Backend B, class Op, class Reference>
Verdict check_operation(const std::vector<Argument>& arguments, Op op, Reference reference,
                        OperationCheckOptions<B> options = {}) {
  const B backend;
  Rng rng(options.seed, 11);
  std::vector<Array<B>> arrays;
  std::vector<std::vector<double>> numbers;
  for (const Argument& argument : arguments) {
    arrays.push_back(normal<B>(argument.shape, rng, argument.scale, argument.mean));
    numbers.push_back(host(backend, arrays.back().view()));
  }
  const std::vector<double> want = reference(std::span<const std::vector<double>>(numbers));
  std::vector<double> cotangent(want.size());
  for (double& c : cotangent) {  // exact in Scalar
    c = static_cast<float>(rng.normal());
    if constexpr (detail::narrow<Scalar<B>>) c = bf16(static_cast<float>(c));
  }

  std::vector<double> got;
  std::size_t records = 0;
  // The gradients of <cotangent, op(arguments)>; got and records are by-products.
  const auto run = [&](bool trained, bool recording, int uses) {
    Tape<B> tape;
    tape.seed = options.seed;
    tape.training = options.training;
    poison(tape);
    std::vector<Var<B>> vars;
    std::vector<Parameter<B>> parameters;
    std::vector<Weight<B>> weights;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const View<const Scalar<B>> view = arrays[i].view();
      if (!arguments[i].parameter) {
        vars.push_back(trained ? tape.variable(view) : tape.constant(view));
      } else {
        parameters.emplace_back(arrays[i]);
        if (trained) parameters.back().train(backend);
        weights.push_back(parameters.back());
      }
    }
    std::vector<std::vector<double>> gradients;
    const auto forward = [&] {
      auto y = op(tape, std::span<const Var<B>>(vars), std::span<const Weight<B>>(weights));
      got = host(backend, y.value());
      return y;
    };
    if (!recording) {
      const typename Tape<B>::NoGradient quiet(tape);
      forward();
      records = tape.records();
      return gradients;
    }
    for (int use = 0; use < uses; ++use) {
      auto y = forward();
      if (!y.wants_gradient() || got.size() != cotangent.size()) continue;
      const auto sink = y.sink();
      backend.from_host(cotangent.data(), sink.gradient.data, sink.gradient.size());
    }
    records = tape.records();
    tape.replay(0);
    std::size_t var = 0, parameter = 0;
    for (const Argument& argument : arguments) {
      if (argument.parameter) {
        gradients.push_back(host(backend, parameters[parameter++].gradient()));
      } else {
        const auto& x = vars[var++];
        gradients.push_back(x.has_gradient() ? host(backend, x.gradient()) : std::vector<double>{});
      }
    }
    return gradients;
  };
  const auto failure = [](const std::string& what, const Verdict& verdict) {
    return Verdict{false, "check_operation: " + what + ": " + verdict.text};
  };

  const auto gradients = run(true, true, 1);
  const std::vector<double> value = got;
  if (const auto verdict = close(want, value, options.value_tolerance); !verdict) return failure("value", verdict);
  if (records == 0) return {false, "check_operation: nothing was recorded, expected a pullback"};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].shape.size() > 0 && gradients[i].empty()) {
      return {false, fmt::format("check_operation: no gradient of argument {} arrived, expected one of shape {}", i,
                                 to_string(arguments[i].shape))};
    }
  }
  run(false, true, 1);
  if (records != 0) return {false, "check_operation: recorded although nothing is trained"};
  if (const auto verdict = same(value, got); !verdict) return failure("value without training", verdict);
  run(true, false, 1);
  if (records != 0) return {false, "check_operation: recorded under NoGradient"};

  const auto twice = run(true, true, 2);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    auto doubled = gradients[i];
    for (double& entry : doubled) entry *= 2;
    if (const auto verdict = close(doubled, twice[i], options.value_tolerance); !verdict) {
      return failure(fmt::format("gradient {} of two uses", i), verdict);
    }
    double norm = 0;
    for (const double entry : gradients[i]) norm += entry * entry;
    norm = std::max(std::sqrt(norm), 1e-30);
    for (int direction = 0; direction < 3; ++direction) {
      std::vector<double> step(numbers[i].size());
      for (double& entry : step) entry = rng.normal();
      double slope = 0;
      for (std::size_t j = 0; j < step.size(); ++j) slope += gradients[i][j] * step[j];
      const auto at = [&](double steps) {
        auto moved = numbers;
        for (std::size_t j = 0; j < step.size(); ++j) moved[i][j] += steps * 1e-3 / std::sqrt(step.size()) * step[j];
        const auto y = reference(std::span<const std::vector<double>>(moved));
        double total = 0;
        for (std::size_t j = 0; j < y.size(); ++j) total += cotangent[j] * (y[j] - want[j]);
        return total;
      };
      const double expected = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / 12e-3 * std::sqrt(step.size());
      if (!(std::abs(slope - expected) <= options.gradient_tolerance * norm)) {
        return {false, fmt::format("check_operation: gradient {} in direction {}: got {:.17g}, expected {:.17g} "
                                   "(gradient norm {:.3g}, tolerance {:.3g})",
                                   i, direction, slope, expected, norm, options.gradient_tolerance)};
      }
    }
  }

  for (const int count : {1, 2}) {
    const detail::Threads threads(count);
    const auto again = run(true, true, 1);
    if (const auto verdict = same(value, got); !verdict)
      return failure(fmt::format("value on {} threads", count), verdict);
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (const auto verdict = same(gradients[i], again[i]); !verdict) {
        return failure(fmt::format("gradient {} on {} threads", i, count), verdict);
      }
    }
  }
  return {true, "check_operation: passed"};
}

}  // namespace lolcats::testing
