// A model of a few hundred weights and rows of random tokens, for tests.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/core/rng.hpp>
#include <lolcats/data/dataset.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/train/cpu.hpp>

#include <unistd.h>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace tiny {

using namespace lolcats;

using Device = Cpu<double>;
using Teacher = Llama<Device>;

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

/// Weights large enough for attention to be far from uniform.
inline Teacher teacher(Index layers = 3, std::uint64_t seed = 1) {
  return random_llama<Teacher>(config(layers), seed, 0.4);
}

template <class Model>
Model student(Index layers = 3, std::uint64_t seed = 1) {
  return convert<Model>(teacher(layers, seed), seed);
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

/// All values of some parameters, by name.
using Snapshot = std::vector<std::pair<std::string, std::vector<double>>>;

inline Snapshot snapshot(const Parameters<Device>& parameters) {
  Snapshot all;
  for (const auto& [name, parameter] : parameters) {
    const auto value = parameter->value();
    all.emplace_back(name, std::vector<double>(value.data, value.data + value.size()));
  }
  return all;
}

inline bool any_trained(const Parameters<Device>& parameters) {
  for (const auto& [name, parameter] : parameters) {
    if (parameter->trained()) return true;
  }
  return false;
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
