// What explain() says, by numbers counted on paper and by models that are there.
#include <lolcats/model/explain.hpp>

#include "models.hpp"

#include <lolcats/generate/generate.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace models;

namespace {

/// 5 layers of 4 query and 2 key/value heads of 6.
LlamaConfig plan() {
  LlamaConfig config;
  config.vocab_size = 13;
  config.hidden_size = 10;
  config.layers = 5;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.intermediate_size = 14;
  config.max_position = 64;
  return config;
}

Index numbers(const Parameters<Cpu<double>>& all) {
  Index count = 0;
  for (const auto& [name, parameter] : all) count += parameter->shape().size();
  return count;
}

/// What one sequence of a model holds after a prompt and a token, counted in the state that generates.
template <class Model>
std::size_t held_after(Model& model, Index prompt) {
  Reader<Model> reader(model, 1, 2048);
  reader.read_greedily({std::vector<Index>(static_cast<std::size_t>(prompt), 3)});
  reader.read_greedily({{3}});
  return reader.state().bytes();
}

}  // namespace

TEST_CASE("what stage 1 and stage 2 train, counted on paper") {
  const StudentFacts terraces = explain<Terraces>(plan(), 9);
  CHECK(terraces.name == Terraces::name());
  CHECK(terraces.layers == 5);
  REQUIRE(terraces.attentions.size() == 1);
  // Two maps of 6 x 4 per query head, and a gamma.
  CHECK(terraces.attentions[0].map_parameters == 4 * (2 * 6 * 4 + 1));
  // Rank 2 on q, k, v, o, gate, up, down: in + out each.
  const Index pairs = (10 + 24) + 2 * (10 + 12) + (24 + 10) + 2 * (10 + 14) + (14 + 10);
  CHECK(terraces.adapter_parameters == 5 * 2 * pairs);

  // T2R<6> with key maps per group: 4 + 2 maps of 6 x 6 with 6 biases, and 4 gammas.  Rank 2 on v and o.
  const StudentFacts grouped = explain<Grouped>(plan(), 9);
  CHECK(grouped.attentions[0].map_parameters == 6 * (6 * 6 + 6) + 4);
  CHECK(grouped.adapter_parameters == 5 * 2 * ((10 + 12) + (24 + 10)));

  auto model = random_llama<Grouped>(plan());
  CHECK(numbers(model.transfer_parameters()) == 5 * grouped.attentions[0].map_parameters);
  CHECK(numbers(model.adapter_parameters()) == grouped.adapter_parameters);

  const StudentFacts control = explain<Control<double>>(plan(), 9);
  CHECK(control.attentions[0].map_parameters == 0);
  CHECK(explain<Teacher<double>>(plan(), 9).adapter_parameters == 0);
}

TEST_CASE("the state is the one that generates") {
  const auto check = [](auto model, Index prompt) {
    const StudentFacts facts = explain<decltype(model)>(model.config(), prompt);
    CHECK(facts.prompt == prompt);
    CHECK(facts.attentions[0].state_bytes * 5 == held_after(model, prompt));
  };
  for (const Index prompt : {1, 9, 50}) {
    CAPTURE(prompt);
    check(random_llama<Terraces>(plan()), prompt);
    check(random_llama<Grouped>(plan()), prompt);
    check(random_llama<Teacher<double>>(plan()), prompt);
  }
  // Bounded, and not: a window's state stays, softmax remembers at least its keys and values.
  const auto bytes = [](const StudentFacts& facts) { return facts.attentions[0].state_bytes; };
  CHECK(bytes(explain<Terraces>(plan(), 5000)) <= 4 * bytes(explain<Terraces>(plan(), 50)));
  CHECK(bytes(explain<Teacher<double>>(plan(), 5000)) >= 5000 * 2 * 2 * 6 * sizeof(double));
}

