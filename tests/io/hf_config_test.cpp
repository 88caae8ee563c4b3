#include <lolcats/io/hf_config.hpp>

#include "support.hpp"

#include <cstdlib>
#include <filesystem>

using namespace lolcats;
using namespace io_test;
using nlohmann::json;

namespace {

/// A config as transformers 5 writes it.
json five() {
  return json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.1, "bos_token_id": 1,
    "dtype": "bfloat16", "eos_token_id": [2, 3], "head_dim": 16, "hidden_act": "silu", "hidden_size": 48,
    "initializer_range": 0.02, "intermediate_size": 80, "max_position_embeddings": 256, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 6, "num_hidden_layers": 3, "num_key_value_heads": 2,
    "pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
    "rope_parameters": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
      "original_max_position_embeddings": 32, "rope_theta": 500000.0, "rope_type": "llama3"},
    "tie_word_embeddings": true, "transformers_version": "5.17.0", "use_cache": true, "vocab_size": 96})");
}

/// The same model as transformers 4 wrote it.
json four() {
  json config = five();
  config.erase("rope_parameters");
  config.erase("dtype");
  config["torch_dtype"] = "bfloat16";
  config["rope_theta"] = 500000.0;
  config["rope_scaling"] = {{"factor", 8.0},
                            {"high_freq_factor", 4.0},
                            {"low_freq_factor", 1.0},
                            {"original_max_position_embeddings", 32},
                            {"rope_type", "llama3"}};
  return config;
}

LlamaConfig parsed_config(const json& config) { return parse_config(config.dump(), "config.json"); }

/// A change of `base` must be refused with these words.
template <class F>
void refuses_config(json base, F&& change, std::initializer_list<std::string_view> parts) {
  change(base);
  check_throws<ConfigError>(
      [&] {
        try {
          parsed_config(base);
        } catch (const Error& error) {
          CHECK(std::string(error.what()).starts_with("config.json: "));
          throw;
        }
      },
      parts);
}

}  // namespace

TEST_CASE("configs of transformers 4 and 5 say the same") {
  const LlamaConfig config = parsed_config(five());
  CHECK(config.vocab_size == 96);
  CHECK(config.hidden_size == 48);
  CHECK(config.layers == 3);
  CHECK(config.heads == 6);
  CHECK(config.kv_heads == 2);
  CHECK(config.head_dim == 16);
  CHECK(config.intermediate_size == 80);
  CHECK(config.rms_eps == 1e-6);
  CHECK(config.rope == RopeConfig{RopeKind::Llama3, 500000, 8, 1, 4, 32});
  CHECK(config.sliding_window == 0);
  CHECK(config.max_position == 256);
  CHECK(config.tied_embeddings);
  CHECK(config.bos_token == 1);
  CHECK(config.eos_tokens == std::vector<Index>{2, 3});
  CHECK(parsed_config(four()) == config);
  json both = four();
  both["rope_parameters"] = five()["rope_parameters"];
  CHECK(parsed_config(both) == config);
  json old = four();
  old["rope_scaling"]["type"] = "llama3";
  CHECK(parsed_config(old) == config);
  old["rope_scaling"].erase("rope_type");
  CHECK(parsed_config(old) == config);
}

TEST_CASE("what old configs leave out has transformers' defaults") {
  json old = four();
  for (const char* key : {"head_dim", "num_key_value_heads", "rope_theta", "rope_scaling", "tie_word_embeddings",
                          "bos_token_id", "eos_token_id", "attention_bias", "mlp_bias"}) {
    old.erase(key);
  }
  const LlamaConfig config = parsed_config(old);
  CHECK(config.head_dim == 8);
  CHECK(config.kv_heads == 6);
  CHECK(config.rope == RopeConfig{});
  CHECK(config.rope.theta == 10000);
  CHECK_FALSE(config.tied_embeddings);
  CHECK_FALSE(config.bos_token.has_value());
  CHECK(config.eos_tokens.empty());
}

