// A model small enough to check by hand: least squares over sequences with ignored tokens.
#pragma once

#include <lolcats/train/cpu.hpp>
#include <lolcats/train/recipe.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace lolcats::regression {

inline constexpr Index width = 3;

/// A sequence of tokens, each with a feature vector and a wanted output; the first few tokens are not supervised.
struct Example {
  Index tokens = 0;
  Index ignored = 0;
  Index number = 0;

  double feature(Index token, Index c) const {
    return std::sin(0.7 * static_cast<double>(number) + 1.9 * static_cast<double>(token) +
                    2.3 * static_cast<double>(c));
  }
  double target(Index token) const { return std::cos(static_cast<double>(number * 5 + token)); }
};

struct Examples {
  std::vector<Example> rows;
  Index size() const { return static_cast<Index>(rows.size()); }
  std::vector<Example> batch(std::span<const Index> numbers) const {
    std::vector<Example> chosen;
    for (const Index i : numbers) chosen.push_back(rows[static_cast<std::size_t>(i)]);
    return chosen;
  }
};

/// `count` rows with 2 to 6 tokens, of which 0 to 3 are ignored.
inline Examples some_examples(Index count) {
  Examples data;
  for (Index i = 0; i < count; ++i) {
    const Index tokens = 2 + i * 7 % 5;
    data.rows.push_back({tokens, std::min(i % 4, tokens - 1), i});
  }
  return data;
}

/// Least squares over two parameters: y = w . x + b, loss (y - target)^2 per supervised token.
template <class T>
struct Regression {
  using B = Cpu<T>;
  Parameter<B> w, b;
  std::set<std::uint64_t> seeds;
  Index steps = 0;

  Regression() : w(Array<B>(Shape{width})), b(Array<B>(Shape{})) {
    w.train(B{});
    b.train(B{});
    for (Index c = 0; c < width; ++c) w.master().data[c] = T(0.5) - static_cast<T>(c) / 4;
    b.master().data[0] = T(0.1);
  }
  Parameters<B> parameters() { return {{"layers.0.w", &w}, {"layers.1.b", &b}}; }
  std::vector<T> values() const {
    std::vector<T> all(w.value().data, w.value().data + width);
    all.push_back(b.value().data[0]);
    return all;
  }

  double error(const Example& row, Index t) const {
    double y = static_cast<double>(b.value().data[0]) - row.target(t);
    for (Index c = 0; c < width; ++c) y += static_cast<double>(w.value().data[c]) * row.feature(t, c);
    return y;
  }
  double step(const std::vector<Example>& batch, const MicroStep& at) {
    seeds.insert(at.seed);
    ++steps;
    double loss = 0;
    for (const Example& row : batch) {
      for (Index t = row.ignored; t < row.tokens; ++t) {
        const double e = error(row, t);
        loss += at.scale * e * e;
        for (Index c = 0; c < width; ++c) {
          w.gradient().data[c] += static_cast<T>(at.scale * 2 * e * row.feature(t, c));
        }
        b.gradient().data[0] += static_cast<T>(at.scale * 2 * e);
      }
    }
    return loss;
  }
  Index supervised(const std::vector<Example>& batch) const {
    Index count = 0;
    for (const Example& row : batch) count += row.tokens - row.ignored;
    return count;
  }
  double evaluate() const {
    double sum = 0;
    Index count = 0;
    for (Index i = 100; i < 104; ++i) {
      const Example row{5, 0, i};
      for (Index t = 0; t < 5; ++t, ++count) sum += error(row, t) * error(row, t);
    }
    return sum / static_cast<double>(count);
  }
};

/// What the Error says that f throws.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace lolcats::regression
