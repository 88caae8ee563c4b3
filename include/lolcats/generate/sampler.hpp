// How the next token is chosen from logits.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/core/rng.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace lolcats {

/// A token and its probability.
struct TokenProbability {
  Index token = 0;
  double probability = 0;
};

/// How to sample: logits are divided by the temperature, then all but the top k are dropped, then all but the smallest
/// set of most likely tokens that holds a mass of at least p; what is left is renormalised.
///
/// Ties go to the smaller token.  The defaults are greedy.
struct Sampler {
  double temperature = 0;  // 0: greedy, the most likely token
  Index top_k = 0;         // 0: all
  double top_p = 1;        // in (0, 1]; 1: all
  std::uint64_t seed = 0;

  /// The tokens that can be drawn, most likely first, with probabilities that add up to one.
  /// Throws ConfigError for an impossible setting and NumericError for logits that are not finite.
  std::vector<TokenProbability> distribution(std::span<const double> logits) const {
    require<ConfigError>(std::isfinite(temperature) && temperature >= 0 && top_k >= 0 && top_p > 0 && top_p <= 1,
                         "Sampler: temperature is {}, top_k {}, top_p {}; expected >= 0, >= 0 and in (0, 1]",
                         temperature, top_k, top_p);
    check(logits);
    if (temperature == 0) return {{most_likely(logits), 1.0}};

    std::vector<Index> order(logits.size());
    std::iota(order.begin(), order.end(), Index{0});
    const auto logit = [&](Index token) { return logits[static_cast<std::size_t>(token)]; };
    const auto before = [&](Index a, Index b) { return logit(a) > logit(b) || (logit(a) == logit(b) && a < b); };
    if (top_k > 0 && top_k < static_cast<Index>(order.size())) {
      std::partial_sort(order.begin(), order.begin() + top_k, order.end(), before);
      order.resize(static_cast<std::size_t>(top_k));
    } else {
      std::sort(order.begin(), order.end(), before);
    }

    std::vector<TokenProbability> kept;
    kept.reserve(order.size());
    for (const Index token : order) kept.push_back({token, std::exp((logit(token) - logit(order[0])) / temperature)});
    normalize(kept);
    if (top_p < 1) {
      double mass = 0;
      std::size_t count = 0;
      while (count < kept.size() && mass < top_p) mass += kept[count++].probability;
      kept.resize(count);
      normalize(kept);
    }
    return kept;
  }

  /// The token at `step` of sequence `sequence`: a pure function of the logits, the seed and these two, so what a
  /// sequence says does not depend on its company in a batch.
  Index operator()(std::span<const double> logits, Index sequence = 0, Index step = 0) const {
    if (temperature == 0) {
      check(logits);
      return most_likely(logits);
    }
    const auto kept = distribution(logits);
    const double u = Rng(seed, static_cast<std::uint64_t>(sequence)).uniform_at(static_cast<std::uint64_t>(step));
    double below = 0;
    for (const TokenProbability& choice : kept) {
      below += choice.probability;
      if (u < below) return choice.token;
    }
    return kept.back().token;
  }

 private:
  static void check(std::span<const double> logits) {
    require<DataError>(!logits.empty(), "Sampler: there are no logits");
    for (std::size_t i = 0; i < logits.size(); ++i) {
      require<NumericError>(std::isfinite(logits[i]), "Sampler: the logit of token {} is {}", i, logits[i]);
    }
  }
  static Index most_likely(std::span<const double> logits) {
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
  }
  static void normalize(std::vector<TokenProbability>& kept) {
    double sum = 0;
    for (const TokenProbability& choice : kept) sum += choice.probability;
    for (TokenProbability& choice : kept) choice.probability /= sum;
  }
};

}  // namespace lolcats
