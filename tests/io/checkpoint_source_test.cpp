#include <lolcats/io/checkpoint_source.hpp>

#include "support.hpp"

using namespace lolcats;
using namespace io_test;

TEST_CASE("a folder with one .gguf file leads to it, with several to an error") {
  const TemporaryFolder folder;
  put(folder / "m.gguf", "GGUF");
  put(folder / "config.json", "{}");  // repositories of GGUF files have one
  CHECK(checkpoint_source(folder) == folder / "m.gguf");
  CHECK(checkpoint_source(folder / "config.json") == folder / "config.json");
  put(folder / "a.gguf", "");
  check_throws<FormatError>([&] { checkpoint_source(folder); },
                            {"holds 2 .gguf files, expected the path of one: a.gguf, m.gguf"});
}

TEST_CASE("safetensors come before .gguf files") {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    const TemporaryFolder folder;
    put(folder / "m.gguf", "GGUF");
    put(folder / name, "");
    CHECK(checkpoint_source(folder) == std::filesystem::path(folder));
  }
}

TEST_CASE("a GGUF file is known by its name or its content") {
  const TemporaryFolder folder;
  put(folder / "blob", "GGUF...");
  put(folder / "text", "GGU");
  put(folder / "m.gguf", "");
  CHECK(is_gguf_file(folder / "blob"));
  CHECK(is_gguf_file(folder / "m.gguf"));
  CHECK_FALSE(is_gguf_file(folder / "text"));
  check_throws<FileError>([&] { is_gguf_file(folder / "none"); }, {"none: cannot open for reading"});
}
