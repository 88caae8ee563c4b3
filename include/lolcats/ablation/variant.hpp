// A variant of an ablation: a method, and what it changes about the procedure.  All of it is types.
#pragma once

#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/lora.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/transfer.hpp>

#include <concepts>
#include <string>

namespace lolcats {

/// Both stages, as every variant of a study runs them unless it changes them.
struct Procedure {
  bool transfers = true;  // stage 1
  bool finetunes = true;  // stage 2
  TransferRecipe<> transfer = {};
  FinetuneRecipe<> finetune = {};
};

/// A change of the procedure: a name, and what it does.
template <class C>
concept ProcedureChange = requires(Procedure& procedure) {
  { C::name() } -> std::convertible_to<std::string>;
  C::apply(procedure);
};

/// Stage 1 is left out.  Maps and gamma are trained beside the adapter instead, and stage 2 takes the time of both: the
/// paper's baseline (arXiv:2410.10254, section 3.1).
struct NoTransfer {
  static std::string name() { return "no transfer"; }
  static void apply(Procedure& p) {
    p.transfers = false;
    p.finetune.train_maps = true;
    p.finetune.epochs += p.transfer.epochs;
    if (p.finetune.max_updates > 0) p.finetune.max_updates += p.transfer.max_updates;
  }
};

/// Stage 2 is left out.
struct NoFinetune {
  static std::string name() { return "no finetuning"; }
  static void apply(Procedure& p) { p.finetunes = false; }
};

/// Stage 2 trains maps and gamma, too.
struct TrainMaps {
  static std::string name() { return "maps trained in both stages"; }
  static void apply(Procedure& p) { p.finetune.train_maps = true; }
};

/// Exactly so many updates; none leaves the stage out, the maps as they start.
template <Index Updates>
struct TransferUpdates {
  static std::string name() { return fmt::format("{} transfer updates", Updates); }
  static void apply(Procedure& p) {
    p.transfers = Updates > 0;
    p.transfer.epochs = 0;
    p.transfer.max_updates = Updates;
  }
};
template <Index Updates>
struct FinetuneUpdates {
  static std::string name() { return fmt::format("{} finetuning updates", Updates); }
  static void apply(Procedure& p) {
    p.finetunes = Updates > 0;
    p.finetune.epochs = 0;
    p.finetune.max_updates = Updates;
  }
};

/// Stage 1 in blocks of `Layers` layers, one after the other (section 3.4); 0: jointly.
template <Index Layers>
struct Blocks {
  static std::string name() { return Layers == 0 ? "joint" : fmt::format("blocks of {}", Layers); }
  static void apply(Procedure& p) { p.transfer.block = Layers; }
};

/// Stage 1 by the cross-entropy of attention weights instead of the error of outputs (Hedgehog, arXiv:2402.04347).
struct WeightCrossEntropy {
  static std::string name() { return "weight cross-entropy"; }
  static void apply(Procedure& p) {
    p.transfer.mse_factor = 0;
    p.transfer.xent_factor = 1;
  }
};

/// Trained parameters are rounded to bf16 after every update of both stages.
struct Bf16Masters {
  static std::string name() { return "bf16 masters"; }
  static void apply(Procedure& p) { p.transfer.optimizer.bf16_masters = p.finetune.optimizer.bf16_masters = true; }
};

/// A method and its changes.  Any type with the same members is one, too; to shorten a name, derive and redefine it.
template <AttentionPolicy A, AdapterPolicy P = Lora<8>, ProcedureChange... Changes>
struct Variant {
  using Attention = A;
  using Adapter = P;
  /// "hybrid<hedgehog<64>, terraced<64>> + lora<8, qkvo>, no transfer".
  static std::string name() {
    std::string text = A::name() + " + " + P::name();
    ((text += ", " + Changes::name()), ...);
    return text;
  }
  static void apply([[maybe_unused]] Procedure& procedure) { (Changes::apply(procedure), ...); }
};

// clang-format off
template <class V>
concept AblationVariant = AttentionPolicy<typename V::Attention> && AdapterPolicy<typename V::Adapter> &&
                          requires(Procedure& procedure) {
  { V::name() } -> std::convertible_to<std::string>;
  V::apply(procedure);
};
// clang-format on

static_assert(AblationVariant<Variant<Softmax<>, Lora<8>, NoTransfer>>);

}  // namespace lolcats
