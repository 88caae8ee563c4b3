// What lolcats::kernels compiles once for all units of a program: cmake/compiled.cpp.
//
// Units that lolcats_students writes include it.  In our own programs CMake precompiles it and puts it in front of the units
// of examples and benchmarks and of the tests that build models (lolcats_precompile).  The declarations below then keep a
// unit from instantiating, again, what does not depend on a student's policies, which is half of what it would have to
// compile.  The library knows nothing of it.
//
// Included is what most of these units train with, not the umbrella: a precompiled header saves parsing, but every unit
// instantiates whatever templates its inline functions use.  Those of readers and tokenizers take five seconds.
//
// Listed are function templates, the outermost of what calls what: members that are defined in their class are inline,
// and would be instantiated in spite of a declaration.
#pragma once

#include <lolcats/data/dataset.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/eval/recall.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/load.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/any_schedule.hpp>
#include <lolcats/train/cpu.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/resume.hpp>
#include <lolcats/train/transfer.hpp>

#ifndef LOLCATS_COMPILED
#define LOLCATS_COMPILED extern template
#endif

#define LOLCATS_COMPILED_FOR(B)                                                                                        \
  LOLCATS_COMPILED Var<B> add(Tape<B>&, Var<B>, Var<B>);                                                               \
  LOLCATS_COMPILED std::vector<Index> arg_max(Tape<B>&, Var<B>);                                                       \
  LOLCATS_COMPILED Var<B> attention<Softmax<>>(Tape<B>&, Var<B>, Var<B>, Var<B>, const Sequences&, const Heads&,       \
                                               const AttentionWeights<B>&, Softmax<>::Window);                         \
  LOLCATS_COMPILED Loss<B> cross_entropy(Tape<B>&, Var<B>, Weight<B>, std::span<const Index>, double);                 \
  LOLCATS_COMPILED View<Real<B>> token_losses(Tape<B>&, View<const Scalar<B>>, View<const Scalar<B>>,                  \
                                              std::span<const Index>);                                                 \
  LOLCATS_COMPILED Var<B> dropout(Tape<B>&, Var<B>, double, std::uint64_t);                                            \
  LOLCATS_COMPILED Var<B> embedding(Tape<B>&, std::span<const Index>, Weight<B>);                                      \
  LOLCATS_COMPILED Var<B> linear(Tape<B>&, Var<B>, Weight<B>, Weight<B>);                                              \
  LOLCATS_COMPILED Var<B> lora_linear(Tape<B>&, Var<B>, Weight<B>, Weight<B>, Weight<B>, double, double,               \
                                      std::uint64_t, Weight<B>);                                                       \
  LOLCATS_COMPILED Var<B> rms_norm(Tape<B>&, Var<B>, Weight<B>, double);                                               \
  LOLCATS_COMPILED Var<B> rms_norm_heads(Tape<B>&, Var<B>, Weight<B>, double);                                         \
  LOLCATS_COMPILED Var<B> rope(Tape<B>&, Var<B>, const Sequences&, const RopeTable<B>&);                               \
  LOLCATS_COMPILED Loss<B> squared_error(Tape<B>&, Var<B>, View<const Scalar<B>>, double);                             \
  LOLCATS_COMPILED Loss<B> mse(Tape<B>&, Var<B>, View<const Scalar<B>>);                                               \
  LOLCATS_COMPILED Var<B> swiglu(Tape<B>&, Var<B>, Var<B>);                                                            \
  LOLCATS_COMPILED void zero_gradients(const B&, const Parameters<B>&);                                                \
  LOLCATS_COMPILED double global_norm(const B&, const Parameters<B>&);                                                 \
  LOLCATS_COMPILED double clip_by_global_norm(const B&, const Parameters<B>&, double);                                 \
  LOLCATS_COMPILED void save_training_state(const std::filesystem::path&, const RunIdentity&, const B&,                \
                                            const AdamW<B>&, const ReduceOnPlateau::State&, const EarlyStopping<B>&,   \
                                            const std::vector<TrainingPoint>&);                                        \
  LOLCATS_COMPILED void load_training_state(const std::filesystem::path&, const RunIdentity&, const B&, AdamW<B>&,     \
                                            ReduceOnPlateau::State&, EarlyStopping<B>&, std::vector<TrainingPoint>&);  \
  LOLCATS_COMPILED void save_training_state(const std::filesystem::path&, const RunIdentity&, const B&,                \
                                            const AdamW<B>&, const AnySchedule::State&, const EarlyStopping<B>&,       \
                                            const std::vector<TrainingPoint>&);                                        \
  LOLCATS_COMPILED void load_training_state(const std::filesystem::path&, const RunIdentity&, const B&, AdamW<B>&,     \
                                            AnySchedule::State&, EarlyStopping<B>&, std::vector<TrainingPoint>&);      \
  LOLCATS_COMPILED Llama<B> load_llama<Llama<B>>(Checkpoint, std::uint64_t, B);                                        \
  LOLCATS_COMPILED Perplexity perplexity(Llama<B>&, const DataSet&, Index);                                            \
  LOLCATS_COMPILED Recall recall_by_distance(Llama<B>&, std::span<const SyntheticDocument>, std::vector<Index>, Index)

namespace lolcats {

LOLCATS_COMPILED_FOR(Cpu<float>);
LOLCATS_COMPILED_FOR(Cpu<double>);

LOLCATS_COMPILED void check_recipe(const Recipe<ReduceOnPlateau>&);
LOLCATS_COMPILED RunIdentity run_identity(const Recipe<ReduceOnPlateau>&, Index, const RunIdentity&);
LOLCATS_COMPILED void check_recipe(const Recipe<AnySchedule>&);
LOLCATS_COMPILED RunIdentity run_identity(const Recipe<AnySchedule>&, Index, const RunIdentity&);

}  // namespace lolcats

#undef LOLCATS_COMPILED_FOR
