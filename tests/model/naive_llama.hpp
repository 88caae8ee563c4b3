// A Llama as plain loops in double, from named numbers only: what the model must reproduce.
#pragma once

#include <lolcats/io/llama_config.hpp>
#include <lolcats/testing/naive_attention.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

/// Formulas are written out here, on purpose: a reference shares nothing with what it checks, and the attention is the
/// reference that attention itself is checked with.
struct NaiveLlama {
  using Index = lolcats::Index;
  using Vector = std::vector<double>;
  using Matrix = std::vector<Vector>;  // one row per token

  lolcats::LlamaConfig config;
  std::map<std::string, Vector> weights;  // row-major, by checkpoint name; adapters and maps, too
  double adapter_scale = 0;
  std::function<Index(Index)> begin = [](Index) { return 0; };  // the first near key of a query
  std::function<Vector(const Vector&)> activation;              // features of z = xW + b; none: far keys are not read
  bool affine = false;

  bool has(const std::string& name) const { return weights.count(name) > 0; }
  double weight(const std::string& name, Index i) const { return weights.at(name).at(static_cast<std::size_t>(i)); }

  Vector project(const Vector& x, const std::string& module) const {
    const auto in = static_cast<Index>(x.size());
    const Index out = static_cast<Index>(weights.at(module + ".weight").size()) / in;
    const auto multiply = [](const Vector& w, const Vector& v) {
      Vector y(w.size() / v.size(), 0.0);
      for (std::size_t o = 0; o < y.size(); ++o) {
        for (std::size_t i = 0; i < v.size(); ++i) y[o] += w[o * v.size() + i] * v[i];
      }
      return y;
    };
    Vector y = multiply(weights.at(module + ".weight"), x);
    const bool biased =
        config.qkv_bias && (module.ends_with("q_proj") || module.ends_with("k_proj") || module.ends_with("v_proj"));
    if (biased) {
      for (Index o = 0; o < out; ++o) y[static_cast<std::size_t>(o)] += weight(module + ".bias", o);
    }
    if (has(module + ".lora_A.weight")) {
      const Vector low = multiply(weights.at(module + ".lora_A.weight"), x);
      const Vector update = multiply(weights.at(module + ".lora_B.weight"), low);
      for (Index o = 0; o < out; ++o)
        y[static_cast<std::size_t>(o)] += adapter_scale * update[static_cast<std::size_t>(o)];
    }
    return y;
  }

