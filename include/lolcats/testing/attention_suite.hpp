// Conformance of an attention: call `check_attention<MyAttention>()` in a doctest TEST_CASE.
#pragma once

#include <lolcats/ops/attention/eigen.hpp>
#include <lolcats/ops/attention/eigen_state.hpp>
#include <lolcats/testing/attention_suite_sizes.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace lolcats::testing {

/// Outputs and gradients equal the reference's, on every length and head size, over padding that holds NaN.
template <AttentionPolicy A, Backend B = Cpu<double>>
void check_attention_against_reference(typename A::Window window, const AttentionSuite& suite, double tolerance,
                                       double gradient_tolerance) {
  const auto compare = [&](const Heads& heads, Sequences sequences) {
    INFO(A::name(), " on ", B::name(), ": ", heads.queries, " heads of size ", heads.size, ", longest sequence ",
         sequences.longest());
    auto c = random_attention_case<A>(window, heads, std::move(sequences), suite.seed);
    for (auto& [name, values] : c.in) values = rounded<B>(values);
    const AttentionNumbers want = reference_attention(c);
    // Rows of no sequence: nothing may read them, so they hold NaN; their outputs and gradients are zero.  Beside a memory that
    // corrects they are mapped before anything knows sequences, so there they are finite, and large.
    constexpr double unread = corrects<MemoryOf<A>> ? 1e3 : std::numeric_limits<double>::quiet_NaN();
    std::vector<bool> padding(detail::at(c.sequences.rows()), true);
    for (const Extent& e : c.sequences.extents()) std::fill_n(padding.begin() + e.row, e.length, false);
    for (auto& [name, values] : c.in) {
      if (values.size() % padding.size() != 0 || name.ends_with("_map") || name.ends_with("_bias") ||
          name == "window_factors" || name == "cache_sizes")
        continue;
      const std::size_t width = values.size() / padding.size();
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (padding[i / width]) values[i] = unread;
      }
    }
    detail::check_numbers(want, run_attention<B>(c), tolerance, gradient_tolerance, suite.factor_tolerance);
  };
  const Index usual = detail::usual_size<A>(suite);
  for (const Index length : suite.lengths) compare(detail::usual_heads<A>(usual), Sequences::rectangular(2, length));
  for (const Index size : detail::head_sizes<A>(suite)) compare(detail::usual_heads<A>(size), detail::ragged(37));
  compare({3, A::shared_maps && A::key_maps_per_group ? 3 : 1, usual}, detail::ragged(70));
}

/// Every gradient, together and alone, is the derivative of the output by central differences.
template <AttentionPolicy A>
void check_attention_gradients(typename A::Window window, const AttentionSuite& suite) {
  using B = Cpu<double>;
  const Index size = detail::head_sizes<A>(suite)[std::min<std::size_t>(1, detail::head_sizes<A>(suite).size() - 1)];
  const Heads heads{2, A::shared_maps && A::key_maps_per_group ? 2 : 1, size};
  // Long enough for a few far keys.  A window too wide for that leaves maps and gamma without a gradient to compare,
  // and they stay frozen.
  constexpr Index kept = sinks_of<typename A::Window> + MemoryOf<A>::Cache::size;
  Index length = 3 + kept;
  while (length < 24 + kept && window.begin(length - 3) <= kept) ++length;
  const bool far = window.begin(length - 3) > kept;
  const auto c =
      random_attention_case<A>(window, heads, Sequences(length + 4, {{1, length, 0}, {length + 2, 2, 0}}), suite.seed);
  const auto shapes = c.shapes();
  std::vector<Tensor<double>> variables;
  std::vector<std::string> variable_names, parameter_names;
  std::map<std::string, Parameter<B>> parameters;
  std::vector<Parameter<B>*> pointers;
  for (const char* name : {"q", "k", "v", "query_features", "key_features", "gate"}) {
    if (!shapes.contains(name)) continue;
    variables.push_back(array<B>(shapes.at(name), c.in.at(name)));
    variable_names.emplace_back(name);
  }
  for (const auto& [name, shape] : shapes) {
    if (name == "score" || name == "cache_sizes" || std::find(variable_names.begin(), variable_names.end(), name) != variable_names.end()) continue;
    parameters[name] = Parameter<B>(array<B>(shape, c.in.at(name)));
    parameter_names.push_back(name);
  }
  for (const std::string& name : parameter_names) {
    if (far) pointers.push_back(&parameters[name]);
  }
  Tensor<double> scores, sizes;
  if (shapes.contains("score")) scores = array<B>(shapes.at("score"), c.in.at("score"));
  if (shapes.contains("cache_sizes")) sizes = array<B>(shapes.at("cache_sizes"), c.in.at("cache_sizes"));
  const auto weight = [&](const char* name) {
    return parameters.contains(name) ? static_cast<Weight<B>>(parameters.at(name)) : Weight<B>{};
  };
  const std::string what = fmt::format("{}: variables {}; parameters {}", A::name(), fmt::join(variable_names, ", "),
                                       fmt::join(parameter_names, ", "));
  INFO(what);
  CHECK(check_gradients(variables, pointers,
                        [&](Tape<B>& tape, std::span<const Var<B>> x) {
                          AttentionWeights<B> w{weight("query_map"), weight("query_bias"), weight("key_map"),
                                                weight("key_bias"), weight("window_factors")};
                          w.gate_bias = weight("gate_bias");
                          if constexpr (A::shared_maps) {
                            w.key_map = w.query_map;
                            w.key_bias = w.query_bias;
                          }
                          if constexpr (AttentionCase<A>::given) {
                            w.query_features = x[3];
                            w.key_features = x[4];
                          }
                          if (shapes.contains("gate")) w.gate = x.back();
                          if (scores) w.score = tape.constant(View<const double>(scores.view()));
                          if (sizes) w.cache_sizes = {sizes.view(), {}};
                          return attention<A>(tape, x[0], x[1], x[2], c.sequences, heads, w, window);
                        },
                        {.tolerance = suite.gradient_tolerance}));
}

