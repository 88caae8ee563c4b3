#include <lolcats/model/convert.hpp>

#include "models.hpp"

#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

using Sliding3 = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Sliding<3>>, Lora<2, all>>;
using OtherMap = Llama<Cpu<double>, Hybrid<Hedgehog<3>, Sliding<3>>, Lora<2, all>>;
using PureHedgehog = Llama<Cpu<double>, Linear<Hedgehog<4>>>;

/// How many parameters of the two lists have the same name, and how many of these the same storage.
struct Overlap {
  int names = 0, shared = 0;
};
Overlap overlap(const Parameters<Cpu<double>>& a, const Parameters<Cpu<double>>& b) {
  Overlap result;
  for (const auto& [name, parameter] : a) {
    for (const auto& [other, candidate] : b) {
      if (name != other) continue;
      ++result.names;
      result.shared += parameter->shares_storage_with(*candidate);
    }
  }
  return result;
}

}  // namespace

TEST_CASE("the student holds the teacher's tensors") {
  for (const bool tied : {false, true}) {
    auto teacher = random_llama<Teacher<double>>(tiny_config(tied), 4, 0.4);
    auto student = convert<Terraces>(teacher);
    const Overlap base = overlap(teacher.base_parameters(), student.base_parameters());
    CHECK(base.names == (tied ? 20 : 21));
    CHECK(base.shared == base.names);
    CHECK(student.head().value.data == teacher.head().value.data);
    CHECK(student.config() == teacher.config());

    // Training the student's copy leaves the teacher alone.
    auto* weight = student.base_parameters()[3].parameter;
    weight->train({});
    weight->mutable_value().data[0] += 1;
    CHECK(overlap(teacher.base_parameters(), student.base_parameters()).shared == base.names - 1);
    CHECK(close(numbers_of(teacher).at("model.norm.weight"), std::vector<double>(10, 1.0), 0));
  }
}

TEST_CASE("what is new starts by its rule: identity maps, gamma 0.1, no update") {
  auto teacher = random_llama<Teacher<double>>(tiny_config(), 4, 0.4);
  auto student = convert<Terraces>(teacher);
  for (const auto& [name, values] : numbers_of(student)) {
    CAPTURE(name);
    if (name.ends_with("window_factors")) {
      for (const double x : values) CHECK(1 / (1 + std::exp(-x)) == doctest::Approx(0.1).epsilon(1e-15));
    } else if (name.ends_with("mlp.layer")) {
      for (std::size_t i = 0; i < values.size(); ++i) CHECK(values[i] == (i / 4 % 6 == i % 4 ? 1.0 : 0.0));
    } else if (name.ends_with("lora_B.weight")) {
      for (const double x : values) CHECK(x == 0);
    }
  }
}

TEST_CASE("fresh values depend on the seed alone") {
  auto teacher = random_llama<Teacher<double>>(tiny_config(), 4, 0.4);
  auto a = convert<Grouped>(teacher, 5), b = convert<Grouped>(teacher, 5), c = convert<Grouped>(teacher, 6);
  const auto x = numbers_of(a), y = numbers_of(b), z = numbers_of(c);
  CHECK(x == y);
  for (const char* name :
       {"model.layers.1.self_attn.v_proj.lora_A.weight", "model.layers.0.self_attn.feature_map_q.mlp.bias"}) {
    CHECK(x.at(name) != z.at(name));
  }
}

TEST_CASE("an endless window is the teacher") {
  auto teacher = vivid<Teacher<double>>(tiny_config());
  auto student = convert<Terraces>(teacher);  // a terrace of 4: up to 5 tokens have no far key
  const Sequences five = Sequences::rectangular(1, 5);
  const std::vector<Index> tokens = {3, 1, 4, 1, 5};
  CHECK(close(logits_of(teacher, tokens, five), logits_of(student, tokens, five), 1e-13));
}

TEST_CASE("maps, gamma and adapters go along where both types have the same") {
  auto tuned = vivid<Terraces>(tiny_config());
  auto sliding = convert<Sliding3>(tuned);
  CHECK(overlap(tuned.transfer_parameters(), sliding.transfer_parameters()).shared == 6);
  CHECK(overlap(tuned.adapter_parameters(), sliding.adapter_parameters()).shared == 28);

  auto pure = convert<PureHedgehog>(tuned);  // no gamma, no adapter
  CHECK(overlap(tuned.transfer_parameters(), pure.transfer_parameters()).shared == 4);

  auto other = convert<OtherMap>(tuned);  // fewer features: gamma and adapters only
  CHECK(overlap(tuned.transfer_parameters(), other.transfer_parameters()).shared == 2);
  CHECK(overlap(tuned.adapter_parameters(), other.adapter_parameters()).shared == 28);

  auto grouped = convert<Grouped>(tuned);
  CHECK(overlap(tuned.adapter_parameters(), grouped.adapter_parameters()).shared == 0);
}

TEST_CASE("merged weights are handed on, and the update is not applied twice") {
  auto tuned = vivid<Control<double>>(tiny_config());
  const TinyBatch batch = tiny_batch();
  const auto want = logits_of(tuned, batch.tokens, batch.sequences);
  tuned.merge_adapters();
  auto next = convert<Control<double>>(tuned);
  CHECK_FALSE(next.merged());
  CHECK(close(want, logits_of(next, batch.tokens, batch.sequences), 1e-13));
  auto plain = convert<Teacher<double>>(tuned);
  CHECK(close(want, logits_of(plain, batch.tokens, batch.sequences), 1e-13));
}
