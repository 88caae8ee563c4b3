// Perplexity on a data set.
#pragma once

#include <lolcats/data/batch.hpp>
#include <lolcats/data/row_groups.hpp>
#include <lolcats/model/any_llama.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/tape/tape.hpp>

#include <cmath>
#include <span>
#include <vector>

namespace lolcats {

/// What a model thinks of a text.
struct Perplexity {
  double loss = 0;        // nats per predicted token
  double perplexity = 0;  // exp(loss)
  /// The mean over sequences of exp(mean loss of the sequence), which some publications report; never below the exp of
  /// the mean of the sequences' losses [QUIRKS 33].
  double mean_of_sequences = 0;
  Index tokens = 0;     // predicted
  Index sequences = 0;  // with at least one predicted token
};

/// Perplexity of `model` on the rows of `data`, `rows` of them per forward pass.  The (M, V) logits are never formed.
///
/// `data` is TrainingData whose batches are Batch.  Throws DataError if no token is supervised and NumericError naming
/// the first row whose loss is not finite.
template <class Model, class Data>
Perplexity perplexity(Model& model, const Data& data, Index rows = 8) {
  using B = typename Model::Device;
  require<ConfigError>(rows > 0, "perplexity: rows is {}, expected at least 1", rows);
  Perplexity result;
  Tape<B> tape(model.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  double sum = 0, sum_of_exponentials = 0;
  detail::for_row_groups(static_cast<Index>(data.size()), rows, [&](std::span<const Index> group) {
    const Batch batch = data.batch(group);
    const typename Tape<B>::Scope scope(tape);
    const Var<B> hidden = model.hidden(tape, batch.tokens, batch.sequences);
    const View<Real<B>> losses = token_losses(tape, hidden.value(), model.head().value, batch.labels);
    std::vector<double> host(batch.labels.size());
    tape.backend().to_host(losses.data, host.data(), losses.size());

    std::size_t row = 0;
    for (const Index index : group) {
      const std::size_t end = row + data.batch(std::span(&index, 1)).tokens.size();
      double total = 0;
      Index count = 0;
      for (; row < end; ++row) {
        if (batch.labels[row] == ignored_label) continue;
        total += host[row];
        ++count;
      }
      require<NumericError>(std::isfinite(total), "perplexity: the loss of row {} is {}", index, total);
      if (count == 0) continue;
      sum += total;
      sum_of_exponentials += std::exp(total / static_cast<double>(count));
      result.tokens += count;
      ++result.sequences;
    }
  });
  require<DataError>(result.tokens > 0, "perplexity: no token of the data is supervised");
  result.loss = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  result.mean_of_sequences = sum_of_exponentials / static_cast<double>(result.sequences);
  return result;
}
/// Any Llama, by code that is compiled once for all.
template <LlamaModel Model, class Data>
Perplexity perplexity(Model& model, const Data& data, Index rows = 8) {
  AnyLlamaOf<Model> any(model);
  return perplexity<AnyLlama<typename Model::Device>>(any, data, rows);
}

}  // namespace lolcats
