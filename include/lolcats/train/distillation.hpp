// Stage 2 with the teacher's predictions as targets beside the text.
#pragma once

#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/ops/divergence/divergence.hpp>
#include <lolcats/train/next_token.hpp>

namespace lolcats {

/// How much a student learns from its teacher: the same base with softmax and without the adapter.
///
///   loss = (1 - share) cross-entropy + share T^2 KL(softmax(teacher's logits / T) || softmax(logits / T))
///
/// per supervised token; T^2 keeps the size of gradients at any temperature (Hinton et al. 2015, arXiv:1503.02531).
struct Distillation {
  double share = 0;  // 0: the text alone; 1: the teacher alone
  double temperature = 1;
};

/// NextTokenTask with that loss.  The validation loss is the cross-entropy all the same.
///
/// The teacher's pass costs a forward pass more in the memory of one layer; its logits and the student's meet in tiles and are
/// never formed.
template <class Model, TrainingData Validation>
class DistillationTask : public NextTokenTask<Model, Validation> {
 public:
  using Base = NextTokenTask<Model, Validation>;
  using B = typename Model::Device;

  /// Throws ConfigError for a share or temperature that cannot be.
  DistillationTask(Model& model, const Validation& validation, Index rows, bool recompute, const Distillation& distillation,
                   Communicator* communicator = nullptr)
      : Base(model, validation, rows, recompute, communicator), distillation_(distillation) {
    require<ConfigError>(distillation.share >= 0 && distillation.share <= 1, "distillation: share is {}, expected 0 to 1", distillation.share);
    require<ConfigError>(distillation.temperature > 0, "distillation: temperature is {}, expected more than 0", distillation.temperature);
  }

  double step(const Batch& batch, const MicroStep& at) {
    if (distillation_.share == 0) return Base::step(batch, at);
    return this->step_on(batch, at, [&] { return loss(batch, at.scale); });
  }
  void idle() {
    if (distillation_.share != 0) this->load_forwards();  // the teacher's pass
    Base::idle();
  }

 private:
  Loss<B> loss(const Batch& batch, double scale) {
    const double share = distillation_.share, temperature = distillation_.temperature;
    const View<const Scalar<B>> teacher = teacher_hidden(batch);
    const Var<B> x = this->model_.hidden(this->tape_, batch.tokens, batch.sequences, this->recompute_);
    const Loss<B> from_teacher =
        divergence<B>(this->tape_, x, teacher, this->model_.head(), batch.labels, temperature, scale * share * temperature * temperature);
    if (share == 1) return from_teacher;
    return add(this->tape_, cross_entropy<B>(this->tape_, x, this->model_.head(), batch.labels, scale * (1 - share)), from_teacher);
  }

  /// (M, C) after the final norm.
  View<const Scalar<B>> teacher_hidden(const Batch& batch) {
    const typename Tape<B>::NoGradient quiet(this->tape_);
    TeacherStream<Model> stream(this->tape_, this->model_);
    stream.start(batch.tokens, batch.sequences);
    while (stream.layer() < this->model_.layer_count()) stream.advance();
    return this->model_.normalize(this->tape_, this->tape_.constant(stream.value())).value();
  }

  Distillation distillation_;
};

}  // namespace lolcats