  Vector norm(const Vector& x, const std::string& module) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    Vector y;
    for (std::size_t i = 0; i < x.size(); ++i) {
      y.push_back(x[i] / std::sqrt(squares / static_cast<double>(x.size()) + config.rms_eps) *
                  weight(module + ".weight", static_cast<Index>(i)));
    }
    return y;
  }

  /// Each head of x by itself, all by the same weights.
  Vector norm_heads(const Vector& x, const std::string& module) const {
    Vector y;
    for (auto head = x.begin(); head != x.end(); head += config.head_dim) {
      const Vector normed = norm(Vector(head, head + config.head_dim), module);
      y.insert(y.end(), normed.begin(), normed.end());
    }
    return y;
  }

  /// Turns pair (i, i + D / 2) of every head by position * frequency.
  void rotate(Vector& x, Index position) const {
    const Index D = config.head_dim;
    for (std::size_t head = 0; head < x.size(); head += static_cast<std::size_t>(D)) {
      for (Index i = 0; i < D / 2; ++i) {
        double frequency = 1.0 / std::pow(config.rope.theta, 2.0 * static_cast<double>(i) / static_cast<double>(D));
        if (config.rope.kind == lolcats::RopeKind::Linear) frequency /= config.rope.factor;
        if (config.rope.kind == lolcats::RopeKind::Llama3) {
          const double wavelength = 2 * 3.14159265358979323846 / frequency;
          const double original = static_cast<double>(config.rope.original_max_position);
          const double low = config.rope.low_freq_factor, high = config.rope.high_freq_factor;
          if (wavelength > original / low) {
            frequency /= config.rope.factor;
          } else if (wavelength >= original / high) {
            const double smooth = (original / wavelength - low) / (high - low);
            frequency = (1 - smooth) * frequency / config.rope.factor + smooth * frequency;
          }
        }
        const double angle = static_cast<double>(position) * frequency;
        double& a = x[head + static_cast<std::size_t>(i)];
        double& b = x[head + static_cast<std::size_t>(i + D / 2)];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = a * std::sin(angle) + b * std::cos(angle);
        a = turned;
      }
    }
  }

  /// phi of one head's x; `head` is a query head, and a map may be kept per query head or per key/value head.
  Vector features(const Vector& x, const std::string& map, Index head) const {
    const Vector& w = weights.at(map + ".mlp.layer");
    const auto count = [&](Index heads) { return static_cast<Index>(w.size()) / (heads * config.head_dim); };
    const bool per_group = is_per_group(map);
    const Index f = count(per_group ? config.kv_heads : config.heads);
    const Index which = per_group ? head / (config.heads / config.kv_heads) : head;
    Vector z(static_cast<std::size_t>(f), 0.0);
    for (Index j = 0; j < f; ++j) {
      for (Index i = 0; i < config.head_dim; ++i) {
        z[static_cast<std::size_t>(j)] +=
            x[static_cast<std::size_t>(i)] * w[static_cast<std::size_t>((which * config.head_dim + i) * f + j)];
      }
      if (has(map + ".mlp.bias")) {
        const bool scalar =
            static_cast<Index>(weights.at(map + ".mlp.bias").size()) < (per_group ? config.kv_heads : config.heads) * f;
        z[static_cast<std::size_t>(j)] += weight(map + ".mlp.bias", scalar ? which : which * f + j);
      }
    }
    Vector phi = activation(z);
    for (double& value : phi) value = std::max(value, 1e-12);
    return phi;
  }
  std::function<bool(const std::string&)> is_per_group = [](const std::string&) { return false; };

  /// Outputs of all heads (T, H * D), of one sequence.
  Vector attend(const Matrix& q, const Matrix& k, const Matrix& v, const std::string& at) const {
    lolcats::testing::NaiveAttention c;
    c.tokens = static_cast<Index>(q.size());
    c.heads = config.heads, c.groups = config.kv_heads, c.size = config.head_dim;
    c.begin = begin;
    c.affine = affine;
    c.epsilon = begin(0) > 0 ? 1e-12 : 0;
    const auto append = [](Vector& to, const Vector& x) { to.insert(to.end(), x.begin(), x.end()); };
    const auto part = [&](const Vector& x, Index head) {
      return Vector(x.begin() + head * c.size, x.begin() + (head + 1) * c.size);
    };
    for (const Vector& row : q) append(c.q, row);
    for (const Vector& row : k) append(c.k, row);
    for (const Vector& row : v) append(c.v, row);
    if (has(at + "window_factors")) c.gamma_logits = weights.at(at + "window_factors");
    const std::string key_map = has(at + "feature_map_k.mlp.layer") ? "feature_map_k" : "feature_map_q";
    for (std::size_t n = 0; n < q.size() && activation; ++n) {
      for (Index h = 0; h < c.heads; ++h) {
        append(c.query_features, features(part(q[n], h), at + "feature_map_q", h));
        append(c.key_features, features(part(k[n], h / (c.heads / c.groups)), at + key_map, h));
      }
    }
    c.features = static_cast<Index>(c.query_features.size()) / (c.tokens * c.heads);
    return naive_attention(c).y;
  }

  /// Logits of one sequence whose first token stands at `position`.
  Matrix logits(const std::vector<Index>& tokens, Index position = 0) const {
    Matrix x;
    const auto C = static_cast<std::size_t>(config.hidden_size);
    for (const Index token : tokens) {
      const Vector& table = weights.at("model.embed_tokens.weight");
      const auto row = table.begin() + token * config.hidden_size;
      x.emplace_back(row, row + config.hidden_size);
    }
    for (Index l = 0; l < config.layers; ++l) {
      const std::string at = "model.layers." + std::to_string(l) + ".", self = at + "self_attn.";
      Matrix q, k, v;
      for (std::size_t n = 0; n < x.size(); ++n) {
        const Vector normed = norm(x[n], at + "input_layernorm");
        q.push_back(project(normed, self + "q_proj"));
        k.push_back(project(normed, self + "k_proj"));
        v.push_back(project(normed, self + "v_proj"));
        if (config.qk_norm) {
          q.back() = norm_heads(q.back(), self + "q_norm");
          k.back() = norm_heads(k.back(), self + "k_norm");
        }
        rotate(q.back(), position + static_cast<Index>(n));
        rotate(k.back(), position + static_cast<Index>(n));
      }
      const Vector attended = attend(q, k, v, self);
      for (std::size_t n = 0; n < x.size(); ++n) {
        const auto row = attended.begin() + static_cast<Index>(n) * config.heads * config.head_dim;
        const Vector o = project(Vector(row, row + config.heads * config.head_dim), self + "o_proj");
        for (std::size_t i = 0; i < C; ++i) x[n][i] += o[i];
        const Vector normed = norm(x[n], at + "post_attention_layernorm");
        Vector gate = project(normed, at + "mlp.gate_proj");
        const Vector up = project(normed, at + "mlp.up_proj");
        for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
        const Vector down = project(gate, at + "mlp.down_proj");
        for (std::size_t i = 0; i < C; ++i) x[n][i] += down[i];
      }
    }
    const std::string head = config.tied_embeddings ? "model.embed_tokens" : "lm_head";
    Matrix result;
    for (const Vector& row : x) result.push_back(project(norm(row, "model.norm"), head));
    return result;
  }
};
