#include <lolcats/io/llama2c.hpp>

#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace lolcats;
using namespace io_test;

namespace {

/// Header fields in the order of the file.
struct Header {
  std::int32_t dim = 8, hidden = 6, layers = 2, heads = 2, kv_heads = 1, vocab = 5, length = 3;

  std::string bytes() const {
    return raw(std::vector<std::int32_t>{dim, hidden, layers, heads, kv_heads, vocab, length});
  }
  /// Floats behind the header, counted by hand from the list of tensors in run.c.
  std::size_t floats() const {
    const auto d = static_cast<std::size_t>(dim), f = static_cast<std::size_t>(hidden),
               size = d / static_cast<std::size_t>(heads);
    const auto kv = size * static_cast<std::size_t>(kv_heads), v = static_cast<std::size_t>(std::abs(vocab));
    const std::size_t layer = d + d * d + 2 * kv * d + d * d + d + 3 * f * d;
    return v * d + static_cast<std::size_t>(layers) * layer + d + static_cast<std::size_t>(length) * size +
           (vocab < 0 ? v * d : 0);
  }
};

/// A file whose floats are 0, 1, 2, ...
std::string file_of(const Header& header) {
  std::vector<float> floats(header.floats());
  std::iota(floats.begin(), floats.end(), 0.0F);
  return header.bytes() + raw(floats);
}

Checkpoint parsed(const std::string& bytes) {
  return parse_llama2c(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.bin");
}

void refuses_llama2c(const std::string& bytes, std::initializer_list<std::string_view> parts) {
  check_throws<FormatError>([&] { parsed(bytes); }, parts);
}

}  // namespace

TEST_CASE("header and tensors come out under their names") {
  const std::string bytes = file_of({});
  Checkpoint checkpoint = parsed(bytes);
  const LlamaConfig& config = checkpoint.config;
  CHECK(config.vocab_size == 5);
  CHECK(config.hidden_size == 8);
  CHECK(config.layers == 2);
  CHECK(config.heads == 2);
  CHECK(config.kv_heads == 1);
  CHECK(config.head_dim == 4);
  CHECK(config.intermediate_size == 6);
  CHECK(config.max_position == 3);
  CHECK(config.rms_eps == 1e-5);
  CHECK(config.rope == RopeConfig{});
  CHECK(config.tied_embeddings);
  CHECK(config.bos_token == 1);

  // The first float of each tensor is its place in the file.
  TensorStore& weights = checkpoint.weights;
  const auto first = [&](const std::string& name, const Shape& shape) {
    return weights.read<float>(name, shape).data()[0];
  };
  float at = 0;
  CHECK(first("model.embed_tokens.weight", {5, 8}) == at);
  at += 40;
  struct Part {
    const char* name;
    Shape shape;
  };
  const Part parts[] = {{"input_layernorm", {8}},     {"self_attn.q_proj", {8, 8}}, {"self_attn.k_proj", {4, 8}},
                        {"self_attn.v_proj", {4, 8}}, {"self_attn.o_proj", {8, 8}}, {"post_attention_layernorm", {8}},
                        {"mlp.gate_proj", {6, 8}},    {"mlp.down_proj", {8, 6}},    {"mlp.up_proj", {6, 8}}};
  for (const Part& part : parts) {
    for (int i = 0; i < 2; ++i) {
      CAPTURE(part.name);
      CHECK(first(fmt::format("model.layers.{}.{}.weight", i, part.name), part.shape) == at);
      at += static_cast<float>(part.shape.size());
    }
  }
  CHECK(first("model.norm.weight", {8}) == at);
  CHECK_NOTHROW(weights.require_all_read());
}

TEST_CASE("a negative vocabulary means an output matrix of its own") {
  Header header;
  header.vocab = -5;
  Checkpoint checkpoint = parsed(file_of(header));
  CHECK_FALSE(checkpoint.config.tied_embeddings);
  CHECK(checkpoint.config.vocab_size == 5);
  CHECK(checkpoint.weights.contains("lm_head.weight"));
  const Tensor<float> head = [&] {
    const std::string bytes = file_of(header);
    Checkpoint again = parsed(bytes);
    Tensor<double> copy = again.weights.read<double>("lm_head.weight", {5, 8});  // a copy outlives `bytes`
    Tensor<float> narrow(copy.shape());
    for (Index i = 0; i < copy.size(); ++i) narrow.data()[i] = static_cast<float>(copy.data()[i]);
    return narrow;
  }();
  CHECK(head.data()[39] == static_cast<float>(header.floats() - 1));  // the last float of the file
}

TEST_CASE("rows of wq and wk go from pairs to halves") {
  // dim 8, two query heads of size 4: rows 0, 2 of a head come first, then rows 1, 3.
  const std::string bytes = file_of({});
  Checkpoint checkpoint = parsed(bytes);
  const Tensor<float> q = checkpoint.weights.read<float>("model.layers.1.self_attn.q_proj.weight", {8, 8});
  const float start = 40 + 2 * 8 + 64;  // embeddings, norms, layer 0's wq
  const int rows[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (int i = 0; i < 8; ++i) {
    for (int c = 0; c < 8; ++c) CHECK(q.data()[i * 8 + c] == start + static_cast<float>(rows[i] * 8 + c));
  }
}

TEST_CASE("the two rotary orders give the same scores") {
  // q.k after rotation, once as run.c does it on the file's rows, once as Hugging Face does it on ours.
  Header header;
  header.dim = 12, header.heads = 2, header.kv_heads = 1;  // head size 6
  const std::size_t D = 6, C = 12;
  std::vector<float> floats(header.floats());
  for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = std::sin(0.7F * static_cast<float>(i * i % 101));
  const std::string bytes = header.bytes() + raw(floats);
  Checkpoint checkpoint = parsed(bytes);
  const float* wq = floats.data() + 5 * C + 2 * C;
  const float* wk = wq + 2 * C * C;
  const Tensor<double> hf_q = checkpoint.weights.read<double>("model.layers.0.self_attn.q_proj.weight", {12, 12});
  const Tensor<double> hf_k = checkpoint.weights.read<double>("model.layers.0.self_attn.k_proj.weight", {6, 12});
  const auto project = [&](const auto* w, std::size_t rows, double shift) {
    std::vector<double> y(rows, 0.0);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < C; ++c) y[r] += double(w[r * C + c]) * std::cos(shift + double(c));
    }
    return y;
  };
  const auto turn = [&](double& a, double& b, std::size_t pair, int position) {
    const double angle = position * std::pow(10000.0, -2.0 * double(pair) / double(D));
    const double x = a * std::cos(angle) - b * std::sin(angle);
    b = a * std::sin(angle) + b * std::cos(angle);
    a = x;
  };
  auto q = project(wq, 2 * D, 0.1), k = project(wk, D, 0.5);
  auto hq = project(hf_q.data(), 2 * D, 0.1), hk = project(hf_k.data(), D, 0.5);
  for (std::size_t i = 0; i < D / 2; ++i) {
    turn(k[2 * i], k[2 * i + 1], i, 3);
    turn(hk[i], hk[i + D / 2], i, 3);
    for (std::size_t head = 0; head < 2; ++head) {
      turn(q[head * D + 2 * i], q[head * D + 2 * i + 1], i, 11);
      turn(hq[head * D + i], hq[head * D + i + D / 2], i, 11);
    }
  }
  for (std::size_t head = 0; head < 2; ++head) {
    double interleaved = 0, half = 0;
    for (std::size_t i = 0; i < D; ++i) interleaved += q[head * D + i] * k[i], half += hq[head * D + i] * hk[i];
    CHECK(half == doctest::Approx(interleaved).epsilon(1e-12));  // the same products in another order
    CHECK(std::abs(interleaved) > 1e-3);
  }
}

