// One attention problem through plain loops in double.
#pragma once

#include <lolcats/testing/attention_suite_case.hpp>
#include <lolcats/testing/naive_attention.hpp>
#include <lolcats/testing/naive_correcting_attention.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace lolcats::testing {

/// The reference: N x N loops in double, and all gradients of sum(y * dy).  `weights`, if given, receives a (H, T, T)
/// of every sequence.
template <AttentionPolicy A>
AttentionNumbers reference_attention(const AttentionCase<A>& c, std::vector<std::vector<double>>* weights = nullptr) {
  using detail::at;
  using Map = typename A::Map;
  AttentionNumbers total;
  for (const auto& [name, shape] : c.shapes()) {
    if (name != "score" && name != "cache_sizes") total[name].assign(at(shape.size()), 0.0);
  }
  total["y"].assign(at(c.shapes().at("q").size()), 0.0);
  const Index H = c.heads.queries, G = c.heads.keys, D = c.heads.size;
  const char* key_map = A::shared_maps ? "query_map" : "key_map";
  const char* key_bias = A::shared_maps ? "query_bias" : "key_bias";

  for (const Extent& e : c.sequences.extents()) {
    // Copies rows of this sequence, head `source(h)` for every query head h (or every head, if they are as many).
    const auto take = [&](const std::string& name, Index width, Index heads_there, Index heads_here) {
      std::vector<double> rows;
      for (Index t = 0; t < e.length; ++t) {
        for (Index h = 0; h < heads_here; ++h) {
          const Index source = ((e.row + t) * heads_there + h / (heads_here / heads_there)) * width;
          for (Index i = 0; i < width; ++i) rows.push_back(c.in.at(name)[at(source + i)]);
        }
      }
      return rows;
    };
    const auto give = [&](const std::string& name, const std::vector<double>& rows, Index width, Index heads_there,
                          Index heads_here) {
      for (Index t = 0; t < e.length; ++t) {
        for (Index h = 0; h < heads_here; ++h) {
          const Index target = ((e.row + t) * heads_there + h / (heads_here / heads_there)) * width;
          for (Index i = 0; i < width; ++i) total[name][at(target + i)] += rows[at((t * heads_here + h) * width + i)];
        }
      }
    };
    // Weights of one head after the other, repeated over the query heads that share them.
    const auto repeat = [&](const std::string& name) {
      if (!c.in.contains(name)) return std::vector<double>{};
      const Index there = c.shapes().at(name)[0], width = c.shapes().at(name).size() / there;
      std::vector<double> all;
      for (Index h = 0; h < H; ++h) {
        for (Index i = 0; i < width; ++i) all.push_back(c.in.at(name)[at(h / (H / there) * width + i)]);
      }
      return all;
    };
    const auto give_back = [&](const std::string& name, const std::vector<double>& all) {
      if (all.empty()) return;
      const Index there = c.shapes().at(name)[0], width = c.shapes().at(name).size() / there;
      for (Index h = 0; h < H; ++h) {
        for (Index i = 0; i < width; ++i) total[name][at(h / (H / there) * width + i)] += all[at(h * width + i)];
      }
    };

    NaiveAttention n{.tokens = e.length,
                     .heads = H,
                     .groups = G,
                     .size = D,
                     .features = c.features(),
                     .begin = [&](Index i) { return c.window.begin(i); },
                     .sinks = sinks_of<typename A::Window>,
                     .affine = A::affine,
                     .epsilon = A::Window::has_near ? 0.0 : 1e-12,
                     .q = take("q", D, H, H),
                     .k = take("k", D, G, G),
                     .v = take("v", D, G, G),
                     .query_features = {},
                     .key_features = {},
                     .gamma_logits = {}};
    if (c.in.contains("window_factors")) n.gamma_logits = c.in.at("window_factors");
    // log a (or log b, of a memory that corrects) of every token and query head, and what it is a function of.
    using Gate = typename AttentionCase<A>::Gate;
    const Index sums = c.key_maps();
    const auto gate_number = [&](Index t, Index s) {
      return c.in.at("gate_bias")[at(s)] + (c.in.contains("gate") ? c.in.at("gate")[at((e.row + t) * sums + s)] : 0.0);
    };
    for (Index t = 0; gated<MemoryOf<A>> && t < e.length; ++t) {
      for (Index h = 0; h < H; ++h) n.log_decay.push_back(Gate::log_decay(gate_number(t, h / (H / sums))));
    }

    naive::FeatureMapSizes sizes{e.length, H, D, c.projected, c.bias(), false};
    const std::vector<double> keys = take("k", D, G, H);  // (T, H * D)
    if constexpr (FeatureMap<Map>) {
      sizes.skip = Map::skip;
      const double floor = reference_floor<Map>();
      n.query_features = naive::feature_map(sizes, n.q, repeat("query_map"), repeat("query_bias"),
                                            ReferenceActivation<Map>::apply, floor);
      n.key_features =
          naive::feature_map(sizes, keys, repeat(key_map), repeat(key_bias), ReferenceActivation<Map>::apply, floor);
    } else if constexpr (AttentionCase<A>::given) {
      n.query_features = take("query_features", c.projected, H, H);
      n.key_features = take("key_features", c.projected, c.key_maps(), H);
    }

    // A cache, from what is said of it alone: a key is kept while fewer than `size` of those that have left the window
    // score higher (or as high, and came before).
    std::vector<std::vector<double>> scores(at(G), std::vector<double>(at(e.length), 0.0));
    if constexpr (caches<MemoryOf<A>>) {
      constexpr Index sinks = sinks_of<typename A::Window>;
      for (Index g = 0; g < G; ++g) {
        for (Index j = 0; j < e.length; ++j) {
          if constexpr (scored_when_read<MemoryOf<A>>) {
            scores[at(g)][at(j)] = c.in.at("score")[at((e.row + j) * G + g)];
          } else if constexpr (counts_attention<MemoryOf<A>>) {
            Index queries = 0;
            for (Index i = j; i < e.length && c.window.begin(i) <= j; ++i, ++queries) {
              for (Index h = g * (H / G); h < (g + 1) * (H / G); ++h) {
                double own = 0, all = 0;
                for (Index other = 0; other <= i; ++other) {
                  if (other >= sinks && other < c.window.begin(i)) continue;
                  double s = 0;
                  for (Index d = 0; d < D; ++d) s += n.q[at((i * H + h) * D + d)] * n.k[at((other * G + g) * D + d)];
                  const double weight = std::exp(s / std::sqrt(static_cast<double>(D)));
                  all += weight;
                  if (other == j) own = weight;
                }
                scores[at(g)][at(j)] += own / all;
              }
            }
            scores[at(g)][at(j)] /= static_cast<double>(std::max<Index>(1, queries));
          } else {
            for (Index h = g * (H / G); h < (g + 1) * (H / G); ++h) {
              std::vector<double> recalled(at(D), 0.0);
              double weight = 1e-12, error = 0;
              for (Index i = sinks; i < j; ++i) {
                double p = 0;
                for (Index f = 0; f < n.features; ++f) {
                  p += n.key_features[at((j * H + h) * n.features + f)] * n.key_features[at((i * H + h) * n.features + f)];
                }
                weight += p;
                for (Index d = 0; d < D; ++d) recalled[at(d)] += p * n.v[at((i * G + g) * D + d)];
              }
              for (Index d = 0; d < D; ++d) error += std::pow(n.v[at((j * G + g) * D + d)] - recalled[at(d)] / weight, 2);
              scores[at(g)][at(j)] += std::sqrt(error);
            }
          }
        }
      }
      n.until = [&scores, &c, begin = n.begin, length = e.length](Index g, Index j) {
        const auto leaves = [&](Index i) {
          Index at_position = i;  // at once, if not even its own query has it in the window
          while (at_position < length && begin(at_position) <= i) ++at_position;
          return at_position;
        };
        const Index size = static_cast<Index>(c.in.at("cache_sizes")[at(g)]);
        if (size == 0) return leaves(j);
        Index above = 0;
        for (Index i = sinks; i < length; ++i) {
          const double own = scores[at(g)][at(j)], other = scores[at(g)][at(i)];
          if (i == j || !(other > own || (other == own && i < j))) continue;
          if (++above == size) return std::max(leaves(i), leaves(j));
        }
        return length;
      };
    }

    NaiveAttentionResult result;
    NaiveAttentionGradients d;
    if constexpr (corrects<MemoryOf<A>>) {
      const bool near = A::Window::has_near;
      result.y = naive_correcting_attention(n, near);
      d = naive_correcting_attention_gradients(n, near, take("dy", D, H, H));
    } else {
      result = naive_attention(n);
      d = naive_attention_gradients(n, take("dy", D, H, H));
    }
    if (weights) weights->push_back(result.weights);
    give("y", result.y, D, H, H);
    give("q", d.q, D, H, H);
    give("k", d.k, D, G, G);
    give("v", d.v, D, G, G);
    for (std::size_t h = 0; h < d.gamma_logits.size(); ++h) total["window_factors"][h] += d.gamma_logits[h];
    for (Index t = 0; !d.log_decay.empty() && t < e.length; ++t) {
      for (Index h = 0; h < H; ++h) {
        const Index s = h / (H / sums);
        const double dz = d.log_decay[at(t * H + h)] * Gate::slope(gate_number(t, s));
        total["gate_bias"][at(s)] += dz;
        if (total.contains("gate")) total["gate"][at((e.row + t) * sums + s)] += dz;
      }
    }
    if constexpr (FeatureMap<Map>) {
      const double floor = reference_floor<Map>();
      const auto query = feature_map_gradients(sizes, n.q, repeat("query_map"), repeat("query_bias"),
                                               ReferenceActivation<Map>::apply, floor, d.query_features);
      give("q", query.x, D, H, H);
      give_back("query_map", query.map);
      give_back("query_bias", query.bias);
      const auto key = feature_map_gradients(sizes, keys, repeat(key_map), repeat(key_bias),
                                             ReferenceActivation<Map>::apply, floor, d.key_features);
      give("k", key.x, D, G, H);
      give_back(key_map, key.map);
      give_back(key_bias, key.bias);
    } else if constexpr (AttentionCase<A>::given) {
      give("query_features", d.query_features, c.projected, H, H);
      give("key_features", d.key_features, c.projected, c.key_maps(), H);
    }
  }
  return total;
}

}  // namespace lolcats::testing
