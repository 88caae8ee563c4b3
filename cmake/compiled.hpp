// What lolcats::kernels compiles once for all units of a program: cmake/compiled.cpp; and lolcats::cuda_kernels for units of nvcc:
// cmake/compiled.cu.
//
// Units that lolcats_students writes include it.  The declarations below keep a unit from instantiating, again, what does not
// depend on a student's policies, which is most of what it would have to compile.  The library knows nothing of it.
//
// It includes what they call and no more: a precompiled header saves parsing, but every unit instantiates whatever templates
// its inline functions use.  Those of JSON, readers and tokenizers take seconds.
//
// Listed are function templates, the outermost of what calls what: members that are defined in their class are inline,
// and would be instantiated in spite of a declaration.
#pragma once

#include <lolcats/core.hpp>
#ifdef __CUDACC__
#include <lolcats/backend/cuda.cuh>
#include <lolcats/model/cuda.cuh>
#include <lolcats/ops/attention/cuda_weights.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/train/cuda.cuh>
#endif

#ifndef LOLCATS_COMPILED
#define LOLCATS_COMPILED extern template
#endif

#define LOLCATS_COMPILED_FOR(B)                                                                                        \
  LOLCATS_COMPILED class Tape<B>;                                                                                      \
  LOLCATS_COMPILED class Parameter<B>;                                                                                 \
  LOLCATS_COMPILED class RopeTable<B>;                                                                                 \
  LOLCATS_COMPILED struct AttentionState<B>;                                                                           \
  LOLCATS_COMPILED class AttentionLayer<B, Softmax<>>;                                                                 \
  LOLCATS_COMPILED class Llama<B>;                                                                                     \
  LOLCATS_COMPILED class detail::ListedParameters<B>;                                                                  \
  LOLCATS_COMPILED Parameters<B> detail::parameters_of(const detail::ListedParameters<B>&);                            \
  LOLCATS_COMPILED ConstParameters<B> read_only(const Parameters<B>&);                                                 \
  LOLCATS_COMPILED void detail::share_parameters(const ConstParameters<B>&, const Parameters<B>&,                      \
                                                 const std::function<bool(const std::string&)>&);                      \
  LOLCATS_COMPILED std::size_t detail::state_bytes_of_zeros(                                                           \
      const LayerSizes&, Index, const B&,                                                                              \
      const std::function<void(Tape<B>&, const Qkv<B>&, const Sequences&, AttentionState<B>&)>&);                      \
  LOLCATS_COMPILED detail::LowRank<B> detail::fresh_low_rank(const B&, Index, Index, Index, std::uint64_t,             \
                                                             std::uint64_t);                                           \
  LOLCATS_COMPILED Var<B> detail::adapted_linear(Tape<B>&, Var<B>, const Parameter<B>&, const Parameter<B>&,           \
                                                 const detail::LowRank<B>&, double, double);                           \
  LOLCATS_COMPILED void detail::merge_low_rank(const B&, detail::LowRank<B>&, Parameter<B>&, double);                  \
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
  LOLCATS_COMPILED TransferResult transfer_attention(AnyLlama<B>&, const DataSet&, const DataSet&,                     \
                                                     const TransferRecipe<>&, const ProgressCallback&);                \
  LOLCATS_COMPILED TrainingResult finetune(AnyLlama<B>&, const DataSet&, const DataSet&, const FinetuneRecipe<>&,      \
                                           const ProgressCallback&);                                                   \
  LOLCATS_COMPILED TrainingResult pretrain(AnyLlama<B>&, const DataSet&, const DataSet&, const PretrainRecipe<>&,      \
                                           const ProgressCallback&);                                                   \
  LOLCATS_COMPILED Generation generate(AnyLlama<B>&, const TokenLists&, const GenerationOptions&, const TokenCallback&);\
  LOLCATS_COMPILED Perplexity perplexity(AnyLlama<B>&, const DataSet&, Index)

namespace lolcats {

#ifndef __CUDACC__
#ifdef LOLCATS_COMPILED_KERNELS
LOLCATS_COMPILED_FOR(Cpu<float>);
LOLCATS_COMPILED_FOR(Cpu<double>);

LOLCATS_COMPILED void check_recipe(const Recipe<ReduceOnPlateau>&);
LOLCATS_COMPILED RunIdentity run_identity(const Recipe<ReduceOnPlateau>&, Index, const RunIdentity&);
#endif
#elif defined(LOLCATS_COMPILED_CUDA_KERNELS)
LOLCATS_COMPILED_FOR(Cuda<bf16>);
LOLCATS_COMPILED_FOR(Cuda<float>);
#endif

}  // namespace lolcats

#undef LOLCATS_COMPILED_FOR