TEST_CASE("truncated and oversized files") {
  const std::string whole = file_of({});
  CHECK_NOTHROW(parsed(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    try {
      parsed(whole.substr(0, size));
      FAIL_CHECK("nothing was thrown at ", size, " bytes");
    } catch (const FormatError& error) {
      CHECK(std::string(error.what()).starts_with("m.bin: "));
    }
  }
  refuses_llama2c("", {"m.bin: holds 0 bytes, expected at least the 28 of the header"});
  refuses_llama2c(whole.substr(0, 27), {"holds 27 bytes"});
  refuses_llama2c(whole.substr(0, 28),
                  {"tensor token_embedding_table of shape (1, 5, 8) does not fit into the 0 bytes"});
  refuses_llama2c(whole.substr(0, whole.size() - 1), {"tensor freq_cis_imag of shape (1, 3, 2)"});
  refuses_llama2c(whole + "x", {"m.bin: 1 bytes follow the last tensor"});
}

TEST_CASE("hostile headers neither overflow nor allocate") {
  const auto refuses_header = [](Header header, std::initializer_list<std::string_view> parts) {
    refuses_llama2c(header.bytes() + std::string(1000, '\0'), parts);
  };
  constexpr std::int32_t most = INT32_MAX, least = INT32_MIN;
  refuses_header({.dim = 0}, {"m.bin: header: dim is 0, expected a positive number"});
  refuses_header({.dim = -8}, {"header: dim is -8"});
  refuses_header({.hidden = 0}, {"header: hidden_dim is 0"});
  refuses_header({.layers = -1}, {"header: n_layers is -1"});
  refuses_header({.heads = 0}, {"header: n_heads is 0"});
  refuses_header({.kv_heads = 0}, {"header: n_kv_heads is 0"});
  refuses_header({.vocab = 0}, {"header: vocab_size is 0"});
  refuses_header({.vocab = least}, {"header: vocab_size is -2147483648"});
  refuses_header({.length = 0}, {"header: seq_len is 0"});
  refuses_header({.heads = 3}, {"header: dim is 8, expected an even multiple of n_heads 3"});
  refuses_header({.heads = 8}, {"header: dim is 8, expected an even multiple of n_heads 8"});
  refuses_header({.kv_heads = 3}, {"header: n_heads is 2, expected a multiple of n_kv_heads 3"});
  refuses_header({.vocab = most}, {"tensor token_embedding_table of shape (1, 2147483647, 8) does not fit"});
  refuses_header({.dim = 1 << 30, .heads = 1 << 29, .kv_heads = 1, .vocab = most}, {"token_embedding_table"});
  refuses_header({.layers = most}, {"tensor rms_att_weight of shape (2147483647, 1, 8) does not fit"});
  refuses_header({.hidden = most, .layers = 1}, {"tensor w1 of shape (1, 2147483647, 8) does not fit"});
  refuses_header({.layers = 1, .length = most}, {"does not fit"});
  refuses_llama2c(raw(std::vector<std::int32_t>(7, most)), {"header: dim is 2147483647"});
}

TEST_CASE("a real checkpoint is read, and the file ends where it should") {
  const auto path = real_data("stories260K/stories260K.bin");
  if (!path) return;
  Checkpoint checkpoint = open_llama2c(*path);
  const LlamaConfig& config = checkpoint.config;
  CHECK(config.hidden_size == 64);
  CHECK(config.intermediate_size == 172);
  CHECK(config.layers == 5);
  CHECK(config.heads == 8);
  CHECK(config.kv_heads == 4);
  CHECK(config.vocab_size == 512);
  CHECK(config.max_position == 512);
  CHECK(config.tied_embeddings);
  CHECK(checkpoint.weights.names().size() == 2 + 5 * 9);
  const Tensor<float> embedding = checkpoint.weights.read<float>("model.embed_tokens.weight", {512, 64});
  float first = 0;
  std::memcpy(&first, get(*path).data() + 28, 4);
  CHECK(embedding.data()[0] == first);
  for (const float norm : checkpoint.weights.read<float>("model.norm.weight", {64}).span()) CHECK(std::isfinite(norm));

  const auto untied = real_data("babyllama105/model5000.bin");
  if (untied) CHECK(open_llama2c(*untied).config.vocab_size == 105);
}
