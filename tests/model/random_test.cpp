#include <lolcats/model/finite_weights.hpp>
#include <lolcats/model/random.hpp>

#include "models.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>

using namespace models;

TEST_CASE("matrices are normal, norms are one") {
  LlamaConfig config = tiny_config();
  config.hidden_size = 64;
  config.vocab_size = 500;
  auto model = random_llama<Teacher<double>>(config, 1, 0.02);
  for (const auto& [name, values] : numbers_of(model)) {
    CAPTURE(name);
    if (name.find("norm") != std::string::npos) {
      for (const double x : values) CHECK(x == 1);
      continue;
    }
    double sum = 0, squares = 0;
    for (const double x : values) {
      sum += x;
      squares += x * x;
    }
    const auto n = static_cast<double>(values.size());
    // Five standard deviations of the mean and of the deviation.
    CHECK(std::abs(sum / n) < 5 * 0.02 / std::sqrt(n));
    CHECK(std::abs(std::sqrt(squares / n) - 0.02) < 5 * 0.02 / std::sqrt(2 * n));
  }
}

TEST_CASE("biases are zero, norms of heads are one, and the other weights are as without them") {
  auto plain = random_llama<Teacher<double>>(tiny_config()),
       qwen = random_llama<Teacher<double>>(qwen_config(true, true));
  const auto numbers = numbers_of(qwen);
  int biases = 0, norms = 0;
  for (const auto& [name, values] : numbers) {
    CAPTURE(name);
    const bool bias = name.ends_with(".bias");
    if (!bias && name.find("norm") == std::string::npos) continue;
    for (const double x : values) CHECK(x == (bias ? 0 : 1));
    ++(bias ? biases : norms);
  }
  CHECK(biases == 2 * 3);
  CHECK(norms == 2 * 4 + 1);
}

TEST_CASE("what writes to the residual stream may start smaller") {
  auto plain = random_llama<Teacher<double>>(tiny_config(), 1, 0.02);
  auto scaled = random_llama<Teacher<double>>(tiny_config(), 1, 0.02, {}, 0.01);
  const auto a = numbers_of(plain), b = numbers_of(scaled);
  for (const auto& [name, values] : a) {
    CAPTURE(name);
    const bool residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK(b.at(name)[i] == doctest::Approx(residual ? values[i] / 2 : values[i]).epsilon(1e-14));
    }
  }
}

TEST_CASE("a seed is a model") {
  auto a = random_llama<Teacher<double>>(tiny_config(), 1), b = random_llama<Teacher<double>>(tiny_config(), 1),
       c = random_llama<Teacher<double>>(tiny_config(), 2);
  CHECK(numbers_of(a) == numbers_of(b));
  CHECK(numbers_of(a) != numbers_of(c));
  auto x = numbers_of(a);
  CHECK(x.at("model.layers.0.self_attn.k_proj.weight") != x.at("model.layers.1.self_attn.k_proj.weight"));
  CHECK(x.at("model.layers.0.self_attn.k_proj.weight") != x.at("model.layers.0.self_attn.v_proj.weight"));
}

TEST_CASE("a weight that is no number is named by tensor and place") {
  auto model = random_llama<Teacher<double>>(tiny_config());
  CHECK_NOTHROW(require_finite_weights(model, "FILE"));
  const auto all = model.base_parameters();
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const auto& [name, parameter] = all.back();
    double& x = parameter->mutable_value().data[2];
    const double kept = std::exchange(x, bad);
    std::string message;
    try {
      require_finite_weights(model, "FILE");
    } catch (const NumericError& error) {
      message = error.what();
    }
    CAPTURE(message);
    CHECK(message.starts_with("FILE: tensor '" + name + "' of shape "));
    CHECK(message.ends_with(fmt::format(" is {} at element 2", bad)));
    x = kept;
  }
}
