// Which heads need their far keys, learned: a gate per key/value head between softmax and the near keys alone.
#pragma once

#include <lolcats/data/batch.hpp>
#include <lolcats/model/cache_sizes.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/ops/divergence/divergence.hpp>
#include <lolcats/ops/lerp/lerp.hpp>
#include <lolcats/train/loop.hpp>
#include <lolcats/train/run_inputs.hpp>
#include <lolcats/train/trained_scope.hpp>

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

namespace lolcats {

/// What learn_head_gates found.
struct HeadGates {
  std::vector<std::vector<double>> gates;  // (L, G) in [0, 1]: near 1 where predictions need far keys
  TrainingResult training;
};

namespace detail {

/// The loss of gates (L, G), see learn_head_gates.  Adapters are off and base weights frozen while this lives.
template <LlamaModel Model>
class HeadGateTask {
 public:
  using B = typename Model::Device;

  /// `gates` must be trained; student and gates must outlive the task.
  HeadGateTask(Model& student, Parameter<B>& gates, double sparsity)
      : student_(student), gates_(gates), sparsity_(sparsity), tape_(student.backend()), teacher_(tape_, student) {}

  double step(const Batch& batch, const MicroStep& at) {
    project();
    const typename Tape<B>::Scope scope(tape_);
    teacher_.start(batch.tokens, batch.sequences);
    while (teacher_.layer() < student_.layer_count()) teacher_.advance();
    const View<const Scalar<B>> wanted = student_.normalize(tape_, tape_.constant(teacher_.value())).value();
    const Loss<B> from_teacher = divergence<B>(tape_, hidden(batch), wanted, student_.head(), batch.labels, 1.0, at.scale);
    // Every micro-batch has the share of the penalty that its tokens have of the update.
    const Loss<B> loss = add(tape_, from_teacher, sum_of_gates(sparsity_ * at.scale * static_cast<double>(batch.supervised())));
    tape_.backward(loss);
    return item(tape_, loss);
  }
  Index supervised(const Batch& batch) const { return batch.supervised(); }
  Index tokens(const Batch& batch) const { return static_cast<Index>(batch.tokens.size()); }

  /// Back into [0, 1], which updates may leave.
  void project() {
    std::vector<double> values = read();
    for (double& gate : values) gate = std::clamp(gate, 0.0, 1.0);
    student_.backend().from_host(values.data(), gates_.master().data, gates_.size());
    student_.backend().from_host(values.data(), gates_.mutable_value().data, gates_.size());
  }
  /// As the optimizer has them.
  std::vector<double> read() const {
    std::vector<double> values(static_cast<std::size_t>(gates_.size()));
    student_.backend().to_host(gates_.master().data, values.data(), gates_.size());
    return values;
  }

 private:
  /// (M, C) after the final norm.
  Var<B> hidden(const Batch& batch) {
    const RopeTable<B>& table = student_.rope(batch.sequences);
    const Index groups = gates_.shape()[1];
    const Weight<B> all = gates_;
    Var<B> x = student_.embed(tape_, batch.tokens);
    for (Index l = 0; l < student_.layer_count(); ++l) {
      const auto& layer = student_.layer(l);
      const Qkv<B> qkv = layer.project(tape_, x, batch.sequences, table);
      const Weight<B> of_layer{{all.value.data + l * groups, Shape{groups}}, {all.gradient.data + l * groups, Shape{groups}}};
      const Var<B> near = layer.attend(tape_, qkv, batch.sequences), softmax = layer.attend_softmax(tape_, qkv, batch.sequences);
      x = layer.finish(tape_, x, lerp(tape_, near, softmax, of_layer));
    }
    return student_.normalize(tape_, x);
  }

  /// factor * the sum of all gates.
  Loss<B> sum_of_gates(double factor) {
    const Weight<B> all = gates_;
    auto [y, out] = tape_.template result<Real<B>>(Shape{}, true);
    ElementwiseKernel<B>::sum(tape_.backend(), all.value, factor, out);
    tape_.record(y, [&tape = tape_, all, factor, y = y] {
      ElementwiseKernel<B>::fill(tape.backend(), y.gradient(), factor, Sink<Real<B>>{all.gradient, true});
    });
    return y;
  }

  Model& student_;
  Parameter<B>& gates_;
  double sparsity_;
  Tape<B> tape_;
  TeacherStream<Model> teacher_;
};

}  // namespace detail

/// Learns which heads need their far keys, as DuoAttention does (Xiao et al. 2024, arXiv:2410.10819).  In every layer
///
///   y = g softmax(all keys) + (1 - g) attention of the student with empty caches
///
/// with a gate g in [0, 1] per key/value head that starts at 1; only gates are trained, by
///
///   KL(softmax teacher's prediction || prediction), the mean over the tokens with a label, + sparsity * the sum of all gates.
///
/// Heads that the labels need keep their gates, so the rows should ask for what was said far behind
/// (data/planted_facts.hpp).  Adapters are off.  The student, sizes of its caches included, is not changed: `allot_largest`
/// (eval/allot_cache.hpp) makes sizes of gates.
///
/// `recipe` is that of any training, resumable like any; what is known to work is batch 2, 200 updates, learning rate 0.03,
/// sparsity 0.02.  After every update gates that have left [0, 1] are put back.  Data are TrainingData whose batches are Batch.
/// Errors: those of `train`; ConfigError for a negative sparsity, a recipe that evaluates, or a base that is not whole.
template <LlamaModel Model, TrainingData Data, Schedule S>
  requires caches<MemoryOf<typename Model::Attention>>
HeadGates learn_head_gates(Model& student, const Data& data, double sparsity, Recipe<S> recipe, const ProgressCallback& progress = {}) {
  using B = typename Model::Device;
  const auto layers = static_cast<std::size_t>(student.layer_count()), groups = static_cast<std::size_t>(student.config().kv_heads);
  student.require_whole_base("learn_head_gates");
  require<ConfigError>(sparsity >= 0, "learn_head_gates: sparsity is {}, expected 0 or more", sparsity);
  detail::ResizedCaches<Model> sizes(student);
  for (Index l = 0; l < student.layer_count(); ++l) sizes.set(l, std::vector<Index>(groups, 0));

  Parameter<B> gates = detail::make_parameter(student.backend(), Shape{static_cast<Index>(layers), static_cast<Index>(groups)},
                                              std::vector<double>(layers * groups, 1.0));
  recipe.stage = "head gates";
  recipe.inputs["model"] = Model::name();
  recipe.inputs["sparsity"] = fmt::format("{}", sparsity);
  if (detail::is_identified(recipe)) {
    detail::add_model(recipe.inputs, student);
    detail::add_data(recipe.inputs, data, std::monostate{});
  }
  const TrainedScope<Model> trained(student, {{"head_gates", &gates}}, "head gates");
  detail::HeadGateTask<Model> task(student, gates, sparsity);
  HeadGates found;
  found.training = train(student.backend(), trained.parameters(), data, task, recipe, progress);
  task.project();
  const std::vector<double> values = task.read();
  for (std::size_t l = 0; l < layers; ++l) {
    found.gates.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(l * groups), values.begin() + static_cast<std::ptrdiff_t>((l + 1) * groups));
  }
  return found;
}

}  // namespace lolcats
