// The sizes of models that the whole-model benchmarks run at.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/llama_config.hpp>

#include <string>
#include <vector>

namespace bench {

inline const std::vector<std::string> shape_names{"llama3-8b", "llama3-70b", "llama3-405b", "llama3.2-1b", "tiny"};

/// The sizes called `name`: the public configurations of Llama 3 8B and 70B, Llama 3.1 405B and Llama 3.2 1B, and a small one to try
/// a program.
inline lolcats::LlamaConfig shape(const std::string& name) {
  lolcats::LlamaConfig c;
  c.vocab_size = 128256;
  c.max_position = 8192;
  c.rope.theta = 5e5;
  if (name == "llama3-8b") {
    c.hidden_size = 4096;
    c.layers = 32;
    c.heads = 32;
    c.head_dim = 128;
    c.intermediate_size = 14336;
  } else if (name == "llama3-70b") {
    c.hidden_size = 8192;
    c.layers = 80;
    c.heads = 64;
    c.head_dim = 128;
    c.intermediate_size = 28672;
  } else if (name == "llama3-405b") {
    c.hidden_size = 16384;
    c.layers = 126;
    c.heads = 128;
    c.head_dim = 128;
    c.intermediate_size = 53248;
  } else if (name == "llama3.2-1b") {
    c.hidden_size = 2048;
    c.layers = 16;
    c.heads = 32;
    c.head_dim = 64;
    c.intermediate_size = 8192;
    c.tied_embeddings = true;
  } else if (name == "tiny") {
    c.vocab_size = 1000;
    c.hidden_size = 512;
    c.layers = 2;
    c.heads = 8;
    c.head_dim = 128;
    c.intermediate_size = 1024;
  } else {
    lolcats::fail<lolcats::ConfigError>("shape '{}' is unknown, expected one of {}", name, fmt::join(shape_names, ", "));
  }
  c.kv_heads = name == "tiny" ? 2 : 8;
  return c;
}

}  // namespace bench
