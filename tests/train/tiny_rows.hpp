// The sizes of a model of a few hundred weights, rows of random tokens and a folder to write to, for tests.
#pragma once

#include <lolcats/core/rng.hpp>
#include <lolcats/data/dataset.hpp>
#include <lolcats/io/llama_config.hpp>

#include <unistd.h>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace tiny {

using namespace lolcats;

inline LlamaConfig config(Index layers = 3) {
  LlamaConfig c;
  c.vocab_size = 19;
  c.hidden_size = 16;
  c.layers = layers;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 4;
  c.intermediate_size = 20;
  c.max_position = 64;
  return c;
}

/// Rows of random tokens; lengths as given, over and over.
inline DataSet data(Index rows, std::vector<Index> lengths = {11}, std::uint64_t seed = 5, Index vocabulary = 19) {
  std::vector<Row> list;
  for (Index r = 0; r < rows; ++r) {
    Rng rng(seed, static_cast<std::uint64_t>(r));
    Row row;
    const Index length = lengths[static_cast<std::size_t>(r) % lengths.size()];
    for (Index i = 0; i < length; ++i)
      row.tokens.push_back(static_cast<Index>(rng.below(static_cast<std::uint64_t>(vocabulary))));
    row.labels = row.tokens;
    row.starts = {0};
    list.push_back(std::move(row));
  }
  return DataSet(std::move(list));
}

/// A path in a folder of its own, which is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "lolcats_test_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

}  // namespace tiny
