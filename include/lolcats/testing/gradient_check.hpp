// Are the gradients that a tape computes the derivatives of what it computes?
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace lolcats::testing {

/// The gradient of `loss()` with respect to the numbers `x`, which it reads in place.
///
/// Five-point central differences: error O(step^4) of the fifth derivative, plus rounding of about 1e-16 / step.
template <class F>
std::vector<double> numerical_gradient(F&& loss, std::span<double> x, double step = 2e-4) {
  std::vector<double> gradient;
  for (double& number : x) {
    const double keep = number;
    const auto at = [&](double steps) {
      number = keep + steps * step;
      return static_cast<double>(loss());
    };
    const double slope = 8 * (at(1) - at(-1)) - (at(2) - at(-2));
    number = keep;
    gradient.push_back(slope / (12 * step));
  }
  return gradient;
}

struct GradientCheckOptions {
  double tolerance = 1e-8;  // relative to the largest entry of each gradient
  double step = 2e-4;
};

/// Checks every gradient of y = f(tape, x) on Tape<Cpu<double>>, y of any shape (a random cotangent makes it a number).
///
/// `variables` become the Vars x; `parameters` are what f reads through its captures.  Checked are: the value with and
/// without recording; each gradient, all wanted at once, against numerical_gradient; each gradient wanted alone (all
/// other arguments constant or frozen) against the former; and that a second use of the same arguments doubles it.
/// Memory is filled with NaN before each backward pass.  Afterwards parameters are trained, with zero gradients.
///
///     CHECK(check_gradients({x}, {&w}, [&](Tape<Cpu<double>>& tape, std::span<const Var<Cpu<double>>> v) {
///       return linear(tape, v[0], w);
///     }));
template <class F>
Verdict check_gradients(const std::vector<Tensor<double>>& variables,
                        const std::vector<Parameter<Cpu<double>>*>& parameters, F f,
                        GradientCheckOptions options = {}) {
  using B = Cpu<double>;
  const B cpu;
  std::vector<Tensor<double>> inputs;  // private copies: they are moved by the differences
  for (const Tensor<double>& variable : variables) {
    inputs.emplace_back(variable.shape());
    cpu.copy(variable.data(), inputs.back().data(), variable.size());
  }
  const std::size_t count = inputs.size() + parameters.size();
  const auto name = [&](std::size_t i) {
    return i < inputs.size() ? fmt::format("variable {}", i) : fmt::format("parameter {}", i - inputs.size());
  };

  std::vector<double> cotangent;
  const auto contract = [&](View<const double> y) {
    if (static_cast<Index>(cotangent.size()) < y.size()) {
      cotangent.clear();
      Rng rng(2026, 7);
      while (static_cast<Index>(cotangent.size()) < y.size()) cotangent.push_back(rng.normal());
    }
    double total = 0;
    for (Index i = 0; i < y.size(); ++i) total += cotangent[static_cast<std::size_t>(i)] * y.data[i];
    return total;
  };
  // Runs f `uses` times with the given arguments wanted and returns their gradients; value is of the last use.
  double value = 0;
  Tape<B> tape;
  tape.seed = 5;
  const auto run = [&](const std::vector<bool>& wanted, int uses) {
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      parameters[p]->freeze();
      if (wanted[inputs.size() + p]) parameters[p]->train(cpu);
    }
    const Tape<B>::Scope scope(tape);
    if (std::find(wanted.begin(), wanted.end(), true) != wanted.end()) poison(tape);
    std::vector<Var<B>> x;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const View<const double> view = inputs[i].view();
      x.push_back(wanted[i] ? tape.variable(view) : tape.constant(view));
    }
    std::vector<Var<B>> results;
    for (int use = 0; use < uses; ++use) {
      results.push_back(f(tape, std::span<const Var<B>>(x)));
      value = contract(results.back().value());
      if (!results.back().wants_gradient()) continue;
      const Sink<double> sink = results.back().sink();
      for (Index i = 0; i < sink.gradient.size(); ++i) {
        sink.gradient.data[i] = (sink.add ? sink.gradient.data[i] : 0.0) + cotangent[static_cast<std::size_t>(i)];
      }
    }
    tape.replay(0);
    std::vector<std::vector<double>> gradients(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (!wanted[i]) continue;
      if (i >= inputs.size()) {
        gradients[i] = as_doubles(parameters[i - inputs.size()]->gradient());
      } else if (x[i].has_gradient()) {
        gradients[i] = as_doubles(x[i].gradient());
      } else {
        gradients[i].assign(static_cast<std::size_t>(inputs[i].size()), 0.0);
      }
    }
    return gradients;
  };

  const std::vector<bool> all(count, true), none(count, false);
  const auto gradients = run(all, 1);
  const double recorded = value;
  const auto twice = run(all, 2);
  run(none, 1);
  if (const Verdict verdict = close(std::vector{recorded}, std::vector{value}, 1e-13); !verdict) {
    return {false, "check_gradients: the value changes with recording: " + verdict.text};
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<double> doubled = gradients[i];
    for (double& entry : doubled) entry *= 2;
    if (const Verdict verdict = close(doubled, twice[i], 1e-12); !verdict) {
      return {false, fmt::format("check_gradients: {} used twice: {}", name(i), verdict.text)};
    }
    std::vector<bool> alone(count, false);
    alone[i] = true;
    if (const Verdict verdict = close(gradients[i], run(alone, 1)[i], 1e-12); !verdict) {
      return {false, fmt::format("check_gradients: {} wanted alone: {}", name(i), verdict.text)};
    }
    const std::span<double> numbers =
        i < inputs.size() ? inputs[i].span() : parameters[i - inputs.size()]->mutable_value().span();
    const auto numerical = numerical_gradient(
        [&] {
          run(none, 1);
          return value;
        },
        numbers, options.step);
    if (const Verdict verdict = close(numerical, gradients[i], options.tolerance); !verdict) {
      return {false, fmt::format("check_gradients: {}: {}", name(i), verdict.text)};
    }
  }
  for (auto* parameter : parameters) {
    parameter->freeze();
    parameter->train(cpu);
  }
  return {true, fmt::format("check_gradients: {} gradients agree", count)};
}

}  // namespace lolcats::testing