/// One pass = prefill in pieces = token by token, some sequences done before others, and the state does not grow with the number
/// of tokens.  `tolerance` allows for sums in another order.
template <AttentionPolicy A, Backend B = Cpu<double>>
void check_attention_steps(typename A::Window window, const AttentionSuite& suite, double tolerance = 1e-10) {
  const Heads heads = detail::usual_heads<A>(detail::usual_size<A>(suite));
  Rng rng(suite.seed, 43);
  for (const Index length : suite.lengths) {
    INFO(A::name(), " over ", length, " tokens");
    const auto c = random_attention_case<A>(window, heads, Sequences::rectangular(2, length), suite.seed);
    const std::vector<double> want = run_attention<B>(c, {false, false, false}).at("y");
    AttentionState<B> state;
    CHECK(close(want,
                run_attention_steps<B>(
                    c, [](Index n) { return std::vector<Index>{n}; }, state),
                tolerance));
    CHECK(close(want,
                run_attention_steps<B>(
                    c, [](Index n) { return std::vector<Index>(detail::at(n), 1); }, state),
                tolerance));
    for (int trial = 0; trial < 3; ++trial) {
      const auto cut = [&](Index n) {  // at random places, other ones and as many as it likes for every sequence
        const Index pieces = 1 + static_cast<Index>(rng.below(static_cast<std::uint64_t>(std::min<Index>(n, 7))));
        std::vector<Index> lengths(detail::at(pieces), 1);
        for (Index i = pieces; i < n; ++i) ++lengths[rng.below(static_cast<std::uint64_t>(pieces))];
        return lengths;
      };
      CHECK(close(want, run_attention_steps<B>(c, cut, state), tolerance));
    }
  }
  if (window.span() < 1000) {
    const Index step = window.period() * (1 + window.span() / window.period()) + window.period();
    const auto bytes = [&](Index length) {
      const auto c = random_attention_case<A>(window, heads, Sequences::rectangular(1, length), suite.seed);
      AttentionState<B> state;
      run_attention_steps<B>(
          c, [](Index n) { return std::vector<Index>(detail::at(n), 1); }, state);
      return state.bytes();
    };
    INFO(A::name(), ": bytes of the state after ", 2 * step, " and ", 4 * step, " tokens");
    CHECK(bytes(2 * step) == bytes(4 * step));
  }
}

/// While the window still holds every key, attention is softmax attention; beside a memory that corrects, if gamma is 1.
template <AttentionPolicy A>
void check_attention_endless_window(typename A::Window window, const AttentionSuite& suite) {
  if constexpr (A::Window::has_near) {
    Index length = 0;
    while (length < 70 && window.begin(length) <= sinks_of<typename A::Window> + MemoryOf<A>::Cache::size / 2) ++length;
    INFO(A::name(), " over the ", length, " tokens that its window holds");
    REQUIRE(length > 0);
    auto c = random_attention_case<A>(window, detail::usual_heads<A>(detail::usual_size<A>(suite)), Sequences::rectangular(1, length),
                                      suite.seed);
    if constexpr (corrects<MemoryOf<A>>) std::ranges::fill(c.in.at("window_factors"), 50.0);
    const NaiveAttention softmax{.tokens = length,
                                 .heads = c.heads.queries,
                                 .groups = c.heads.keys,
                                 .size = c.heads.size,
                                 .begin = [](Index) { return Index{0}; },
                                 .q = c.in.at("q"),
                                 .k = c.in.at("k"),
                                 .v = c.in.at("v"),
                                 .query_features = {},
                                 .key_features = {},
                                 .gamma_logits = {}};
    CHECK(close(naive_attention(softmax).y, run_attention<Cpu<double>>(c).at("y"), suite.tolerance));
  }
}

