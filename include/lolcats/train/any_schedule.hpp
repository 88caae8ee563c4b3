// A learning rate schedule that is chosen at run time, for programs.
#pragma once

#include <lolcats/train/schedule.hpp>

#include <utility>
#include <variant>

namespace lolcats {

/// One of the schedules, so that a program that reads a schedule's name compiles its training once.
///
/// A recipe in code names its schedule's type: TransferRecipe<Cosine>.
class AnySchedule {
 public:
  using Choice = std::variant<ReduceOnPlateau, Constant, Cosine>;

  AnySchedule() = default;
  template <class S>
    requires std::constructible_from<Choice, S>
  AnySchedule(S schedule) : choice_(std::move(schedule)) {}

  class State {
   public:
    State(const AnySchedule& policy, double rate, Index updates)
        : state_(std::visit([&](const auto& s) -> States { return typename std::decay_t<decltype(s)>::State(s, rate, updates); },
                            policy.choice_)) {}
    double rate(Index update) const {
      return std::visit([&](const auto& s) { return s.rate(update); }, state_);
    }
    void observe(double loss) {
      std::visit([&](auto& s) { s.observe(loss); }, state_);
    }
    std::vector<double> save() const {
      return std::visit([](const auto& s) { return s.save(); }, state_);
    }
    void load(std::span<const double> saved) {
      std::visit([&](auto& s) { s.load(saved); }, state_);
    }
    std::string describe() const {
      return std::visit([](const auto& s) { return s.describe(); }, state_);
    }

   private:
    using States = std::variant<ReduceOnPlateau::State, Constant::State, Cosine::State>;
    States state_;
  };

 private:
  Choice choice_;
};

static_assert(Schedule<AnySchedule>);

}  // namespace lolcats
