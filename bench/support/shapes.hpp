// The sizes of models that the whole-model benchmarks run at.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/llama_config.hpp>

#include <string>
#include <vector>

namespace bench {

namespace detail {
struct Shape {
  const char* name;
  lolcats::Index hidden, layers, heads, kv_heads, head_dim, intermediate, vocabulary;
  bool tied;
};
inline constexpr Shape shapes[] = {
    {"llama3-8b", 4096, 32, 32, 8, 128, 14336, 128256, false},    {"llama3-70b", 8192, 80, 64, 8, 128, 28672, 128256, false},
    {"llama3-405b", 16384, 126, 128, 8, 128, 53248, 128256, false}, {"llama3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256, true},
    {"tiny", 512, 2, 8, 2, 128, 1024, 1000, false}};
}  // namespace detail

inline const std::vector<std::string> shape_names = [] {
  std::vector<std::string> names;
  for (const auto& shape : detail::shapes) names.emplace_back(shape.name);
  return names;
}();

/// The sizes called `name`: the public configurations of Llama 3 8B and 70B, Llama 3.1 405B and Llama 3.2 1B, and a small one to try
/// a program.
inline lolcats::LlamaConfig shape(const std::string& name) {
  for (const auto& shape : detail::shapes) {
    if (name != shape.name) continue;
    lolcats::LlamaConfig c;
    c.vocab_size = shape.vocabulary;
    c.hidden_size = shape.hidden;
    c.layers = shape.layers;
    c.heads = shape.heads;
    c.kv_heads = shape.kv_heads;
    c.head_dim = shape.head_dim;
    c.intermediate_size = shape.intermediate;
    c.tied_embeddings = shape.tied;
    c.max_position = 8192;
    c.rope.theta = 5e5;
    return c;
  }
  lolcats::fail<lolcats::ConfigError>("shape '{}' is unknown, expected one of {}", name, fmt::join(shape_names, ", "));
}

}  // namespace bench
