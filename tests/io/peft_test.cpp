#include <lolcats/io/peft.hpp>

#include "support.hpp"

#include <algorithm>

using namespace lolcats;
using namespace io_test;
using nlohmann::json;

namespace {

Tensor<float> counting_tensor(const Shape& shape, float start) {
  Tensor<float> tensor(shape);
  for (float& x : tensor.span()) x = start++;
  return tensor;
}

const std::string q0 = "model.layers.0.self_attn.q_proj", down1 = "model.layers.1.mlp.down_proj";

PeftAdapter sample() {
  return {2,
          4,
          0.25,
          {"q_proj", "down_proj"},
          {{q0, {counting_tensor({2, 3}, 1), counting_tensor({5, 2}, 10)}},
           {down1, {counting_tensor({2, 4}, 20), counting_tensor({3, 2}, 30)}}},
          "",
          false,
          false,
          {},
          "sample", {}};
}

/// A folder with `sample`, whose config or tensors a test then changes.
struct Folder : TemporaryFolder {
  Folder() { write_peft(*this, sample()); }

  template <class F>
  void change(F&& f) {
    json config = json::parse(get(*this / "adapter_config.json"));
    f(config);
    put(*this / "adapter_config.json", config.dump());
  }
  void write(const std::vector<NamedTensor>& tensors) {
    write_safetensors(*this / "adapter_model.safetensors", tensors);
  }
};

template <class F>
void refuses_adapter(F&& change, std::initializer_list<std::string_view> parts) {
  Folder folder;
  folder.change(change);
  check_throws<ConfigError>([&] { read_peft(folder); }, parts);
}

}  // namespace

TEST_CASE("a written adapter is read back") {
  const Folder folder;
  const PeftAdapter adapter = read_peft(folder);
  CHECK(adapter.rank == 2);
  CHECK(adapter.alpha == 4);
  CHECK(adapter.dropout == 0.25);
  CHECK(adapter.targets == sample().targets);
  REQUIRE(adapter.modules.size() == 2);
  for (const auto& [module, want] : sample().modules) {
    const LoraPair& got = adapter.modules.at(module);
    CHECK(got.a.shape() == want.a.shape());
    CHECK(got.b.shape() == want.b.shape());
    CHECK(std::memcmp(got.a.data(), want.a.data(), want.a.span().size_bytes()) == 0);
    CHECK(std::memcmp(got.b.data(), want.b.data(), want.b.span().size_bytes()) == 0);
  }
}

TEST_CASE("names and config are peft's") {
  const Folder folder;
  CHECK(Safetensors(folder / "adapter_model.safetensors").names() ==
        std::vector<std::string>{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                                 "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
                                 "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight",
                                 "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"});
  const json config = json::parse(get(folder / "adapter_config.json"));
  CHECK(config["peft_type"] == "LORA");
  CHECK(config["task_type"] == "CAUSAL_LM");
  CHECK(config["r"] == 2);
  CHECK(config["lora_alpha"].is_number_integer());
  CHECK(config["target_modules"] == json{"q_proj", "down_proj"});
  CHECK(config["bias"] == "none");
}

TEST_CASE("options that change the mathematics are refused by name") {
  refuses_adapter([](json& c) { c["use_dora"] = true; },
                  {"adapter_config.json", "'use_dora' is true, which is not supported"});
  refuses_adapter([](json& c) { c["use_rslora"] = 1; }, {"'use_rslora' is 1, expected true or false"});
  for (const char* key : {"lora_bias", "use_qalora", "use_bdlora"}) {
    refuses_adapter([&](json& c) { c[key] = true; }, {key, "is true, which is not supported"});
  }
  for (const char* key :
       {"trainable_token_indices", "layer_replication", "alora_invocation_tokens", "target_parameters"}) {
    refuses_adapter([&](json& c) { c[key] = {1}; }, {key, "is [1], which is not supported"});
  }
  refuses_adapter([](json& c) { c["fan_in_fan_out"] = true; }, {"'fan_in_fan_out' is true"});
  refuses_adapter([](json& c) { c["bias"] = "lora_only"; }, {"'bias' is \"lora_only\", expected 'none'"});
  refuses_adapter([](json& c) { c["modules_to_save"] = {"lm_head"}; }, {"'modules_to_save' is [\"lm_head\"]"});
  refuses_adapter([](json& c) { c["alpha_pattern"] = {{"q.*", 4}}; }, {"'alpha_pattern' is", "regular expressions"});
  refuses_adapter([](json& c) { c["alpha_pattern"] = {{"q_proj", "4"}}; }, {"'alpha_pattern' is", "expected numbers"});
  refuses_adapter([](json& c) { c["alpha_pattern"] = {1}; }, {"'alpha_pattern' is [1], expected an object"});
  refuses_adapter(
      [](json& c) {
        c["alpha_pattern"] = {{"q_proj", 4}, {"self_attn.q_proj", 5}};
      },
      {"'alpha_pattern' gives '" + q0 + "' both 4 and 5"});
  refuses_adapter([](json& c) { c["peft_type"] = "IA3"; }, {"'peft_type' is \"IA3\", expected 'LORA'"});
  refuses_adapter([](json& c) { c["target_modules"] = ""; },
                  {"'target_modules' is \"\", expected a list of names or a text"});
  refuses_adapter(
      [](json& c) {
        c["target_modules"] = {"q_proj", 1};
      },
      {"'target_modules' is [\"q_proj\",1], expected a list"});
  refuses_adapter([](json& c) { c["target_modules"] = json::array(); }, {"'target_modules' is [], expected a list"});
  refuses_adapter([](json& c) { c["init_lora_weights"] = "pissa"; },
          {"'init_lora_weights' is \"pissa\", expected true, false"});
  refuses_adapter([](json& c) { c["r"] = 0; }, {"'r' is 0, expected a positive number"});
  refuses_adapter([](json& c) { c.erase("lora_alpha"); }, {"'lora_alpha' is missing, expected a number"});
  refuses_adapter([](json& c) { c["lora_dropout"] = 1; }, {"'lora_dropout' is 1"});
  refuses_adapter([](json& c) { c["a_new_option"] = 1; }, {"'a_new_option' is 1, which is not supported"});
}

