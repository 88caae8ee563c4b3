// The fields of a recipe, listed once: what copies, compares, checks or describes recipes walks over this list.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/train/schedule.hpp>

#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lolcats {

/// What a field of a recipe decides.
enum class FieldKind {
  numbers,  // what an update computes: a resumed run must bring the same
  length,   // when the run ends: a resumed run may bring another
  handling  // nothing that shows in a number
};
template <FieldKind Kind>
using FieldKindConstant = std::integral_constant<FieldKind, Kind>;

/// What a resumed run must find as it was, by name: {"tokenizer", "5f0c..."}.
using RunIdentity = std::map<std::string, std::string>;

// clang-format off
namespace detail {
template <class R> concept HasStage = requires(const R& r) { r.stage; };
template <class R> concept HasTransferFields = requires(const R& r) { r.mse_factor; };
template <class R> concept HasFinetuneFields = requires(const R& r) { r.train_maps; };
template <class R> concept HasRecompute = requires(const R& r) { r.recompute; };
}  // namespace detail

/// Calls f(name, FieldKindConstant<kind>, the field of each recipe...) for every field that all of these recipes have.  A field with fields
/// of its own, such as the optimizer, is visited by parts.
template <class F, class... R>
void visit_fields(F&& f, R&... r) {
  constexpr FieldKindConstant<FieldKind::numbers> numbers;
  constexpr FieldKindConstant<FieldKind::length> length;
  constexpr FieldKindConstant<FieldKind::handling> handling;
  if constexpr ((detail::HasStage<R> && ...)) f("stage", numbers, r.stage...);
  f("identity", numbers, r.identity...);
  f("inputs", numbers, r.inputs...);
  f("epochs", length, r.epochs...);
  f("max_updates", length, r.max_updates...);
  f("batch", numbers, r.batch...);
  f("micro_batch", numbers, r.micro_batch...);
  f("shuffle", numbers, r.shuffle...);
  f("seed", numbers, r.seed...);
  f("learning_rate", numbers, r.learning_rate...);
  f("schedule", numbers, r.schedule...);
  f("beta1", numbers, r.optimizer.beta1...);
  f("beta2", numbers, r.optimizer.beta2...);
  f("epsilon", numbers, r.optimizer.epsilon...);
  f("weight_decay", numbers, r.optimizer.weight_decay...);
  f("rates", numbers, r.optimizer.rates...);
  f("bf16_masters", numbers, r.optimizer.bf16_masters...);
  f("clip", numbers, r.clip...);
  f("evaluate_every", numbers, r.evaluate_every...);
  f("patience", length, r.patience...);
  f("restore_best", numbers, r.restore_best...);
  f("checkpoint", handling, r.checkpoint...);
  f("checkpoint_every", handling, r.checkpoint_every...);
  f("checkpoint_minutes", handling, r.checkpoint_minutes...);
  f("stop", handling, r.stop...);
  f("log", handling, r.log...);
  f("communicator", handling, r.communicator...);
  if constexpr ((detail::HasTransferFields<R> && ...)) {
    f("mse_factor", numbers, r.mse_factor...);
    f("xent_factor", numbers, r.xent_factor...);
    f("block", numbers, r.block...);
    f("residuals", handling, r.residuals...);
  }
  if constexpr ((detail::HasFinetuneFields<R> && ...)) {
    f("train_maps", numbers, r.train_maps...);
    f("maps_learning_rate", numbers, r.maps_learning_rate...);
    f("distillation_share", numbers, r.distillation.share...);
    f("distillation_temperature", numbers, r.distillation.temperature...);
  }
  if constexpr ((detail::HasRecompute<R> && ...)) f("recompute", handling, r.recompute...);
}
// clang-format on

/// Copies all fields that both have; a schedule where the one can be made of the other, and is left alone otherwise.
template <class From, class To>
void copy_fields(const From& from, To& to) {
  visit_fields(
      [](const char*, auto, const auto& source, auto& target) {
        if constexpr (std::is_assignable_v<decltype(target), decltype(source)>) target = source;
      },
      from, to);
}

/// Calls f(name, text) for every field but `inputs` that decides the numbers of a run of `updates` updates.  Texts are
/// exact; forward passes "of the whole batch" have its size, and the schedule is as its State describes it.
template <class R, class F>
void describe_fields(const R& recipe, Index updates, F&& f) {
  visit_fields(
      [&]<FieldKind Kind, class T>(std::string_view name, FieldKindConstant<Kind>, const T& value) {
        if constexpr (Kind != FieldKind::numbers || std::is_same_v<T, RunIdentity>) {
          return;
        } else if constexpr (Schedule<T>) {
          f(name, std::string(typename T::State(value, recipe.learning_rate, updates).describe()));
        } else if constexpr (std::is_same_v<T, std::vector<double>>) {
          f(name, fmt::format("{}", fmt::join(value, " ")));
        } else if (name == "micro_batch" && recipe.micro_batch == 0) {
          f(name, fmt::format("{}", recipe.batch));
        } else {
          f(name, fmt::format("{}", value));  // of doubles: the shortest exact text
        }
      },
      recipe);
}

/// Errors: ConfigError naming the stage, the field, got and expected for a number that no run can have.
template <class R>
void check_fields(std::string_view stage, const R& recipe) {
  visit_fields(
      [&]<class T>(std::string_view name, auto, const T& value) {
        if constexpr (std::is_arithmetic_v<T>) {
          const T least = name == "batch" ? T(1) : T(0);
          require<ConfigError>(value >= least, "Recipe '{}': {} is {}, expected at least {}", stage, name, value, least);
        }
        if constexpr (std::is_floating_point_v<T>) {
          require<ConfigError>(std::isfinite(value), "Recipe '{}': {} is {}, expected a finite number", stage, name, value);
        }
      },
      recipe);
}

}  // namespace lolcats
