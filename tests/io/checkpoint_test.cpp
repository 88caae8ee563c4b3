#include <lolcats/io/checkpoint.hpp>

#include "gguf_support.hpp"
#include "support.hpp"

using namespace lolcats;
using namespace io_test;

TEST_CASE("a path leads to the reader of its format") {
  const TemporaryFolder folder;
  LlamaConfig config;
  config.vocab_size = 5;
  config.hidden_size = config.head_dim = 4;
  config.layers = config.heads = config.kv_heads = 1;
  config.intermediate_size = 3;
  config.max_position = 16;
  Tensor<float> w(Shape{1});
  w.data()[0] = 2;
  write_huggingface(folder, config, {{"w", w}});
  CHECK(open_checkpoint(folder).config == config);
  CHECK(open_checkpoint(folder / "model.safetensors").config == config);
  CHECK(open_checkpoint(folder / "model.safetensors").weights.read<float>("w").data()[0] == 2);

  put(folder / "m.bin", "short");
  check_throws<FormatError>([&] { open_checkpoint(folder / "m.bin"); }, {"m.bin: holds 5 bytes"});
  put(folder / "m.gguf", GgufFile().set("general.architecture", "gemma").bytes());
  check_throws<ConfigError>([&] { open_checkpoint(folder / "m.gguf"); }, {"m.gguf: 'general.architecture' is 'gemma'"});
  put(folder / "m", GgufFile().set("general.architecture", "gemma").bytes());  // known by its content
  check_throws<ConfigError>([&] { open_checkpoint(folder / "m"); }, {"m: 'general.architecture' is 'gemma'"});
  put(folder / "broken.gguf", "short");
  check_throws<FormatError>([&] { open_checkpoint(folder / "broken.gguf"); }, {"does not begin with 'GGUF'"});
  CHECK(open_checkpoint(folder).config == config);  // the safetensors come before .gguf files
}

TEST_CASE("what is no checkpoint says what would be one") {
  const TemporaryFolder folder;
  const auto refused = [&]<class E>(E, const std::string& name, std::initializer_list<std::string_view> parts) {
    check_throws<E>([&] { open_checkpoint(folder / name); }, parts);
  };
  const auto list =
      "expected a Hugging Face folder, a .gguf file, a .safetensors file beside its config.json or a llama2.c .bin "
      "file";
  refused(FileError(""), "none", {"none: does not exist", list});
  put(folder / "m.txt", "text");
  refused(FormatError(""), "m.txt", {"m.txt: is not a checkpoint", list});
  put(folder / "pytorch_model.bin", "PK\3\4");
  refused(FormatError(""), "pytorch_model.bin", {"pytorch_model.bin: is a PyTorch checkpoint", list});
  put(folder / "alone.safetensors", safetensors_bytes("{}", ""));
  refused(FileError(""), "alone.safetensors", {"alone.safetensors: there is no config.json beside it"});
  put(folder / "model-00001-of-00002.safetensors", safetensors_bytes("{}", ""));
  put(folder / "model.safetensors.index.json", "{}");
  refused(FormatError(""), "model-00001-of-00002.safetensors", {"is one shard of a model, expected its folder"});
  put(folder / "pointer.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
  refused(FormatError(""), "pointer.gguf", {"pointer.gguf: is a Git LFS pointer"});

  const auto inside = [&](const char* name, const char* file) {
    std::filesystem::create_directory(folder / name);
    put(folder / name / file, "{}");
  };
  inside("empty", "README.md");
  refused(FormatError(""), "empty", {"empty: holds no model.safetensors, no model.safetensors.index.json", list});
  inside("adapter", "adapter_config.json");
  refused(ConfigError(""), "adapter", {"adapter: holds a PEFT adapter", list});
  inside("student", "lolcats.json");
  refused(ConfigError(""), "student", {"student: holds what linearizing added", list});
}