/// Permuting heads permutes outputs and gradients, repeating shared keys changes nothing, and documents do not see
/// each other.  `tolerance` allows for the same sums in another order.
template <AttentionPolicy A, Backend B = Cpu<double>>
void check_attention_symmetries(typename A::Window window, const AttentionSuite& suite, double tolerance = 1e-12) {
  const Heads heads = detail::usual_heads<A>(detail::usual_size<A>(suite));
  const auto c = random_attention_case<A>(window, heads, Sequences::rectangular(1, 67), suite.seed);
  const AttentionNumbers plain = run_attention<B>(c);
  auto turned = c;
  AttentionNumbers want;
  const auto turn = [&](const std::string& name, const std::vector<double>& x) {
    const auto [count, width] = detail::heads_of(c, name);
    std::vector<Index> order(detail::at(count));
    std::iota(order.rbegin(), order.rend(), Index{0});
    return detail::permuted(x, count, order, width);
  };
  for (auto& [name, x] : turned.in) x = turn(name, x);
  for (const auto& [name, x] : plain) want[name] = turn(name, x);
  {
    INFO(A::name(), " with its heads in reverse order");
    detail::check_numbers(want, run_attention<B>(turned), tolerance, tolerance);
  }

  // A score that adds up query heads is another one where each has a key/value head of its own.
  if constexpr (!counts_attention<MemoryOf<A>> && (!recalls_values<MemoryOf<A>> || A::key_maps_per_group)) {
    auto repeated = c;
    repeated.heads.keys = heads.queries;
    const auto repeat = [&](const std::string& name, const std::vector<double>& x) {
      const auto [count, width] = detail::heads_of(c, name);
      std::vector<Index> order;
      for (Index h = 0; h < heads.queries; ++h) order.push_back(h / (heads.queries / count));
      return detail::permuted(x, count, order, width);
    };
    for (auto& [name, x] : repeated.in) x = repeat(name, x);
    const AttentionNumbers wide = run_attention<B>(repeated);
    INFO(A::name(), " with keys and values repeated for every query head");
    for (const auto& [name, x] : plain) {
      INFO(name);
      const auto [count, width] = detail::heads_of(c, name);
      const Index group = heads.queries / count;
      std::vector<double> sums(x.size());  // gradients of what was repeated add up
      for (std::size_t i = 0; i < wide.at(name).size(); ++i) {
        const std::size_t row = i / detail::at(heads.queries * width), column = i % detail::at(heads.queries * width);
        sums[row * detail::at(count * width) + column / detail::at(group * width) * detail::at(width) +
             column % detail::at(width)] += wide.at(name)[i];
      }
      CHECK(detail::close_or_zero(x, sums, tolerance));
    }
  }

  INFO(A::name(), " with another document beside it");
  auto packed = random_attention_case<A>(window, heads, Sequences(67 + 40, {{0, 40, 0}, {40, 67, 0}}), suite.seed + 1);
  for (auto& [name, x] : packed.in) {
    const std::vector<double>& own = c.in.at(name);
    if (x.size() == own.size()) x = own;  // weights
    std::copy(own.begin(), own.end(), x.end() - static_cast<std::ptrdiff_t>(own.size()));
  }
  const AttentionNumbers both = run_attention<B>(packed);
  for (const char* name : {"y", "q", "k", "v", "query_features", "key_features", "gate"}) {
    if (!plain.contains(name)) continue;
    INFO(name);
    const auto& x = plain.at(name);
    CHECK(close(x,
                std::vector<double>(both.at(name).end() - static_cast<std::ptrdiff_t>(x.size()), both.at(name).end()),
                tolerance));
  }
}

