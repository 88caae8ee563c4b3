// AdamW: Adam with decoupled weight decay.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tape/parameter.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <cmath>
#include <map>
#include <span>
#include <type_traits>
#include <vector>

namespace lolcats {

/// Hyperparameters of AdamW; the defaults are those of torch.optim.AdamW, except for weight decay (0 here, as LoLCATs
/// trains).  The learning rate is given with every step.
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  /// Rounds masters to bf16 after every step, as if there were none: to see what masters in Real are good for.
  bool bf16_masters = false;
  /// Of each parameter, in their order: what the learning rate is multiplied by.  Empty: 1 for all.
  std::vector<double> rates = {};
};

/// One AdamW step as numbers:
///   m = beta1 m + (1 - beta1) g
///   v = beta2 v + (1 - beta2) g^2
///   x = x - shrink x - rate m / (root sqrt(v) + epsilon)
struct AdamWCoefficients {
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double shrink = 0;  // learning rate * weight decay
  double rate = 0;    // learning rate / (1 - beta1^t)
  double root = 0;    // 1 / sqrt(1 - beta2^t)
};

/// What one step does to one parameter: gradient, moments and master in Real, all of one size.
template <Backend B>
struct AdamWPart {
  View<const Real<B>> gradient;
  View<Real<B>> first;   // m
  View<Real<B>> second;  // v
  View<Real<B>> master;
  View<Scalar<B>> value;  // null where it is the master's memory
};

/// Specialised per backend (train/cpu.hpp, train/cuda.cuh):
///   update(backend, coefficients, span of AdamWPart)
/// One step for all parameters, in Real; then value = master rounded to Scalar, unless value is null.
template <Backend B>
struct AdamWKernel;

/// torch.optim.AdamW over trained parameters (Loshchilov and Hutter 2019, arXiv:1711.05101).
///
/// Moments and masters are in Real; where Scalar is another type, values are refreshed from the masters.
template <Backend B>
class AdamW {
 public:
  /// Both moments of one parameter.
  struct Moments {
    Array<B, Real<B>> first;   // m
    Array<B, Real<B>> second;  // v
  };

  /// The parameters must be trained (ConfigError otherwise) and outlive the optimizer.
  AdamW(const B& backend, Parameters<B> parameters, const AdamWOptions& options = {})
      : backend_(backend), parameters_(std::move(parameters)), options_(options) {
    require<ConfigError>(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
                         "AdamW: betas are {} and {}, expected numbers in [0, 1)", options.beta1, options.beta2);
    require<ConfigError>(options.epsilon > 0 && options.weight_decay >= 0,
                         "AdamW: epsilon is {}, weight decay {}; expected > 0 and >= 0", options.epsilon,
                         options.weight_decay);
    require<ConfigError>(options.rates.empty() || options.rates.size() == parameters_.size(),
                         "AdamW: {} rates, expected {}, one per parameter", options.rates.size(), parameters_.size());
    for (const double rate : options.rates) require<ConfigError>(rate >= 0, "AdamW: a rate is {}, expected at least 0", rate);
    for (const auto& [name, parameter] : parameters_) {
      require<ConfigError>(parameter && parameter->trained(), "AdamW: parameter '{}' is frozen; call train() first",
                           name);
      Moments moments{Array<B, Real<B>>(parameter->shape()), Array<B, Real<B>>(parameter->shape())};
      backend_.zero(moments.first.data(), moments.first.size());
      backend_.zero(moments.second.data(), moments.second.size());
      moments_.push_back(std::move(moments));
    }
  }

  /// Updates every parameter from its gradient.  Gradients are left as they are.
  void step(double learning_rate) {
    ++steps_;
    const double t = static_cast<double>(steps_);
    std::map<double, std::vector<AdamWPart<B>>> groups;  // by their rates
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Parameter<B>& p = *parameters_[i].parameter;
      auto& parts = groups[options_.rates.empty() ? 1.0 : options_.rates[i]];
      parts.push_back({p.gradient(), moments_[i].first.view(), moments_[i].second.view(), p.master(), {}});
      if constexpr (!std::is_same_v<Scalar<B>, Real<B>>) parts.back().value = p.mutable_value();
    }
    for (const auto& [factor, parts] : groups) {
      const double rate = factor * learning_rate;
      const AdamWCoefficients c{.beta1 = options_.beta1,
                                .beta2 = options_.beta2,
                                .epsilon = options_.epsilon,
                                .shrink = rate * options_.weight_decay,
                                .rate = rate / (1 - std::pow(options_.beta1, t)),
                                .root = 1 / std::sqrt(1 - std::pow(options_.beta2, t))};
      AdamWKernel<B>::update(backend_, c, std::span<const AdamWPart<B>>(parts));
    }
    if (options_.bf16_masters) round_masters();
  }

  const Parameters<B>& parameters() const { return parameters_; }
  const AdamWOptions& options() const { return options_; }

  /// The state a checkpoint keeps, one pair of moments per parameter, in their order.
  Index steps() const { return steps_; }
  void set_steps(Index steps) { steps_ = steps; }
  std::vector<Moments>& moments() { return moments_; }
  const std::vector<Moments>& moments() const { return moments_; }

 private:
  /// Through the host, where rounding is the same for all backends.
  void round_masters() {
    for (const auto& [name, parameter] : parameters_) {
      std::vector<Real<B>> values(static_cast<std::size_t>(parameter->size()));
      download(backend_, parameter->master().data, values.data(), parameter->size());
      for (Real<B>& value : values) value = static_cast<Real<B>>(static_cast<float>(bf16(static_cast<float>(value))));
      upload(backend_, values.data(), parameter->master().data, parameter->size());
    }
  }

  B backend_;
  Parameters<B> parameters_;
  AdamWOptions options_;
  std::vector<Moments> moments_;
  Index steps_ = 0;
};

}  // namespace lolcats
