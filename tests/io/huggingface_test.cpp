#include <lolcats/io/huggingface.hpp>

#include "support.hpp"

using namespace lolcats;
using namespace io_test;

namespace {

Tensor<float> filled(const Shape& shape, float value) {
  Tensor<float> tensor(shape);
  for (float& x : tensor.span()) x = value;
  return tensor;
}

const std::string index_file = "model.safetensors.index.json";

/// Two shards: a, b in one.safetensors, c in two.safetensors.
void put_shards(const std::filesystem::path& folder) {
  write_safetensors(folder / "one.safetensors", {{"a", filled({1}, 1)}, {"b", filled({1}, 2)}});
  write_safetensors(folder / "two.safetensors", {{"c", filled({1}, 3)}});
}
void put_index(const std::filesystem::path& folder, const std::string& map) {
  put(folder / index_file, R"({"metadata": {"total_size": 12}, "weight_map": )" + map + "}");
}

LlamaConfig small() {
  LlamaConfig config;
  config.vocab_size = 5;
  config.hidden_size = 4;
  config.layers = 1;
  config.heads = config.kv_heads = 1;
  config.head_dim = 4;
  config.intermediate_size = 3;
  config.max_position = 16;
  return config;
}

}  // namespace

TEST_CASE("a sharded checkpoint is one store") {
  const TemporaryFolder folder;
  put_shards(folder);
  put_index(folder, R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})");
  TensorStore store = open_tensors(folder);
  CHECK(store.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(store.read<float>("b", {1}).data()[0] == 2);
  CHECK(store.read<float>("c", {1}).data()[0] == 3);
  check_throws<FormatError>([&] { store.require_all_read(); }, {index_file, "1 tensors", "'a'"});
  check_throws<FormatError>([&] { store.read<float>("d"); }, {index_file, "tensor 'd' is missing"});
}

TEST_CASE("hostile and false indices") {
  const TemporaryFolder folder;
  put_shards(folder);
  const auto refuses = [&]<class E>(E, const std::string& map, std::initializer_list<std::string_view> parts) {
    CAPTURE(map);
    put_index(folder, map);
    check_throws<E>([&] { open_tensors(folder); }, parts);
  };
  for (const char* name : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..\\\\one", "..", ".", ""}) {
    refuses(FormatError(""), fmt::format(R"({{"a": "{}"}})", name),
            {index_file, "weight_map 'a' is", "expected the name of a file in the same folder"});
  }
  refuses(FormatError(""), R"({"a": 1})", {index_file, "weight_map 'a' is 1"});
  refuses(FormatError(""), R"([])", {index_file, "weight_map is missing, expected an object"});
  refuses(FormatError(""), R"({"a": "one.safetensors", "a": "two.safetensors"})", {"key 'a' appears twice"});
  refuses(FileError(""), R"({"a": "three.safetensors"})",
          {index_file, "the shard 'three.safetensors', which does not exist"});
  refuses(FormatError(""), R"({"a": "one.safetensors", "b": "one.safetensors", "c": "one.safetensors"})",
          {"one.safetensors: tensor 'c' is missing", index_file});
  refuses(FormatError(""), R"({"a": "one.safetensors", "c": "two.safetensors"})",
          {"one.safetensors: tensor 'b' is not listed in", index_file});
  write_safetensors(folder / "two.safetensors", {{"a", filled({1}, 1)}, {"c", filled({1}, 3)}});
  refuses(FormatError(""), R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})",
          {"two.safetensors: tensor 'a' is not listed in"});
  put(folder / index_file, "{}");
  check_throws<FormatError>([&] { open_tensors(folder); }, {index_file, "weight_map is missing"});
}

TEST_CASE("a folder without weights says what it looked for") {
  const TemporaryFolder folder;
  check_throws<FileError>([&] { open_tensors(folder); },
                          {static_cast<const std::filesystem::path&>(folder).string(),
                           "holds neither model.safetensors nor model.safetensors.index.json"});
  check_throws<FileError>([&] { open_huggingface(folder); }, {"config.json", "No such file"});
}

TEST_CASE("a written folder is read back") {
  const TemporaryFolder folder;
  const Tensor<float> w = filled({5, 4}, 1.5F);
  write_huggingface(folder / "new" / "model", small(), {{"model.embed_tokens.weight", w, DType::BF16}});
  Checkpoint checkpoint = open_huggingface(folder / "new" / "model");
  CHECK(checkpoint.config == small());
  CHECK(checkpoint.weights.info("model.embed_tokens.weight").dtype == DType::BF16);
  CHECK(checkpoint.weights.read<float>("model.embed_tokens.weight", {5, 4}).data()[19] == 1.5F);
  CHECK(get(folder / "new" / "model" / "config.json").find("\"bfloat16\"") != std::string::npos);
  LlamaConfig broken = small();
  broken.head_dim = 3;
  check_throws<ConfigError>([&] { write_huggingface(folder / "other", broken, {{"a", w}}); }, {"head_dim is 3"});
  CHECK_FALSE(path_exists(folder / "other"));
}

TEST_CASE("folders written by transformers hold exactly the tensors of their config") {
  const auto path = real_data("huggingface");
  if (!path) return;
  for (const char* name : {"llama3_sharded_bf16", "mistral_window_f32"}) {
    CAPTURE(name);
    Checkpoint checkpoint = open_huggingface(*path / name);
    const LlamaConfig& c = checkpoint.config;
    TensorStore& weights = checkpoint.weights;
    const Index q = c.heads * c.head_dim, k = c.kv_heads * c.head_dim;
    weights.read<float>("model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
    for (Index i = 0; i < c.layers; ++i) {
      const std::string layer = fmt::format("model.layers.{}.", i);
      weights.read<float>(layer + "input_layernorm.weight", {c.hidden_size});
      weights.read<float>(layer + "self_attn.q_proj.weight", {q, c.hidden_size});
      weights.read<double>(layer + "self_attn.k_proj.weight", {k, c.hidden_size});
      weights.read<bf16>(layer + "self_attn.v_proj.weight", {k, c.hidden_size});
      weights.read<float>(layer + "self_attn.o_proj.weight", {c.hidden_size, q});
      weights.read<float>(layer + "post_attention_layernorm.weight", {c.hidden_size});
      weights.read<float>(layer + "mlp.gate_proj.weight", {c.intermediate_size, c.hidden_size});
      weights.read<float>(layer + "mlp.up_proj.weight", {c.intermediate_size, c.hidden_size});
      weights.read<float>(layer + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size});
    }
    weights.read<float>("model.norm.weight", {c.hidden_size});
    if (!c.tied_embeddings) weights.read<float>("lm_head.weight", {c.vocab_size, c.hidden_size});
    CHECK_NOTHROW(weights.require_all_read());
  }
}