/// Gradients that nobody wants are not computed, and leaving them out changes no other.
template <AttentionPolicy A, Backend B = Cpu<double>>
void check_attention_wanted(typename A::Window window, const AttentionSuite& suite) {
  const auto c = random_attention_case<A>(window, detail::usual_heads<A>(detail::usual_size<A>(suite)),
                                          detail::ragged(67), suite.seed);
  const AttentionNumbers all = run_attention<B>(c);
  for (int mask = 0; mask < 8; ++mask) {
    const AttentionWanted wanted{(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
    INFO(A::name(), " wants: inputs ", wanted.inputs, ", maps ", wanted.maps, ", factors ", wanted.factors);
    const AttentionNumbers some = run_attention<B>(c, wanted);
    for (const auto& [name, numbers] : all) {
      INFO(name);
      const bool map = name.ends_with("_map") || name.ends_with("_bias");
      const bool expected = name == "y" || (map                        ? wanted.maps
                                            : name == "window_factors" ? wanted.factors
                                                                       : wanted.inputs);
      CHECK(some.contains(name) == expected);
      if (expected && some.contains(name)) CHECK(detail::close_or_zero(numbers, some.at(name), 1e-13));
    }
  }
  AttentionArguments<B, A> arguments(c, {false, false, false});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
  const Var<B> y = attention<A>(tape, q, k, v, c.sequences, c.heads, arguments.weights(tape), window);
  CHECK(!y.wants_gradient());
  CHECK(tape.records() == 0);
}

/// Wrong shapes throw ShapeError that names the argument.
template <AttentionPolicy A, Backend B = Cpu<double>>
void check_attention_shapes(typename A::Window window, const AttentionSuite& suite) {
  const auto c = random_attention_case<A>(window, detail::usual_heads<A>(detail::usual_size<A>(suite)),
                                          Sequences::rectangular(1, 5), suite.seed);
  // The case gives right shapes only, so one array at a time is replaced.
  for (const auto& [wrong, shape] : c.shapes()) {
    INFO(A::name(), " with a wrong shape of ", wrong);
    std::map<std::string, Array<B>> values;
    for (const auto& [name, right] : c.shapes()) {
      Shape taken = right;
      if (name == wrong)
        taken = right.rank() == 3 ? Shape{right[0], right[1] + 1, right[2]} : Shape{right.rows(), right.cols() + 1};
      if (name == wrong && right.rank() == 4) taken = Shape{right.size() + 1};
      values[name] = array<B>(taken, std::vector<double>(detail::at(taken.size()), 0.5));
    }
    Tape<B> tape;
    const auto var = [&](const char* name) {
      return values.contains(name) ? tape.constant(View<const Scalar<B>>(values.at(name).view())) : Var<B>{};
    };
    const auto weight = [&](const char* name) {
      return values.contains(name) ? Weight<B>{values.at(name).view(), {}} : Weight<B>{};
    };
    AttentionWeights<B> w{.query_map = weight("query_map"),
                          .query_bias = weight("query_bias"),
                          .key_map = weight("key_map"),
                          .key_bias = weight("key_bias"),
                          .window_factors = weight("window_factors"),
                          .query_features = var("query_features"),
                          .key_features = var("key_features"),
                          .gate_bias = weight("gate_bias"),
                          .gate = var("gate"),
                          .score = var("score"),
                          .cache_sizes = weight("cache_sizes")};
    if constexpr (A::shared_maps) {
      w.key_map = w.query_map;
      w.key_bias = w.query_bias;
    }
    std::string message;
    try {
      attention<A>(tape, var("q"), var("k"), var("v"), c.sequences, c.heads, w, window);
    } catch (const ShapeError& error) {
      message = error.what();
    }
    CHECK_MESSAGE(message.find(wrong.ends_with("_bias") ? "bias" : wrong) != std::string::npos, "message: ", message);
  }
}

/// Everything an attention promises, on the CPU in double and, unless it is left out to save compile time, in float.
/// Far features must not be negative: weights that cancel have no well-conditioned quotient.
template <AttentionPolicy A, bool InFloat = true>
void check_attention(typename A::Window window, const AttentionSuite& suite = {}) {
  static_assert(AttentionPolicy<A>);
  check_attention_against_reference<A, Cpu<double>>(window, suite, suite.tolerance, suite.gradient_tolerance);
  if constexpr (InFloat) {
    check_attention_against_reference<A, Cpu<float>>(window, suite, suite.float_tolerance,
                                                     suite.float_gradient_tolerance);
  }
  check_attention_gradients<A>(window, suite);
  check_attention_steps<A>(window, suite);
  check_attention_endless_window<A>(window, suite);
  check_attention_symmetries<A>(window, suite);
  check_attention_wanted<A>(window, suite);
  check_attention_shapes<A>(window, suite);
}
template <AttentionPolicy A, bool InFloat = true>
requires std::default_initializable<typename A::Window>
void check_attention(const AttentionSuite& suite = {}) { check_attention<A, InFloat>(typename A::Window{}, suite); }

}  // namespace lolcats::testing