TEST_CASE("which kernels, and why not the fused ones") {
  const StudentFacts facts = explain<Terraces>(plan(), 9);
  CHECK(facts.attentions[0].path == "general, as everything on cpu<double>");
  CHECK(facts.attentions[0].on_hopper == "general: a map of 4 columns, fused kernels take 64 or 128");

  using hopper::why_not_fused;
  CHECK(why_not_fused<Hedgehog<64>, Terraced<64>>(128) == "");
  CHECK(why_not_fused<T2R<128>, Sliding<100>>(64) == "");
  CHECK(why_not_fused<NoMap, Sinks<64, Sliding<60>>>(64) == "");
  CHECK(why_not_fused<Hedgehog<64>, Nothing>(64) == "");
  CHECK(why_not_fused<Hedgehog<64>, Terraced<64>>(96) == "heads of 96, fused kernels take 64 or 128");
  CHECK(why_not_fused<NoMap, Everything>(8) == "heads of 8, fused kernels take 64 or 128");
  CHECK(why_not_fused<T2R<96>, Terraced<64>>(64) == "a map of 96 columns, fused kernels take 64 or 128");
  CHECK(why_not_fused<Hedgehog<128>, Terraced<64>>(128) == "256 features, fused kernels take 64 or 128");
  CHECK(why_not_fused<Skip<HedgehogHalf<64>>, Terraced<64>>(64) == "fused kernels know no skip connections");
  CHECK(why_not_fused<Hedgehog<64>, Sinks<65, Sliding<64>>>(64) == "fused kernels know at most 64 sinks, not 65");
  CHECK(why_not_fused<Hedgehog<64>, Sinks<4, Nothing>>(64) == "fused kernels know no sinks without a window");
  CHECK(why_not_fused<Hedgehog<64>, Sliding<64>, Decay<HeadGate>>(64) == "fused kernels know no gates");
  CHECK(why_not_fused<NoMap, Sliding<64>, Kept<8, LearnedScore>>(64) == "fused kernels know no caches");
  CHECK(why_not_fused<GivenFeatures, Sliding<64>>(64) == "fused kernels compute features themselves, and only those of row maps");
}

TEST_CASE("each attention of PerLayer is explained, and the words say all of it") {
  using Mixed = Llama<Cpu<double>, PerLayer<Softmax<>, Terraces::Attention>, Lora<2>>;
  const StudentFacts facts = explain<Mixed>(plan(), 9);
  REQUIRE(facts.attentions.size() == 2);
  CHECK(facts.attentions[0] == explain<Teacher<double>>(plan(), 9).attentions[0]);
  CHECK(facts.attentions[1] == explain<Terraces>(plan(), 9).attentions[0]);

  const AttentionFacts& a = facts.attentions[1];
  CHECK(to_string(explain<Terraces>(plan(), 9)) ==
        Terraces::name() + "\n  attention       hybrid<hedgehog<4>, terraced<4>> in 5 layers\n" +
            "    kernels       general, as everything on cpu<double>\n" +
            "    on a Hopper   general: a map of 4 columns, fused kernels take 64 or 128 (GPU, bf16)\n" +
            fmt::format("    state         {} bytes per sequence and layer, decoding behind 9 tokens, {} in all\n", a.state_bytes, 5 * a.state_bytes) +
            "    maps          196 numbers per layer for stage 1, 980 in all\n" +
            fmt::format("  adapter         {} numbers for stage 2\n", 5 * 2 * 184));
}

TEST_CASE("a memory that corrects is explained beside its window") {
  using Window = Llama<Cpu<double>, Softmax<Sliding<4>>>;
  using Student = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Sliding<4>, KeyMapsPerGroup, DeltaRule<>>>;
  const std::string memory = "by the delta rule's own kernels";
  const AttentionFacts a = explain<Student>(plan(), 9).attentions.at(0), window = explain<Window>(plan(), 9).attentions.at(0);
  CHECK(a.path == "window: general, as everything on cpu<double>; memory: " + memory);
  CHECK(a.on_hopper == "window: general: heads of 6, fused kernels take 64 or 128; memory: " + memory);
  CHECK(a.state_bytes == window.state_bytes + sizeof(double) * 2 * 8 * 6);  // S (2, 8, 6)
  CHECK(a.map_parameters == (4 + 2) * 6 * 4 + 4 + 2 * (10 + 1));            // maps, gammas, and a rate of the input for each S
  using Alone = Llama<Cpu<double>, Linear<Hedgehog<4>, DeltaRule<NoGate>>>;
  CHECK(explain<Alone>(plan(), 9).attentions.at(0).path == memory);
}

TEST_CASE("sizes that cannot be explained") {
  LlamaConfig config = plan();
  config.head_dim = 7;
  CHECK_THROWS_WITH_AS(explain<Terraces>(config), doctest::Contains("head_dim is 7"), ConfigError);
  CHECK_THROWS_WITH_AS(explain<Terraces>(plan(), 0), doctest::Contains("a prompt of 0 tokens"), ConfigError);
}
