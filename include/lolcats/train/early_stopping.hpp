// Early stopping: remember the best parameters, and when to give up looking for better ones.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tape/parameter.hpp>

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

namespace lolcats {

/// Writes `from` (Real) into a trained parameter: its master, and its value where that is another type.
template <Backend B>
void assign_master(const B& backend, Parameter<B>& parameter, View<const Real<B>> from) {
  check_shape("assign_master", "from", from.shape, parameter.shape());
  backend.copy(from.data, parameter.master().data, from.size());
  if constexpr (!std::is_same_v<Scalar<B>, Real<B>>) {
    backend.copy(parameter.master().data, parameter.mutable_value().data, from.size());
  }
}

/// Keeps a copy of the trained parameters at their lowest validation loss.
template <Backend B>
class EarlyStopping {
 public:
  /// Gives up after `patience` evaluations in a row without a new best; 0: never.
  EarlyStopping(const B& backend, Parameters<B> parameters, Index patience = 0)
      : backend_(backend), parameters_(std::move(parameters)), patience_(patience) {
    require<ConfigError>(patience >= 0, "EarlyStopping: patience is {}, expected 0 (never) or more", patience);
  }

  /// Records the validation loss after `update` updates, 0 for the start.  True if it is the best so far.
  bool observe(double loss, Index update) {
    require<NumericError>(std::isfinite(loss), "EarlyStopping: the validation loss is {} after update {}", loss,
                          update);
    if (update == 0) start_ = loss;
    if (!(loss < best_)) {
      ++without_best_;
      return false;
    }
    best_ = loss;
    best_update_ = update;
    without_best_ = 0;
    copies_.resize(parameters_.size());
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Parameter<B>& p = *parameters_[i].parameter;
      if (!copies_[i]) copies_[i] = Array<B, Real<B>>(p.shape());
      backend_.copy(p.master().data, copies_[i].data(), p.size());
    }
    return true;
  }

  bool exhausted() const { return patience_ > 0 && without_best_ >= patience_; }
  bool has_best() const { return !copies_.empty(); }
  double best() const { return best_; }  // infinity before the first evaluation
  Index best_update() const { return best_update_; }
  double start() const { return start_; }  // infinity where the start was not evaluated

  /// Puts the best parameters back; nothing happens if there was no evaluation.
  void restore() {
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      assign_master(backend_, *parameters_[i].parameter, View<const Real<B>>(copies_[i].view()));
    }
  }

  /// The state a checkpoint keeps: the copies, in the order of the parameters, and four numbers.
  const std::vector<Array<B, Real<B>>>& copies() const { return copies_; }
  Index without_best() const { return without_best_; }
  void load(double start, double best, Index best_update, Index without_best,
            std::vector<Array<B, Real<B>>> copies) {
    start_ = start;
    best_ = best;
    best_update_ = best_update;
    without_best_ = without_best;
    copies_ = std::move(copies);
  }

 private:
  B backend_;
  Parameters<B> parameters_;
  Index patience_;
  double start_ = std::numeric_limits<double>::infinity();
  double best_ = std::numeric_limits<double>::infinity();
  Index best_update_ = 0;
  Index without_best_ = 0;
  std::vector<Array<B, Real<B>>> copies_;
};

}  // namespace lolcats
