// Definitions of what models.hpp declares.
#pragma once

#include "models.hpp"

#include <lolcats/model/cpu.hpp>

#include <span>

namespace models {

template <class Model>
std::vector<double> logits_of(Model& model, const std::vector<Index>& tokens, const Sequences& sequences) {
  Tape<typename Model::Device> tape;
  const typename Tape<typename Model::Device>::NoGradient quiet(tape);
  const auto logits = model.logits(tape, tokens, sequences);
  std::vector<double> values(static_cast<std::size_t>(logits.value().size()));
  model.backend().to_host(logits.value().data, values.data(), logits.value().size());
  return values;
}

template <class Model>
double loss_of(Model& model, const TinyBatch& batch, double scale) {
  Tape<typename Model::Device> tape;
  tape.training = true;
  tape.seed = 9;
  const typename Tape<typename Model::Device>::NoGradient quiet(tape);
  return item(tape, model.loss(tape, batch, scale));
}

template <class Model>
double backward_of(Model& model, const TinyBatch& batch, double scale, bool recompute) {
  Tape<typename Model::Device> tape;
  tape.training = true;
  tape.seed = 9;
  const auto loss = model.loss(tape, batch, scale, recompute);
  const double value = item(tape, loss);
  tape.backward(loss);
  return value;
}

template <class Model>
std::vector<double> decoded_logits_of(Model& model, const std::vector<Index>& tokens, Index prefill) {
  using B = typename Model::Device;
  Tape<B> tape;
  std::vector<AttentionState<B>> states(static_cast<std::size_t>(model.layer_count()));
  std::vector<double> values;
  const auto length = static_cast<Index>(tokens.size());
  for (Index first = 0; first < length;) {
    const Index count = first == 0 ? prefill : 1;
    const typename Tape<B>::Scope scope(tape);
    const Sequences sequences(count, {{0, count, first}});
    const std::span<const Index> chunk(tokens.data() + first, static_cast<std::size_t>(count));
    Var<B> x = model.embed(tape, chunk);
    for (Index i = 0; i < model.layer_count(); ++i) {
      x = model.layer(i).step(tape, x, sequences, model.rope(sequences), states[static_cast<std::size_t>(i)]);
    }
    const Var<B> logits = linear<B>(tape, model.normalize(tape, x), model.head());
    for (const auto value : logits.value().span()) values.push_back(static_cast<double>(value));
    first += count;
  }
  return values;
}

}  // namespace models

#define LOLCATS_INSTANTIATE_MODEL(Model)                                                     \
  template std::vector<double> models::logits_of(Model&, const std::vector<lolcats::Index>&, \
                                                 const lolcats::Sequences&);                 \
  template double models::loss_of(Model&, const models::TinyBatch&, double);                     \
  template double models::backward_of(Model&, const models::TinyBatch&, double, bool);           \
  template std::vector<double> models::decoded_logits_of(Model&, const std::vector<lolcats::Index>&, lolcats::Index)
