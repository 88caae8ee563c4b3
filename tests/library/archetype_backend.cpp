// The whole method over a backend that has the kernels of docs/backends.md and nothing more: compiled, never linked.
#include <lolcats/data/dataset.hpp>
#include <lolcats/eval/attention_map.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/explain.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/archetype_backend.hpp>
#include <lolcats/testing/archetypes.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/transfer.hpp>

using namespace lolcats;
using B = testing::ArchetypeBackend;

template <class Student>
void whole_method(Llama<B>& teacher, const DataSet& text) {
  auto student = convert<Student>(teacher);
  explain<Student>(teacher.config());
  transfer_attention(student, text, text);
  finetune(student, text, text);
  perplexity(student, text);
  generate(student, {{1}});
  student.merge_adapters();
}

void over_the_archetype(const LlamaConfig& config, const DataSet& text) {
  auto teacher = random_llama<Llama<B>>(config);
  pretrain(teacher, text, text, PretrainRecipe<>{});
  whole_method<Llama<B, Hybrid<Hedgehog<8>, Terraced<64>>, Lora<2, qkvo, 4, Ratio{1, 2}>>>(teacher, text);
  whole_method<Llama<B, Linear<testing::ArchetypeMap, Decay<HeadGate>>, testing::ArchetypeAdapter>>(teacher, text);
}

/// The operations that no model needs.
void others(Tape<B>& tape, Var<B> x, Weight<B> w, const Sequences& sequences, const Heads& heads, const AttentionWeights<B>& weights) {
  using A = Hybrid<Hedgehog<8>, Terraced<64>>;
  feature_map<Hedgehog<8>>(tape, x, w, {}, 2);
  concat(tape, softmax(tape, exp(tape, multiply(tape, x, x)), 2), x, 2);
  lerp(tape, x, x, w);
  blend(tape, x, x, w);
  delta_rule<ProjectedGate>(tape, x, x, x, x, w, sequences, heads);
  AttentionState<B> state;
  attention_step<Hybrid<Hedgehog<8>, Terraced<64>, DeltaRule<>>>(tape, attention<Linear<Hedgehog<8>, DeltaRule<>>>(tape, x, x, x, sequences, heads, weights),
                                                                x, x, sequences, heads, state, weights);
  novelty(tape, x, sequences, 2);
  weight_cross_entropy<A>(tape, x, x, sequences, heads, weights, Terraced<64>(), Sliding<>(8), 1.0);
  visit_attention_weights<A>(tape.backend(), x.value(), x.value(), sequences, heads, weights, Terraced<64>(), [](auto&&...) {});
  largest_far_weights(tape.backend(), x.value(), x.value(), sequences, heads, Sliding<>(8), Terraced<64>());
}
