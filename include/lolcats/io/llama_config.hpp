// The sizes and constants of a checkpoint of the Llama family.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace lolcats {

/// How rotary frequencies are stretched beyond the trained length.
enum class RopeKind {
  Default,  ///< not at all
  Linear,   ///< every frequency divided by `factor`
  Llama3,   ///< low frequencies divided by `factor`, high ones kept, a ramp between
};

constexpr std::string_view name_of(RopeKind kind) {
  switch (kind) {
    case RopeKind::Default: return "default";
    case RopeKind::Linear: return "linear";
    case RopeKind::Llama3: return "llama3";
  }
  return "?";
}

/// Rotary position embedding; base frequencies are theta^(-2i / head_dim).
struct RopeConfig {
  RopeKind kind = RopeKind::Default;
  double theta = 10000;
  double factor = 1;                ///< Linear, Llama3
  double low_freq_factor = 1;       ///< Llama3
  double high_freq_factor = 4;      ///< Llama3
  Index original_max_position = 0;  ///< Llama3: the length trained for before stretching

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

/// What a checkpoint says about its model.  The method (maps, windows, adapters) is in the type of the model.
struct LlamaConfig {
  Index vocab_size = 0;         ///< V
  Index hidden_size = 0;        ///< C
  Index layers = 0;             ///< L
  Index heads = 0;              ///< H, query heads
  Index kv_heads = 0;           ///< G, key/value heads; divides H
  Index head_dim = 0;           ///< D; H * D need not be C
  Index intermediate_size = 0;  ///< width of the gated layer
  double rms_eps = 1e-5;
  bool qkv_bias = false;  ///< biases behind the projections of q, k and v (Qwen2)
  bool qk_norm = false;   ///< an RMS norm over D of every query and key head, before the rotation (Qwen3)
  RopeConfig rope;
  Index sliding_window = 0;  ///< the teacher's softmax sees this many keys, the query's own included; 0: all
  Index max_position = 0;    ///< the longest sequence trained for; information, not a limit
  bool tied_embeddings = false;
  std::optional<Index> bos_token;
  std::vector<Index> eos_tokens;

  friend bool operator==(const LlamaConfig&, const LlamaConfig&) = default;

  /// Throws ConfigError "LlamaConfig: field is got, expected ..." unless the model can be built.  The bounds keep
  /// every product of two sizes within Index.
  void validate() const {
    constexpr Index most = INT32_MAX;
    const auto positive = [](const char* field, Index value) {
      require<ConfigError>(value > 0 && value <= most, "LlamaConfig: {} is {}, expected 1 to {}", field, value,
                           Index{most});
    };
    positive("vocab_size", vocab_size);
    positive("hidden_size", hidden_size);
    positive("layers", layers);
    positive("heads", heads);
    positive("kv_heads", kv_heads);
    positive("head_dim", head_dim);
    positive("intermediate_size", intermediate_size);
    positive("max_position", max_position);
    require<ConfigError>(heads % kv_heads == 0, "LlamaConfig: heads is {}, expected a multiple of kv_heads {}", heads,
                         kv_heads);
    require<ConfigError>(head_dim % 2 == 0, "LlamaConfig: head_dim is {}, expected an even number", head_dim);
    require<ConfigError>(heads * head_dim <= most, "LlamaConfig: heads * head_dim is {}, expected at most {}",
                         heads * head_dim, Index{most});
    require<ConfigError>(std::isfinite(rms_eps) && rms_eps >= 0, "LlamaConfig: rms_eps is {}, expected 0 or more",
                         rms_eps);
    require<ConfigError>(sliding_window >= 0 && sliding_window <= most,
                         "LlamaConfig: sliding_window is {}, expected 0 (none) to {}", sliding_window, Index{most});
    validate_rope();
    if (bos_token) check_token("bos_token", *bos_token);
    for (const Index token : eos_tokens) check_token("eos_tokens", token);
  }

 private:
  void validate_rope() const {
    require<ConfigError>(std::isfinite(rope.theta) && rope.theta > 0,
                         "LlamaConfig: rope.theta is {}, expected a positive number", rope.theta);
    if (rope.kind == RopeKind::Default) return;
    require<ConfigError>(std::isfinite(rope.factor) && rope.factor > 0,
                         "LlamaConfig: rope.factor is {}, expected a positive number", rope.factor);
    if (rope.kind == RopeKind::Linear) return;
    require<ConfigError>(
        rope.low_freq_factor > 0 && std::isfinite(rope.high_freq_factor) &&
            rope.high_freq_factor > rope.low_freq_factor,
        "LlamaConfig: rope.low_freq_factor is {} and rope.high_freq_factor {}, expected 0 < low < high",
        rope.low_freq_factor, rope.high_freq_factor);
    require<ConfigError>(rope.original_max_position > 0,
                         "LlamaConfig: rope.original_max_position is {}, expected a positive number",
                         rope.original_max_position);
  }

  void check_token(const char* field, Index token) const {
    require<ConfigError>(token >= 0 && token < vocab_size, "LlamaConfig: {} is {}, expected 0 to {}", field, token,
                         vocab_size - 1);
  }
};

}  // namespace lolcats