TEST_CASE("linear and default rope") {
  json linear = four();
  linear["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  CHECK(parsed_config(linear).rope == RopeConfig{RopeKind::Linear, 500000, 4, 1, 4, 0});
  json plain = five();
  plain["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}, {"partial_rotary_factor", 1.0}};
  CHECK(parsed_config(plain).rope.kind == RopeKind::Default);
  CHECK(parsed_config(plain).rope.theta == 1e6);
}

TEST_CASE("Mistral's window must be said, as a number or null") {
  json mistral = four();
  mistral["model_type"] = "mistral";
  mistral["sliding_window"] = 8;
  CHECK(parsed_config(mistral).sliding_window == 8);
  mistral["sliding_window"] = nullptr;
  CHECK(parsed_config(mistral).sliding_window == 0);
  refuses_config(mistral, [](json& c) { c.erase("sliding_window"); }, {"'sliding_window' is missing"});
  refuses_config(mistral, [](json& c) { c["sliding_window"] = 0; }, {"'sliding_window' is 0, expected a positive"});
  refuses_config(mistral, [](json& c) { c.erase("num_key_value_heads"); }, {"'num_key_value_heads' is missing"});
  // transformers' Llama has no window and would ignore it.
  refuses_config(four(), [](json& c) { c["sliding_window"] = 8; }, {"'sliding_window' is 8, which is not supported"});
}

TEST_CASE("unsupported mathematics is refused with file, key, got and expected") {
  refuses_config(five(), [](json& c) { c["model_type"] = "gemma2"; },
          {"'model_type' is \"gemma2\", expected 'llama', 'mistral', 'qwen2' or 'qwen3'"});
  refuses_config(five(), [](json& c) { c["hidden_act"] = "gelu"; }, {"'hidden_act' is \"gelu\", expected 'silu'"});
  refuses_config(five(), [](json& c) { c["attention_bias"] = true; }, {"'attention_bias' is true, expected false"});
  refuses_config(five(), [](json& c) { c["mlp_bias"] = true; }, {"'mlp_bias' is true, expected false"});
  refuses_config(five(), [](json& c) { c["rope_parameters"]["rope_type"] = "yarn"; },
          {"'rope_parameters.rope_type' is \"yarn\", expected 'default', 'linear' or 'llama3'"});
  refuses_config(four(),
          [](json& c) {
            c["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
          },
          {"'rope_scaling.type' is \"dynamic\""});
  refuses_config(four(), [](json& c) { c["rope_scaling"]["type"] = "linear"; },
          {"'rope_scaling.type' is \"linear\", expected 'llama3'"});
  refuses_config(four(), [](json& c) { c["rope_scaling"].erase("factor"); }, {"'rope_scaling.factor' is missing"});
  refuses_config(four(), [](json& c) { c["rope_scaling"].erase("rope_type"); }, {"'rope_scaling.type' is missing"});
  refuses_config(four(), [](json& c) { c["rope_scaling"]["attention_factor"] = 2; },
          {"'rope_scaling.attention_factor' is 2, which is not supported"});
  refuses_config(five(), [](json& c) { c["rope_parameters"]["partial_rotary_factor"] = 0.5; },
          {"'rope_parameters.partial_rotary_factor' is 0.5, expected 1"});
  refuses_config(four(),
                 [](json& c) { c["rope_parameters"] = five()["rope_parameters"], c["rope_parameters"]["factor"] = 4; },
                 {"'rope_scaling' and 'rope_parameters' differ"});
  refuses_config(five(), [](json& c) { c["rope_theta"] = 1e4; }, {"'rope_theta' is 10000, expected 500000"});
  refuses_config(five(),
          [](json& c) {
            c["quantization_config"] = {{"bits", 4}};
          },
          {"'quantization_config' is {\"bits\":4}, which is not supported"});
  for (const json& on : {json(true), json(1), json(0), json("yes"), json{1}, json{{"a", 1}}}) {
    CAPTURE(on.dump());
    refuses_config(five(), [&](json& c) { c["new_attention_kind"] = on; },
            {"'new_attention_kind' is " + on.dump() + ", which is not supported"});
  }
  for (const char* key : {"partial_rotary_factor", "logit_scale", "residual_multiplier"}) {
    refuses_config(five(), [&](json& c) { c[key] = 0.5; }, {key, "is 0.5, which is not supported"});
  }
  for (const char* key :
       {"rope_interleaved", "is_encoder_decoder", "add_cross_attention", "unslothful", "use_qk_norm"}) {
    refuses_config(five(), [&](json& c) { c[key] = true; }, {key, "is true, which is not supported"});
  }
}

TEST_CASE("what cannot change the logits is skipped, and what is off counts as absent") {
  const LlamaConfig want = parsed_config(five());
  const auto same_with = [&](const char* key, const json& value) {
    json config = five();
    config[key] = value;
    CAPTURE(key);
    CHECK(parsed_config(config) == want);
  };
  for (const json& off : {json(nullptr), json(false), json(""), json::array(), json::object()}) {
    same_with("new_attention_kind", off);
    same_with("quantization_config", off);
    same_with("auto_map", off);
    same_with("rope_scaling", off);
    same_with("layer_types", off);
  }
  same_with("rope_interleaved", false);
  same_with("is_llama_config", true);
  same_with("transformers.js_config", {{"kv_cache_dtype", {{"fp16", "float16"}}}});
  same_with("unsloth_fixed", true);
  same_with("unsloth_version", "2026.1");
  same_with("id2label", {{"0", "LABEL_0"}});
  same_with("label2id", {{"LABEL_0", 0}});
  same_with("tokenizer_class", "LlamaTokenizer");
  same_with("neftune_noise_alpha", 5);
  same_with("attn_implementation", "flash_attention_2");
  same_with("partial_rotary_factor", 1);
  same_with("num_nextn_predict_layers", 0);
  same_with("layer_types", json::array({"full_attention", "full_attention", "full_attention"}));
  same_with("auto_map", {{"AutoModelForCausalLM", "modeling_llama.LlamaForCausalLM"}});  // a known architecture
  json other = five();
  other["rope_parameters"]["attention_factor"] = nullptr;
  other["rope_parameters"]["truncate"] = false;
  CHECK(parsed_config(other) == want);
}

TEST_CASE("code beside the weights is refused unless the architecture is known") {
  const json map = {{"AutoModelForCausalLM", "modeling_own.OwnForCausalLM"}};
  refuses_config(five(), [&](json& c) { c["auto_map"] = map, c["architectures"] = {"OwnForCausalLM"}; },
                 {"'auto_map' is {"});
  refuses_config(five(), [&](json& c) { c["auto_map"] = map, c.erase("architectures"); },
                 {"'architectures' is missing"});
}

TEST_CASE("types of layers must agree with the window, and with one another") {
  const json full = json::array({"full_attention", "full_attention", "full_attention"});
  const json sliding = json::array({"sliding_attention", "sliding_attention", "sliding_attention"});
  const json mixed = json::array({"full_attention", "sliding_attention", "full_attention"});
  for (const json& types : {mixed, json::array({"full_attention"}), json("full_attention"), json{{"0", 1}}}) {
    refuses_config(five(), [&](json& c) { c["layer_types"] = types; },
            {"'layer_types' is", "expected 'full_attention' for each of the 3 layers"});
  }
  refuses_config(five(), [&](json& c) { c["layer_types"] = sliding; },
                 {"'layer_types' is", "where there is no window"});
  json mistral = four();
  mistral["model_type"] = "mistral";
  mistral["sliding_window"] = 8;
  mistral["layer_types"] = sliding;
  CHECK(parsed_config(mistral).sliding_window == 8);
  refuses_config(mistral, [&](json& c) { c["layer_types"] = full; },
                 {"'layer_types' is", "expected 'sliding_attention'"});
}

TEST_CASE("Qwen2 has biases, Qwen3 norms of heads, and a window only where it is used") {
  json qwen2 = four();
  qwen2["model_type"] = "qwen2";
  for (const char* key : {"attention_bias", "mlp_bias", "head_dim"}) qwen2.erase(key);
  qwen2["use_sliding_window"] = false;
  qwen2["sliding_window"] = 131072;
  qwen2["max_window_layers"] = 2;
  LlamaConfig want = parsed_config(four());
  want.qkv_bias = true;
  want.head_dim = 8;
  CHECK(parsed_config(qwen2) == want);
  refuses_config(qwen2, [](json& c) { c.erase("num_key_value_heads"); }, {"'num_key_value_heads' is missing"});

  json qwen3 = five();
  qwen3["model_type"] = "qwen3";
  qwen3["layer_types"] = json::array({"full_attention", "full_attention", "full_attention"});
  want = parsed_config(five());
  want.qk_norm = true;
  CHECK(parsed_config(qwen3) == want);
  refuses_config(qwen3, [](json& c) { c.erase("head_dim"); }, {"'head_dim' is missing"});
  refuses_config(qwen3, [](json& c) { c["attention_bias"] = true; }, {"'attention_bias' is true, expected false"});

  for (json qwen : {qwen2, qwen3}) {
    qwen.erase("layer_types");
    qwen["use_sliding_window"] = true;
    qwen["sliding_window"] = 16;
    for (const auto& [first, window] : {std::pair{0, 16}, {3, 0}, {28, 0}}) {
      qwen["max_window_layers"] = first;
      CHECK(parsed_config(qwen).sliding_window == window);
    }
    for (const int first : {1, 2}) {
      refuses_config(qwen, [&](json& c) { c["max_window_layers"] = first; },
              {"'max_window_layers' is " + std::to_string(first), "windows in some layers only are not supported"});
    }
    refuses_config(qwen, [](json& c) { c.erase("max_window_layers"); }, {"'max_window_layers' is missing"});
    refuses_config(qwen, [](json& c) { c["sliding_window"] = 0; }, {"'sliding_window' is 0, expected a positive"});
    qwen["layer_types"] = json::array({"sliding_attention", "sliding_attention", "sliding_attention"});
    CHECK(parsed_config(qwen).sliding_window == 16);
    refuses_config(qwen, [](json& c) { c["use_sliding_window"] = false; }, {"where 'use_sliding_window' is off"});
    refuses_config(qwen, [](json& c) { c["layer_types"][1] = "full_attention"; }, {"'layer_types' is"});
    qwen["layer_types"] = json::array({"full_attention", "full_attention", "full_attention"});
    CHECK(parsed_config(qwen).sliding_window == 0);
    qwen["sliding_window"] = nullptr;
    CHECK(parsed_config(qwen).sliding_window == 0);
  }
}

TEST_CASE("a generation_config.json beside names the tokens that start and end a text") {
  const TemporaryFolder folder;
  const auto write = [&](const char* name, std::string_view text) { write_file_atomically(folder / name, text); };
  write("config.json", five().dump());
  const LlamaConfig plain = read_config(folder / "config.json");
  CHECK(plain.eos_tokens == std::vector<Index>{2, 3});
  CHECK(plain.bos_token == 1);
  const auto with = [&](std::string_view text) {
    write("generation_config.json", text);
    return read_config(folder / "config.json");
  };
  CHECK(with(R"({"do_sample": true, "temperature": 0.6, "unknown": {"a": 1}})") == plain);
  CHECK(with(R"({"eos_token_id": null, "bos_token_id": null})") == plain);
  CHECK(with(R"({"eos_token_id": 7})").eos_tokens == std::vector<Index>{7});
  const LlamaConfig both = with(R"({"eos_token_id": [9, 2, 7], "bos_token_id": 5})");
  CHECK(both.eos_tokens == std::vector<Index>{9, 2, 7});
  CHECK(both.bos_token == 5);
  check_throws<ConfigError>([&] { with(R"({"eos_token_id": 96})"); }, {"generation_config.json: ", "eos_tokens is 96"});
  check_throws<ConfigError>([&] { with(R"({"eos_token_id": "2"})"); }, {"generation_config.json: 'eos_token_id' is"});
  check_throws<FormatError>([&] { with("["); }, {"generation_config.json: is not valid JSON"});
}

TEST_CASE("contradictory and ill-typed values are refused") {
  refuses_config(five(), [](json& c) { c["hidden_size"] = "48"; }, {"'hidden_size' is \"48\", expected an integer"});
  refuses_config(five(), [](json& c) { c.erase("vocab_size"); }, {"'vocab_size' is missing, expected an integer"});
  refuses_config(five(), [](json& c) { c["num_attention_heads"] = 5; },
                 {"heads is 5, expected a multiple of kv_heads 2"});
  refuses_config(five(), [](json& c) { c["num_attention_heads"] = 0; }, {"heads is 0"});
  refuses_config(five(), [](json& c) { c["head_dim"] = nullptr, c["num_attention_heads"] = 0; },
                 {"'num_attention_heads' 0"});
  refuses_config(five(), [](json& c) { c["head_dim"] = nullptr, c["hidden_size"] = 50; },
          {"'hidden_size' is 50, expected a multiple"});
  refuses_config(five(), [](json& c) { c["head_dim"] = 7; }, {"head_dim is 7, expected an even number"});
  refuses_config(five(), [](json& c) { c["num_hidden_layers"] = -1; }, {"layers is -1"});
  refuses_config(five(), [](json& c) { c["bos_token_id"] = 96; }, {"bos_token is 96"});
  refuses_config(five(),
                 [](json& c) {
                   c["bos_token_id"] = {1, 2};
                 },
                 {"'bos_token_id' is [1,2], expected one integer"});
  refuses_config(five(), [](json& c) { c["eos_token_id"] = {1, "2"}; }, {"'eos_token_id' is [1,\"2\"]"});
  check_throws<FormatError>([] { parse_config("{", "config.json"); }, {"config.json: is not valid JSON"});
  check_throws<ConfigError>([] { parse_config("[]", "config.json"); }, {"config.json: the document is []"});
}

TEST_CASE("a written config is read back equal") {
  const TemporaryFolder folder;
  std::vector<LlamaConfig> configs = {parsed_config(five())};
  configs.push_back(configs[0]);
  configs[1].rope = {RopeKind::Linear, 1e4, 2, 1, 4, 0};
  configs[1].sliding_window = 8;
  configs.push_back(configs[0]);
  configs[2].rope = {};
  configs[2].bos_token.reset();
  configs[2].eos_tokens = {5};
  configs[2].tied_embeddings = false;
  for (const bool window : {false, true}) {
    for (const bool bias : {false, true}) {
      configs.push_back(configs[2]);
      (bias ? configs.back().qkv_bias : configs.back().qk_norm) = true;
      configs.back().sliding_window = window ? 8 : 0;
    }
  }
  for (const LlamaConfig& config : configs) {
    write_config(folder / "config.json", config, DType::BF16);
    CHECK(read_config(folder / "config.json") == config);
  }
  check_throws<ConfigError>([&] { format_config(configs[0], DType::I64); }, {"weights are I64"});
  LlamaConfig both = configs[0];
  both.qkv_bias = both.qk_norm = true;
  check_throws<ConfigError>([&] { format_config(both, DType::F32); }, {"qkv_bias and qk_norm are true"});
  configs[0].heads = 5;
  check_throws<ConfigError>([&] { write_config(folder / "config.json", configs[0], DType::F32); }, {"heads is 5"});
  CHECK(read_config(folder / "config.json") == configs.back());
}

TEST_CASE("configs written by transformers are read") {
  const auto path = real_data("huggingface");
  if (!path) return;
  const LlamaConfig llama = read_config(*path / "llama3_sharded_bf16" / "config.json");
  CHECK(llama.rope == RopeConfig{RopeKind::Llama3, 500000, 8, 1, 4, 32});
  CHECK(llama.heads == 6);
  CHECK(llama.kv_heads == 2);
  CHECK_FALSE(llama.tied_embeddings);
  const LlamaConfig mistral = read_config(*path / "mistral_window_f32" / "config.json");
  CHECK(mistral.sliding_window == 8);
  CHECK(mistral.tied_embeddings);
  CHECK(mistral.rope == RopeConfig{});
}

TEST_CASE("configs as people have them are read") {
  const char* data = std::getenv("LOLCATS_DATA");
  const std::filesystem::path folder = data ? std::filesystem::path(data) / ".." / "cases" / "configs" : "";
  if (!data || !std::filesystem::is_directory(folder)) {
    MESSAGE("skipped: no folder cases/configs beside LOLCATS_DATA");
    return;
  }
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    CAPTURE(entry.path().string());
    CHECK_NOTHROW(parse_config(read_text(entry.path()), entry.path().string()));
    ++count;
  }
  CHECK(count > 0);
}
