// Which parameters of a model a stage trains.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tape/parameter.hpp>

#include <utility>

namespace lolcats {

/// While alive, `parameters` are trained and every other parameter of the model is frozen; at the end all are frozen
/// and the memory of gradients and masters is given back.
template <class Model>
class TrainedScope {
 public:
  using B = typename Model::Device;

  /// Throws ConfigError naming the stage if there is nothing to train.
  TrainedScope(Model& model, Parameters<B> parameters, const char* stage) : parameters_(std::move(parameters)) {
    require<ConfigError>(!parameters_.empty(), "{}: {} has no parameters that this stage trains", stage, model.name());
    for (const Parameters<B>& all :
         {model.base_parameters(), model.transfer_parameters(), model.adapter_parameters()}) {
      for (const auto& [name, parameter] : all) parameter->freeze();
    }
    for (const auto& [name, parameter] : parameters_) parameter->train(model.backend());
  }
  TrainedScope(const TrainedScope&) = delete;
  TrainedScope& operator=(const TrainedScope&) = delete;
  ~TrainedScope() {
    for (const auto& [name, parameter] : parameters_) parameter->freeze();
  }

  const Parameters<B>& parameters() const { return parameters_; }

 private:
  Parameters<B> parameters_;
};

}  // namespace lolcats