TEST_CASE("options that are off pass, known or not") {
  Folder folder;
  folder.change([](json& c) {
    c["use_something_new"] = false, c["new_config"] = nullptr, c["rank_pattern"] = json::object();
    c["qalora_group_size"] = 16, c["megatron_core"] = "megatron.core", c["peft_version"] = "0.21.0";
    c["lora_alpha"] = 4.5, c["init_lora_weights"] = "gaussian", c["auto_mapping"] = {{"x", "y"}};
  });
  CHECK(read_peft(folder).alpha == 4.5);
}

TEST_CASE("rsLoRA divides by the root of the rank") {
  Folder folder;
  CHECK(read_peft(folder).scale(q0) == 2.0);
  folder.change([](json& c) { c["use_rslora"] = true; });
  const PeftAdapter adapter = read_peft(folder);
  CHECK(adapter.rslora);
  CHECK(adapter.scale(q0) == doctest::Approx(4 / 1.4142135623730951).epsilon(1e-15));
  const TemporaryFolder again;  // and is written as what it is
  write_peft(again, adapter);
  CHECK(read_peft(again).rslora);
}

TEST_CASE("a text for the targets is kept, and the tensors tell the modules") {
  for (const char* text : {"all-linear", R"(.*\.(q|down)_proj)", "^(?!.*lm_head).*proj$"}) {
    Folder folder;
    folder.change([&](json& c) {
      c["target_modules"] = text, c["exclude_modules"] = "lm_head", c["layers_to_transform"] = {0, 1};
      c["layers_pattern"] = "layers";
    });
    const PeftAdapter adapter = read_peft(folder);
    CHECK(adapter.targets.empty());
    CHECK(adapter.target_text == text);
    CHECK(adapter.modules.size() == 2);
    const TemporaryFolder again;
    write_peft(again, adapter);
    CHECK(read_peft(again).target_text == text);
  }
  Folder folder;
  folder.change([](json& c) { c["target_modules"] = "all-linear"; });
  folder.write({});
  check_throws<FormatError>([&] { read_peft(folder); }, {"adapter_model.safetensors", "holds no tensors of modules"});
}

TEST_CASE("an eva adapter: ranks and alphas of single modules, by their names") {
  Folder folder;
  folder.change([](json& c) {
    c["init_lora_weights"] = "eva";
    c["eva_config"] = {{"rho", 2.0}, {"tau", 0.99}, {"whiten", false}, {"adjust_scaling_factors", true}};
    c["r"] = 4, c["lora_alpha"] = 8;
    c["rank_pattern"] = {{q0, 2}, {down1, 3}};
    c["alpha_pattern"] = {{"down_proj", 5}, {"proj", 100}, {"layers.1.mlp.down_proj", 5}};
  });
  const auto name = [](const std::string& module, char factor) {
    return fmt::format("base_model.model.{}.lora_{}.weight", module, factor);
  };
  folder.write({{name(q0, 'A'), counting_tensor({2, 3}, 1)},
                {name(q0, 'B'), counting_tensor({5, 2}, 1)},
                {name(down1, 'A'), counting_tensor({3, 4}, 1)},
                {name(down1, 'B'), counting_tensor({3, 3}, 1)}});
  const PeftAdapter adapter = read_peft(folder);
  CHECK(adapter.scale(q0) == 8.0 / 2);
  CHECK(adapter.scale(down1) == 5.0 / 3);
  CHECK(adapter.alphas.size() == 1);
  check_throws<ConfigError>([&] { write_peft(folder / "again", adapter); }, {"1 modules have alphas of their own"});
  folder.write({{name(q0, 'A'), counting_tensor({2, 3}, 1)},
                {name(q0, 'B'), counting_tensor({5, 3}, 1)},
                {name(down1, 'A'), counting_tensor({3, 4}, 1)},
                {name(down1, 'B'), counting_tensor({3, 3}, 1)}});
  check_throws<ShapeError>([&] { read_peft(folder); }, {name(q0, 'B'), "has shape (5, 3), expected (out, 2)"});
  folder.change([](json& c) { c.erase("rank_pattern"); });
  check_throws<ShapeError>([&] { read_peft(folder); }, {"expected (4, in)"});
}

