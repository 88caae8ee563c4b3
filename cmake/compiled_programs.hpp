// compiled.hpp and, of what lolcats::kernels holds, that which programs have beside students: readers of models, schedules chosen
// at run time, benchmarks.  In our own programs CMake precompiles it and puts it in front of the units of examples and benchmarks
// and of the tests that build models (lolcats_precompile).
#pragma once

#include "compiled.hpp"

#include <lolcats/eval/recall.hpp>
#include <lolcats/model/load.hpp>
#include <lolcats/train/any_schedule.hpp>

#define LOLCATS_COMPILED_FOR(B)                                                                                        \
  LOLCATS_COMPILED void save_training_state(const std::filesystem::path&, const RunIdentity&, const B&,                \
                                            const AdamW<B>&, const AnySchedule::State&, const EarlyStopping<B>&,       \
                                            const std::vector<TrainingPoint>&);                                        \
  LOLCATS_COMPILED void load_training_state(const std::filesystem::path&, const RunIdentity&, const B&, AdamW<B>&,     \
                                            AnySchedule::State&, EarlyStopping<B>&, std::vector<TrainingPoint>&);      \
  LOLCATS_COMPILED Llama<B> load_llama<Llama<B>>(Checkpoint, std::uint64_t, B);                                        \
  LOLCATS_COMPILED TransferResult transfer_attention(AnyLlama<B>&, const DataSet&, const DataSet&,                     \
                                                     const TransferRecipe<AnySchedule>&, const ProgressCallback&);     \
  LOLCATS_COMPILED TrainingResult finetune(AnyLlama<B>&, const DataSet&, const DataSet&,                               \
                                           const FinetuneRecipe<AnySchedule>&, const ProgressCallback&);               \
  LOLCATS_COMPILED Recall recall_by_distance(Llama<B>&, std::span<const SyntheticDocument>, std::vector<Index>, Index)

namespace lolcats {

LOLCATS_COMPILED_FOR(Cpu<float>);
LOLCATS_COMPILED_FOR(Cpu<double>);

LOLCATS_COMPILED void check_recipe(const Recipe<AnySchedule>&);
LOLCATS_COMPILED RunIdentity run_identity(const Recipe<AnySchedule>&, Index, const RunIdentity&);

}  // namespace lolcats

#undef LOLCATS_COMPILED_FOR
