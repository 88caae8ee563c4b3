// How a model with some layers or caches changed predicts, by the definition: one row at a time, in plain loops.
#pragma once

#include "../train/tiny_llama.hpp"

#include <lolcats/eval/layer_sensitivity.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/ops/divergence/naive.hpp>

#include <vector>

namespace plain {

template <class Model, class Teacher>
lolcats::Swapped swapped(Model& model, Teacher& teacher, const lolcats::DataSet& data) {
  lolcats::Swapped sum;
  double tokens = 0;
  for (lolcats::Index r = 0; r < data.size(); ++r) {
    const lolcats::Batch batch = data.batch(r, 1);
    lolcats::Tape<lolcats::Cpu<double>> tape;
    const auto host = [](lolcats::View<const double> x) { return std::vector<double>(x.data, x.data + x.size()); };
    const auto hidden = host(model.hidden(tape, batch.tokens, batch.sequences).value());
    const auto wanted = host(teacher.hidden(tape, batch.tokens, batch.sequences).value());
    for (const double x : lolcats::naive::token_divergences(hidden, wanted, host(model.head().value), batch.labels, 19, 16, 1.0)) sum.divergence += x;
    tokens += static_cast<double>(batch.supervised());
  }
  sum.divergence /= tokens;
  sum.loss = lolcats::perplexity(model, data).loss;
  return sum;
}

}  // namespace plain
