#include <lolcats/io/safetensors_writer.hpp>
#include <lolcats/io/tensor_store.hpp>

#include "support.hpp"

using namespace lolcats;
using namespace io_test;

namespace {

TensorStore store_of(const std::filesystem::path& path, const std::vector<std::string>& names) {
  Tensor<float> one(Shape{1, 2});
  one.data()[0] = 1, one.data()[1] = 2;
  std::vector<NamedTensor> tensors;
  for (const std::string& name : names) tensors.emplace_back(name, one);
  write_safetensors(path, tensors);
  return TensorStore(Safetensors(path));
}

}  // namespace

TEST_CASE("a store reads its tensors by name and shape") {
  const TemporaryFolder folder;
  TensorStore store = store_of(folder / "m.safetensors", {"b", "a"});
  CHECK(store.names() == std::vector<std::string>{"a", "b"});
  CHECK(store.contains("a"));
  CHECK_FALSE(store.contains("c"));
  CHECK(store.info("a").shape == std::vector<Index>{1, 2});
  CHECK(store.read<double>("a", {1, 2}).data()[1] == 2);
  CHECK(store.read<float>("b").shape() == Shape{1, 2});
  CHECK_NOTHROW(store.require_all_read());
}

TEST_CASE("missing, misshapen and doubled tensors name the file") {
  const TemporaryFolder folder;
  TensorStore store = store_of(folder / "m.safetensors", {"a"});
  const std::string file = (folder / "m.safetensors").string();
  check_throws<FormatError>([&] { store.read<float>("b", {1}); }, {file, "tensor 'b' is missing"});
  check_throws<FormatError>([&] { store.info("b"); }, {file, "tensor 'b' is missing"});
  check_throws<ShapeError>([&] { store.read<float>("a", {2, 1}); }, {file, "has shape (1, 2), expected (2, 1)"});
  check_throws<FormatError>([&] { store.add(Safetensors(folder / "m.safetensors")); },
                            {"tensor 'a' is already in", file});
}

TEST_CASE("surplus tensors are listed") {
  const TemporaryFolder folder;
  TensorStore store = store_of(folder / "m.safetensors",
                               {"a", "b", "c", "lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"});
  store.read<float>("a");
  check_throws<FormatError>([&] { store.require_all_read(); },
                            {(folder / "m.safetensors").string(), "3 tensors", "'b', 'c', 'lm_head.weight'"});
  // A failed read is no read.
  check_throws<ShapeError>([&] { store.read<float>("b", {7}); }, {"'b'"});
  check_throws<FormatError>([&] { store.require_all_read({"lm_head.weight"}); }, {"2 tensors", "'b', 'c'"});
  store.read<float>("b");
  store.read<float>("c");
  CHECK_NOTHROW(store.require_all_read({"lm_head.weight"}));

  std::vector<std::string> many;
  for (int i = 0; i < 500; ++i) many.push_back(fmt::format("tensor{:03}", i));
  check_throws<FormatError>([&] { store_of(folder / "n", many).require_all_read(); },
                            {"500 tensors", "'tensor000'", "'tensor007', ..."});
}
