#include <doctest/doctest.h>
#include <lolcats/data/model_template.hpp>

#include <filesystem>
#include <string>

#include "plain_tokenizer.hpp"

using namespace lolcats;  // tests only
namespace fs = std::filesystem;

TEST_CASE("a model's folder brings its chat template") {
  const fs::path folder = fs::temp_directory_path() / "lolcats-model-template";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const auto name = [&](const fs::path& model) -> std::string_view {
    const auto form = chat_template_of_model(model, tests::chat_tokenizer());
    return form ? form->name : "none";
  };
  const auto config = [&](const std::string& json) {
    write_file_atomically(folder / "tokenizer_config.json", std::string_view(json));
  };
  CHECK(name(folder) == "chatml");  // the tokenizer's special tokens
  config(R"({"chat_template": null})");
  CHECK(name(folder) == "chatml");
  config(R"({"chat_template": "[INST] <<SYS>>"})");
  CHECK(name(folder) == "llama2");
  CHECK(name(folder / "model.safetensors") == "llama2");
  config(
      R"({"chat_template": [{"name": "tool", "template": ""}, {"name": "default", "template": "<|start_header_id|>"}]})");
  CHECK(name(folder) == "llama3");
  config(R"({"chat_template": "of a model that nobody knows"})");
  CHECK(name(folder) == "none");
  config(R"({"chat_template": [{"name": "tool", "template": ""}]})");
  CHECK_THROWS_AS(name(folder), FormatError);
  config(R"({"chat_template": 7})");
  CHECK_THROWS_AS(name(folder), FormatError);
  config("[]");
  CHECK_THROWS_AS(name(folder), FormatError);
  write_file_atomically(folder / "chat_template.jinja", std::string_view("### Instruction:"));
  CHECK(name(folder) == "alpaca");
  fs::remove_all(folder);
}
