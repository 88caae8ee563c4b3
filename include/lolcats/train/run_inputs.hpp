// What a stage is computed from besides its recipe: weights, sizes and data, as inputs of the recipe.
#pragma once

#include <lolcats/io/llama_config.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/train/recipe_fields.hpp>

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

namespace lolcats::detail {

/// The caller may know an input already, and then nothing is computed.
template <class F>
void add_input(RunIdentity& inputs, const std::string& name, F&& text) {
  if (!inputs.contains(name)) inputs[name] = text();
}

/// What no weight shows.
inline void add_config(RunIdentity& inputs, const LlamaConfig& c) {
  const auto add = [&](const char* name, auto value) { inputs.try_emplace(name, fmt::format("{}", value)); };
  add("heads", c.heads);
  add("kv_heads", c.kv_heads);
  add("rms_eps", c.rms_eps);
  add("sliding_window", c.sliding_window);
  add("rope", fmt::format("{}, theta {}", name_of(c.rope.kind), c.rope.theta));
  if (c.rope.kind == RopeKind::Default) return;
  add("rope_scaling", fmt::format("factor {}, low {}, high {}, original {}", c.rope.factor, c.rope.low_freq_factor,
                                  c.rope.high_freq_factor, c.rope.original_max_position));
}

/// A model whose base is not trained.
template <class Model>
void add_model(RunIdentity& inputs, Model& model) {
  add_config(inputs, model.config());
  add_input(inputs, "base", [&] { return fingerprint_of_base(std::as_const(model), false); });
}

/// Sets that know their fingerprint; of others only the number of rows is known.
template <class Train, class Validation>
void add_data(RunIdentity& inputs, const Train& train, const Validation& validation) {
  const auto add = [&](const char* name, const auto& data) {
    if constexpr (requires { { data.fingerprint() } -> std::convertible_to<std::uint64_t>; }) {
      add_input(inputs, name, [&] { return fmt::format("{:016x}", data.fingerprint()); });
    }
  };
  add("training data", train);
  add("validation data", validation);
}

}  // namespace lolcats::detail
