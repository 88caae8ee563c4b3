// Conformance of an adapter: call `check_adapter<MyAdapter>()` in a doctest TEST_CASE.
#pragma once

#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/gradient_check.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

namespace lolcats::testing {

namespace detail {

/// y = x W^T + (alpha / rank) x A^T B^T with the numbers of P: equals the loops, has the right gradients, and its
/// dropout acts in training only, the same way for the same seed.
template <AdapterPolicy P>
void check_adapter_operation(std::uint64_t seed) {
  using B = Cpu<double>;
  constexpr Index rows = 5, in = 7, out = 6;
  const double scale = P::alpha / static_cast<double>(P::rank);
  Rng rng(seed, 59);
  const auto x = normal<B>(Shape{rows, in}, rng);
  Parameter<B> w(normal<B>(Shape{out, in}, rng)), a(normal<B>(Shape{P::rank, in}, rng)),
      b(normal<B>(Shape{out, P::rank}, rng));
  const auto run = [&](bool training, std::uint64_t tape_seed, std::uint64_t stream) {
    Tape<B> tape;
    tape.training = training;
    tape.seed = tape_seed;
    poison(tape);
    return as_doubles(lora_linear<B>(tape, tape.constant(x.view()), w, a, b, scale, P::dropout, stream).value());
  };
  std::vector<double> want;
  for (Index m = 0; m < rows; ++m) {
    for (Index o = 0; o < out; ++o) {
      double sum = 0;
      for (Index i = 0; i < in; ++i) {
        double weight = w.value().data[o * in + i];
        for (Index r = 0; r < P::rank; ++r) {
          weight +=
              P::alpha / static_cast<double>(P::rank) * b.value().data[o * P::rank + r] * a.value().data[r * in + i];
        }
        sum += weight * x.data()[m * in + i];
      }
      want.push_back(sum);
    }
  }
  CHECK(close(want, run(false, 1, 1), 1e-13));
  CHECK(close(run(true, 1, 1), run(true, 1, 1), 0.0));
  if (P::dropout > 0) {
    CHECK(!close(run(true, 1, 1), run(true, 2, 1), 1e-9));
    CHECK(!close(run(true, 1, 1), run(true, 1, 2), 1e-9));
  } else {
    CHECK(close(want, run(true, 1, 1), 1e-13));
  }
  CHECK(check_gradients({x}, {&w, &a, &b}, [&](Tape<B>& tape, std::span<const Var<B>> v) {
    tape.training = true;
    return lora_linear<B>(tape, v[0], w, a, b, scale, P::dropout, 3);
  }));
}

}  // namespace detail

/// Everything an adapter promises: the operation with its numbers; and in a small model, that it sits on its targets
/// and nowhere else, changes nothing when fresh, does something when trained, and keeps the logits when merged and
/// unmerged.
template <AdapterPolicy P>
void check_adapter(std::uint64_t seed = 1) {
  using B = Cpu<double>;
  INFO(P::name());
  CHECK(!std::string(P::name()).empty());
  constexpr bool any = P::targets != Targets{};
  REQUIRE((P::rank > 0) == any);
  REQUIRE(P::dropout >= 0);
  REQUIRE(P::dropout < 1);
  if constexpr (any) detail::check_adapter_operation<P>(seed);

  LlamaConfig config;
  config.vocab_size = 19;
  config.hidden_size = 12;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 10;
  config.max_position = 32;
  auto teacher = random_llama<Llama<B>>(config, seed, 0.3);
  auto student = convert<Llama<B, Softmax<>, P>>(teacher, seed);
  Rng rng(seed, 61);
  const std::vector<Index> tokens = indices(9, config.vocab_size, rng);
  const Sequences sequences(9, {{0, 6, 0}, {6, 3, 0}});
  const auto logits = [&](auto& model) {
    Tape<B> tape;
    poison(tape);
    return as_doubles(model.logits(tape, tokens, sequences).value());
  };

  std::set<std::string> want, got;
  for (Index layer = 0; layer < config.layers; ++layer) {
    const auto expect = [&](Projections projection, const char* name) {
      if (!P::targets.contains(projection)) return;
      want.insert(fmt::format("model.layers.{}.{}.lora_A.weight", layer, name));
      want.insert(fmt::format("model.layers.{}.{}.lora_B.weight", layer, name));
    };
    expect(Projections::q, "self_attn.q_proj");
    expect(Projections::k, "self_attn.k_proj");
    expect(Projections::v, "self_attn.v_proj");
    expect(Projections::o, "self_attn.o_proj");
    expect(Projections::gate, "mlp.gate_proj");
    expect(Projections::up, "mlp.up_proj");
    expect(Projections::down, "mlp.down_proj");
  }
  for (const auto& [name, parameter] : student.adapter_parameters()) {
    got.insert(name);
    CHECK((name.find("lora_A") != std::string::npos ? parameter->shape()[0] : parameter->shape()[1]) == P::rank);
  }
  CHECK(got == want);

  const std::vector<double> plain = logits(teacher);
  CHECK(close(plain, logits(student), 1e-13));  // fresh: B is zero
  for (const auto& [name, parameter] : student.adapter_parameters()) {
    parameter->own(B{});
    for (double& value : parameter->mutable_value().span()) value = 0.5 * rng.normal();
  }
  const std::vector<double> adapted = logits(student);
  CHECK(static_cast<bool>(close(plain, adapted, 1e-6)) == !any);
  student.merge_adapters();
  CHECK(close(adapted, logits(student), 1e-12));
  student.unmerge_adapters();
  CHECK(close(adapted, logits(student), 0.0));
  student.use_adapters(false);
  CHECK(close(plain, logits(student), 1e-13));
  CHECK(close(plain, logits(teacher), 0.0));  // whose weights the student shares
}

}  // namespace lolcats::testing
