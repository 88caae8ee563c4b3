// A model of a few hundred weights on the CPU, for tests.
#pragma once

#include "tiny_rows.hpp"

#include <lolcats/backend/cpu.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/train/cpu.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tiny {

using namespace lolcats;

using Device = Cpu<double>;
using Teacher = Llama<Device>;

/// Weights large enough for attention to be far from uniform.
inline Teacher teacher(Index layers = 3, std::uint64_t seed = 1) {
  return random_llama<Teacher>(config(layers), seed, 0.4);
}

template <class Model>
Model student(Index layers = 3, std::uint64_t seed = 1) {
  return convert<Model>(teacher(layers, seed), seed);
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

}  // namespace tiny
