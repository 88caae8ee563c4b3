// Reads llama2.c checkpoints (version 0, the .bin files of karpathy/llama2.c).
#pragma once

#include <lolcats/io/file.hpp>
#include <lolcats/io/tensor_store.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lolcats {

namespace detail {

/// Walks through the float32 tensors of a llama2.c file in their order.
class Llama2cReader {
 public:
  Llama2cReader(std::span<const std::byte> file, std::string name, std::shared_ptr<const void> owner)
      : rest_(file), name_(std::move(name)), owner_(std::move(owner)), store_(name_) {}

  Checkpoint read() {
    const LlamaConfig config = read_header();
    const Index C = config.hidden_size, L = config.layers, I = config.intermediate_size;
    const Index Q = config.heads * config.head_dim, K = config.kv_heads * config.head_dim;
    // Where the floats lie is checked tensor by tensor against what is left of the file, before anything is allocated:
    // a tensor's layers follow each other, so one that passes holds all L of them.
    add("model.embed_tokens.weight", take("token_embedding_table", 1, config.vocab_size, C), {config.vocab_size, C});
    add_layers("input_layernorm", take("rms_att_weight", L, 1, C), {C});
    add_layers("self_attn.q_proj", take("wq", L, Q, C), {Q, C}, config.heads);
    add_layers("self_attn.k_proj", take("wk", L, K, C), {K, C}, config.kv_heads);
    add_layers("self_attn.v_proj", take("wv", L, K, C), {K, C});
    add_layers("self_attn.o_proj", take("wo", L, C, Q), {C, Q});
    add_layers("post_attention_layernorm", take("rms_ffn_weight", L, 1, C), {C});
    add_layers("mlp.gate_proj", take("w1", L, I, C), {I, C});
    add_layers("mlp.down_proj", take("w2", L, C, I), {C, I});
    add_layers("mlp.up_proj", take("w3", L, I, C), {I, C});
    add("model.norm.weight", take("rms_final_weight", 1, 1, C), {C});
    // Tables of an older version: cosines and sines for theta = 10000.  llama2.c skips them, too.
    take("freq_cis_real", 1, config.max_position, config.head_dim / 2);
    take("freq_cis_imag", 1, config.max_position, config.head_dim / 2);
    if (!config.tied_embeddings) add("lm_head.weight", take("wcls", 1, config.vocab_size, C), {config.vocab_size, C});
    require<FormatError>(rest_.empty(), "{}: {} bytes follow the last tensor, expected the file to end", name_,
                         rest_.size());
    return {config, std::move(store_)};
  }

 private:
  LlamaConfig read_header() {
    constexpr std::array fields = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"};
    std::array<std::int32_t, fields.size()> header;
    require<FormatError>(rest_.size() >= sizeof header, "{}: holds {} bytes, expected at least the {} of the header",
                         name_, rest_.size(), sizeof header);
    std::memcpy(header.data(), rest_.data(), sizeof header);
    rest_ = rest_.subspan(sizeof header);
    const bool untied = header[5] < 0;  // llama2.c says so by the sign of vocab_size
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const bool good = i == 5 ? header[i] != 0 && header[i] != INT32_MIN : header[i] > 0;
      require<FormatError>(good, "{}: header: {} is {}, expected {}", name_, fields[i], header[i],
                           i == 5 ? "a number other than 0" : "a positive number");
    }
    const auto [dim, hidden, layers, heads, kv_heads, vocab, length] = header;
    require<FormatError>(dim % heads == 0 && dim / heads % 2 == 0,
                         "{}: header: dim is {}, expected an even multiple of n_heads {}", name_, dim, heads);
    require<FormatError>(heads % kv_heads == 0, "{}: header: n_heads is {}, expected a multiple of n_kv_heads {}",
                         name_, heads, kv_heads);
    LlamaConfig config;
    config.vocab_size = untied ? -vocab : vocab;
    config.hidden_size = dim;
    config.layers = layers;
    config.heads = heads;
    config.kv_heads = kv_heads;
    config.head_dim = dim / heads;
    config.intermediate_size = hidden;
    config.max_position = length;
    config.tied_embeddings = !untied;
    config.rms_eps = 1e-5;      // run.c: rmsnorm
    config.rope.theta = 10000;  // run.c: forward
    if (config.vocab_size > 2) {
      config.bos_token = 1;
      config.eos_tokens = {1, 2};  // run.c stops at BOS: it stands between the stories of its training data
    }
    config.validate();
    return config;
  }

  /// The next layers * rows * cols floats.
  std::span<const std::byte> take(const char* tensor, Index layers, Index rows, Index cols) {
    Index bytes = sizeof(float);
    const bool overflow = __builtin_mul_overflow(bytes, layers, &bytes) ||
                          __builtin_mul_overflow(bytes, rows, &bytes) || __builtin_mul_overflow(bytes, cols, &bytes);
    require<FormatError>(!overflow && bytes <= std::ssize(rest_),
                         "{}: tensor {} of shape ({}, {}, {}) does not fit into the {} bytes that are left", name_,
                         tensor, layers, rows, cols, rest_.size());
    const auto taken = rest_.first(static_cast<std::size_t>(bytes));
    rest_ = rest_.subspan(static_cast<std::size_t>(bytes));
    return taken;
  }

  void add(std::string name, std::span<const std::byte> bytes, std::vector<Index> shape, Index interleaved_heads = 0) {
    store_.add({std::move(name), DType::F32, std::move(shape), bytes, std::nullopt, interleaved_heads}, name_, owner_);
  }

  /// Each layer's part of `bytes`; the rows of q and k are those of `interleaved_heads`.
  void add_layers(const char* name, std::span<const std::byte> bytes, const std::vector<Index>& shape,
                  Index interleaved_heads = 0) {
    std::size_t stride = sizeof(float);
    for (const Index extent : shape) stride *= static_cast<std::size_t>(extent);
    for (std::size_t i = 0; i < bytes.size() / stride; ++i) {
      add(fmt::format("model.layers.{}.{}.weight", i, name), bytes.subspan(i * stride, stride), shape,
          interleaved_heads);
    }
  }

  std::span<const std::byte> rest_;
  std::string name_;
  std::shared_ptr<const void> owner_;
  TensorStore store_;
};

}  // namespace detail

/// Reads a llama2.c checkpoint from memory, which `owner` keeps alive (without an owner: the caller).
///
/// Seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a negative vocab_size says that
/// the output matrix is stored, too), then float32 tensors in the order of run.c's memory_map_weights.  The tensors
/// come under Hugging Face's names and are read in its rotary order, so a loader has one path for both; all but wq and
/// wk are borrowed.  Errors: FormatError; the file must end exactly with the last tensor.
inline Checkpoint parse_llama2c(std::span<const std::byte> bytes, std::string name,
                                std::shared_ptr<const void> owner = nullptr) {
  return detail::Llama2cReader(bytes, std::move(name), std::move(owner)).read();
}

/// Maps and reads a llama2.c checkpoint.  Errors: FileError, FormatError.
inline Checkpoint open_llama2c(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  return parse_llama2c(file->bytes(), file->name(), file);
}

}  // namespace lolcats