TEST_CASE("missing, surplus and misshapen tensors") {
  const auto name = [](const std::string& module, char factor) {
    return fmt::format("base_model.model.{}.lora_{}.weight", module, factor);
  };
  const Tensor<float> a = counting_tensor({2, 3}, 0), b = counting_tensor({5, 2}, 0);
  Folder folder;
  folder.change([](json& c) { c["target_modules"] = {"q_proj"}; });
  folder.write({{name(q0, 'A'), a}, {name(q0, 'B'), b}});
  CHECK_NOTHROW(read_peft(folder));
  folder.write({{name(q0, 'A'), a}});
  check_throws<FormatError>([&] { read_peft(folder); }, {"adapter_model.safetensors", name(q0, 'B'), "is missing"});
  folder.write({{name(q0, 'B'), b}});
  check_throws<FormatError>([&] { read_peft(folder); }, {"not in the model", name(q0, 'B')});
  folder.write({{name(q0, 'A'), a}, {name(q0, 'B'), b}, {"base_model.model.lm_head.weight", b}});
  check_throws<FormatError>([&] { read_peft(folder); }, {"1 tensors", "'base_model.model.lm_head.weight'"});
  folder.write({{name(q0, 'A'), a}, {name(q0, 'B'), b}, {name(down1, 'A'), a}, {name(down1, 'B'), b}});
  check_throws<FormatError>([&] { read_peft(folder); }, {name(down1, 'A'), "none of the target_modules [\"q_proj\"]"});
  folder.write({{name(q0, 'A'), b}, {name(q0, 'B'), b}});
  check_throws<ShapeError>([&] { read_peft(folder); }, {name(q0, 'A'), "has shape (5, 2), expected (2, in)"});
  folder.write({{name(q0, 'A'), a}, {name(q0, 'B'), a}});
  check_throws<ShapeError>([&] { read_peft(folder); }, {name(q0, 'B'), "has shape (2, 3), expected (out, 2)"});
  folder.write(
      {{name("model.layers.0.self_attn.xq_proj", 'A'), a}, {name("model.layers.0.self_attn.xq_proj", 'B'), b}});
  check_throws<FormatError>([&] { read_peft(folder); }, {"none of the target_modules"});
  folder.change([](json& c) { c["target_modules"] = {"q_proj", "v_proj"}; });
  folder.write({{name(q0, 'A'), a}, {name(q0, 'B'), b}});
  check_throws<FormatError>([&] { read_peft(folder); }, {"target_modules 'v_proj' has no tensors"});
  std::filesystem::remove(folder / "adapter_model.safetensors");
  check_throws<FileError>([&] { read_peft(folder); }, {"adapter_model.safetensors", "No such file"});
}

TEST_CASE("an adapter that contradicts itself is not written") {
  const TemporaryFolder folder;
  PeftAdapter adapter = sample();
  adapter.rank = 3;
  check_throws<ShapeError>([&] { write_peft(folder / "a", adapter); },
                           {"write_peft", "has shape (2, 3), expected 3 rows"});
  adapter.rank = 2;
  adapter.modules.at(q0).b = counting_tensor({5, 3}, 10);
  check_throws<ShapeError>([&] { write_peft(folder / "a", adapter); },
                           {"write_peft", "b of " + q0 + " has shape (5, 3), expected 2 rows or columns"});
  adapter.modules.clear();
  check_throws<ConfigError>([&] { write_peft(folder / "a", adapter); }, {"write_peft", "0 modules"});
  CHECK(folder.count() == 0);
}

TEST_CASE("an adapter written by peft is read") {
  const auto path = real_data("huggingface/llama3_sharded_bf16/adapter");
  if (!path) return;
  const PeftAdapter adapter = read_peft(*path);
  CHECK(adapter.rank == 4);
  CHECK(adapter.alpha == 8);
  CHECK(adapter.dropout == 0);
  CHECK(adapter.targets == std::vector<std::string>{"q_proj", "k_proj", "v_proj", "o_proj"});
  CHECK(adapter.modules.size() == 3 * 4);
  CHECK(adapter.modules.at("model.layers.2.self_attn.k_proj").a.shape() == Shape{4, 48});
  CHECK(adapter.modules.at("model.layers.2.self_attn.k_proj").b.shape() == Shape{16, 4});

  const TemporaryFolder folder;  // and survives our own writing
  write_peft(folder, adapter);
  const PeftAdapter again = read_peft(folder);
  for (const auto& [module, pair] : adapter.modules) {
    CHECK(std::ranges::equal(pair.a.span(), again.modules.at(module).a.span()));
    CHECK(std::ranges::equal(pair.b.span(), again.modules.at(module).b.span()));
  }
}
