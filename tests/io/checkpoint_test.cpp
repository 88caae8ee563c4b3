#include <lolcats/io/checkpoint.hpp>

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
  put(folder / "m.gguf", "GGUF");
  check_throws<FormatError>([&] { open_checkpoint(folder / "m.gguf"); },
                            {"m.gguf: is not a checkpoint, expected a folder, a .safetensors file"});
  check_throws<FileError>([&] { open_checkpoint(folder / "none"); }, {"none: does not exist"});
}
