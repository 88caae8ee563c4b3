#include <lolcats/model/load.hpp>

#include "models.hpp"

#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include <unistd.h>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

/// A folder that disappears with the test.
struct ModelFolder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("lolcats_load_test_{}", ::getpid());
  ModelFolder() { std::filesystem::remove_all(path); }
  ~ModelFolder() { std::filesystem::remove_all(path); }
};

/// The base tensors of a model under their names, ready to be changed and written.
struct Named {
  std::map<std::string, Tensor<double>> tensors;
  template <class Model>
  explicit Named(Model& model) {
    for (const auto& [name, parameter] : model.base_parameters()) {
      Tensor<double> copy(parameter->shape());
      std::copy_n(parameter->value().data, copy.size(), copy.data());
      tensors.emplace(name, copy);
    }
  }
  void write(const std::filesystem::path& folder, const LlamaConfig& config) const {
    std::vector<NamedTensor> list;
    for (const auto& [name, tensor] : tensors) list.emplace_back(name, tensor);
    write_huggingface(folder, config, list);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("save and load, bit for bit", Model, Teacher<double>, Control<float>) {
  for (const bool tied : {false, true}) {
    const ModelFolder folder;
    auto model = vivid<Model>(tiny_config(tied));
    save_llama(model, folder.path);
    auto loaded = load_llama<Model>(folder.path);
    CHECK(loaded.config() == model.config());
    const auto want = numbers_of(model), got = numbers_of(loaded);
    for (const auto& [name, parameter] : model.base_parameters()) CHECK(want.at(name) == got.at(name));
    const TinyBatch batch = tiny_batch();
    auto base = load_llama<Llama<typename Model::Device>>(folder.path);  // no adapter
    if constexpr (Model::Adapter::rank > 0) model.use_adapters(false);
    CHECK(numbers_of(base) == [&] {
      auto only = want;
      for (const auto& [name, parameter] : model.adapter_parameters()) only.erase(name);
      return only;
    }());
  }
}

TEST_CASE_TEMPLATE("a Qwen is saved and loaded, bit for bit, and what it lacks or has too much is named", Model,
                   Teacher<double>, Control<float>) {
  for (const auto& [biases, norms] : {std::pair{true, false}, {false, true}}) {
    const ModelFolder folder;
    LlamaConfig config = qwen_config(biases, norms, norms);
    config.sliding_window = biases ? 3 : 0;
    auto model = vivid<Model>(config);
    save_llama(model, folder.path);
    auto loaded = load_llama<Model>(folder.path);
    CHECK(loaded.config() == config);
    const auto want = numbers_of(model), got = numbers_of(loaded);
    for (const auto& [name, parameter] : model.base_parameters()) CHECK(want.at(name) == got.at(name));

    Named named(model);
    const std::string last = biases ? "model.layers.1.self_attn.k_proj.bias" : "model.layers.1.self_attn.k_norm.weight";
    named.tensors.erase(last);
    named.write(folder.path, config);
    CHECK_THROWS_WITH_AS(load_llama<Model>(folder.path), doctest::Contains(("tensor '" + last + "' is missing").c_str()),
                         FormatError);
    Named surplus(model);
    surplus.write(folder.path, tiny_config(norms));  // a Llama's config beside a Qwen's tensors
    CHECK_THROWS_WITH_AS(load_llama<Model>(folder.path), doctest::Contains("in the file but not in the model"), FormatError);
  }
}

TEST_CASE("a backend names its softmax model") {
  const ModelFolder folder;
  auto model = vivid<Teacher<double>>(tiny_config());
  save_llama(model, folder.path);
  auto loaded = load_llama<Cpu<double>>(folder.path);
  static_assert(std::is_same_v<decltype(loaded), Teacher<double>>);
  const TinyBatch batch = tiny_batch();
  CHECK(same(logits_of(model, batch.tokens, batch.sequences), logits_of(loaded, batch.tokens, batch.sequences)));
}

TEST_CASE("BF16 on disk rounds once") {
  const ModelFolder folder;
  auto model = vivid<Teacher<double>>(tiny_config());
  save_llama(model, folder.path, DType::BF16);
  auto loaded = load_llama<Teacher<double>>(folder.path);
  const auto got = numbers_of(loaded);
  for (const auto& [name, values] : numbers_of(model)) {
    CHECK(close(values, got.at(name), 0x1p-8));
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK(got.at(name)[i] == static_cast<double>(static_cast<float>(bf16(static_cast<float>(values[i])))));
    }
  }
}

TEST_CASE("merged adapters are saved as weights") {
  const ModelFolder folder;
  auto model = vivid<Control<double>>(tiny_config());
  const TinyBatch batch = tiny_batch();
  const auto want = logits_of(model, batch.tokens, batch.sequences);
  model.merge_adapters();
  save_llama(model, folder.path);
  auto loaded = load_llama<Teacher<double>>(folder.path);
  CHECK(close(want, logits_of(loaded, batch.tokens, batch.sequences), 1e-13));
}

TEST_CASE("tied embeddings under either name, or both") {
  auto model = vivid<Teacher<double>>(tiny_config(true));
  const std::string table = "model.embed_tokens.weight", head = "lm_head.weight";
  for (const int form : {0, 1, 2}) {
    CAPTURE(form);
    const ModelFolder folder;
    Named named(model);
    if (form > 0) named.tensors[head] = named.tensors.at(table);
    if (form > 1) named.tensors.erase(table);
    named.write(folder.path, model.config());
    auto loaded = load_llama<Teacher<double>>(folder.path);
    CHECK(numbers_of(loaded) == numbers_of(model));
  }
  const ModelFolder folder;
  Named named(model);
  named.tensors[head] = Tensor<double>(Shape{13, 10});
  std::fill_n(named.tensors[head].data(), 130, 1.0);
  named.write(folder.path, model.config());
  CHECK_THROWS_WITH_AS(load_llama<Teacher<double>>(folder.path), doctest::Contains("differ"), FormatError);
}

TEST_CASE("strict: missing, surplus, another shape") {
  auto model = vivid<Teacher<double>>(tiny_config());
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  {
    const ModelFolder folder;
    Named named(model);
    named.tensors.erase(name);
    named.write(folder.path, model.config());
    CHECK_THROWS_WITH_AS(load_llama<Teacher<double>>(folder.path),
                         doctest::Contains("'model.layers.1.mlp.up_proj.weight' is missing"), FormatError);
  }
  {
    const ModelFolder folder;
    Named named(model);
    named.tensors["model.layers.2.mlp.up_proj.weight"] = Tensor<double>(Shape{0});
    named.write(folder.path, model.config());
    CHECK_THROWS_WITH_AS(load_llama<Teacher<double>>(folder.path),
                         doctest::Contains("model.layers.2.mlp.up_proj.weight"), FormatError);
  }
  {
    const ModelFolder folder;
    Named named(model);
    std::swap(named.tensors.at(name), named.tensors.at("model.layers.1.mlp.down_proj.weight"));
    named.write(folder.path, model.config());
    CHECK_THROWS_WITH_AS(load_llama<Teacher<double>>(folder.path), doctest::Contains("expected (7, 10)"), ShapeError);
  }
  {  // untied, but without a head of its own
    const ModelFolder folder;
    Named named(model);
    named.tensors.erase("lm_head.weight");
    named.write(folder.path, model.config());
    CHECK_THROWS_WITH_AS(load_llama<Teacher<double>>(folder.path), doctest::Contains("'lm_head.weight' is missing"),
                         FormatError);
  }
  CHECK_THROWS_AS(load_llama<Teacher<double>>("/nowhere/at/all"), FileError);
}

TEST_CASE("a failed save leaves the older checkpoint") {
  const ModelFolder folder;
  auto model = vivid<Teacher<double>>(tiny_config());
  save_llama(model, folder.path);
  auto other = vivid<Teacher<double>>(tiny_config(), 77);
  CHECK_THROWS_AS(save_llama(other, folder.path, DType::I64), Error);
  CHECK(numbers_of(model) == [&] {
    auto loaded = load_llama<Teacher<double>>(folder.path);
    return numbers_of(loaded);
  }());
}
