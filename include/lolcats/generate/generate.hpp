// Text from a model: prefill, chunked prefill, and decoding token by token.
#pragma once

#include <lolcats/core/parallel.hpp>
#include <lolcats/generate/sampler.hpp>
#include <lolcats/generate/state.hpp>
#include <lolcats/model/any_llama.hpp>
#include <lolcats/ops/arg_max/arg_max.hpp>
#include <lolcats/ops/linear/linear.hpp>
#include <lolcats/ops/rope/table.hpp>
#include <lolcats/tape/tape.hpp>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace lolcats {

/// A batch of token lists of any lengths.
using TokenLists = std::vector<std::vector<Index>>;

/// Reads tokens with a model and keeps its state; every call returns the logits behind the last token read.
///
/// Prefill, chunked prefill at any split, and decoding are the same operation with more or fewer tokens, and give the
/// logits of one pass over the whole sequences.
template <class Model>
class Reader {
 public:
  using B = typename Model::Device;

  /// `chunk` bounds the tokens of one sequence that are read at once, and with them the memory; 0: no bound.
  /// The model must outlive the reader.
  Reader(Model& model, Index sequences, Index chunk = 0)
      : model_(model), state_(model.layer_count(), sequences), chunk_(chunk), tape_(model.backend()) {
    require<ConfigError>(chunk >= 0, "Reader: chunk is {}, expected 0 (no bound) or more", chunk);
  }

  const ModelState<B>& state() const { return state_; }
  /// For those who change it between tokens, as studies of precision do.
  ModelState<B>& state() { return state_; }

  /// Reads `tokens[i]` as the continuation of sequence `sequences[i]`; returns one row of V logits for each.
  /// Lists may have any lengths but none.  Throws DataError for an empty list or an unknown token.
  std::vector<std::vector<double>> read(const TokenLists& tokens, std::span<const Index> sequences) {
    std::vector<std::vector<double>> logits(tokens.size());
    std::vector<Scalar<B>> host;
    read_pieces(tokens, sequences, [&](Var<B> scores, std::span<const std::size_t> lists) {
      host.resize(static_cast<std::size_t>(scores.shape().size()));
      download(tape_.backend(), scores.value().data, host.data(), scores.shape().size());
      parallel_for(scores.rows(), [&](Index n) {
        const auto first = host.begin() + static_cast<std::ptrdiff_t>(n * scores.cols());
        logits[lists[static_cast<std::size_t>(n)]].assign(first, first + scores.cols());
      });
    });
    return logits;
  }
  std::vector<std::vector<double>> read(const TokenLists& tokens) { return read(tokens, everyone(tokens)); }

  /// The same, but returns the most likely next token of each; the logits stay where they are.
  std::vector<Index> read_greedily(const TokenLists& tokens, std::span<const Index> sequences) {
    std::vector<Index> chosen(tokens.size());
    read_pieces(tokens, sequences, [&](Var<B> scores, std::span<const std::size_t> lists) {
      const std::vector<Index> columns = arg_max(tape_, scores);
      for (std::size_t n = 0; n < lists.size(); ++n) chosen[lists[n]] = columns[n];
    });
    return chosen;
  }
  std::vector<Index> read_greedily(const TokenLists& tokens) { return read_greedily(tokens, everyone(tokens)); }

 private:
  static std::vector<Index> everyone(const TokenLists& tokens) {
    std::vector<Index> all(tokens.size());
    std::iota(all.begin(), all.end(), Index{0});
    return all;
  }

  /// Reads lists in pieces of at most `chunk_` tokens; visit(scores (lists, V), lists) gets the logits behind each piece.
  template <class F>
  void read_pieces(const TokenLists& lists, std::span<const Index> sequences, F&& visit) {
    require<ShapeError>(lists.size() == sequences.size() && !lists.empty(),
                        "Reader::read: {} token lists for {} sequences, expected one each", lists.size(),
                        sequences.size());
    std::size_t longest = 0;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      require<DataError>(!lists[i].empty(), "Reader::read: the tokens of sequence {} are empty, expected at least one",
                         sequences[i]);
      longest = std::max(longest, lists[i].size());
    }
    const std::size_t step = chunk_ > 0 ? static_cast<std::size_t>(chunk_) : longest;
    for (std::size_t at = 0; at < longest; at += step) read_piece(lists, sequences, at, step, visit);
  }

  /// Tokens [at, at + step) of every list that is that long.
  template <class F>
  void read_piece(const TokenLists& lists, std::span<const Index> sequences, std::size_t at, std::size_t step, F&& visit) {
    std::vector<Index> tokens, active;
    std::vector<std::size_t> lists_here;
    std::vector<Extent> extents;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      if (lists[i].size() <= at) continue;
      const std::size_t count = std::min(step, lists[i].size() - at);
      extents.push_back({static_cast<Index>(tokens.size()), static_cast<Index>(count), state_.length(sequences[i])});
      tokens.insert(tokens.end(), lists[i].begin() + static_cast<std::ptrdiff_t>(at),
                    lists[i].begin() + static_cast<std::ptrdiff_t>(at + count));
      active.push_back(sequences[i]);
      lists_here.push_back(i);
    }
    const Sequences division(static_cast<Index>(tokens.size()), std::move(extents));
    const RopeTable<B>& rope = model_.rope(division);

    const typename Tape<B>::Scope scope(tape_);
    const typename Tape<B>::NoGradient quiet(tape_);
    Var<B> x = model_.embed(tape_, tokens);
    for (Index layer = 0; layer < model_.layer_count(); ++layer) {
      x = model_.layer(layer).step(tape_, x, division, rope, state_.layer(layer), active);
    }
    // Only the last row of each sequence meets the vocabulary.
    const Index width = x.cols();
    const View<Scalar<B>> last = tape_.template scratch<Scalar<B>>(Shape{division.count(), width});
    for (Index n = 0; n < division.count(); ++n) {
      const Index row = division[n].row + division[n].length - 1;
      tape_.backend().copy(x.value().data + row * width, last.data + n * width, width);
    }
    const Var<B> scores = linear(tape_, model_.normalize(tape_, tape_.constant(last)), model_.head());
    visit(scores, std::span<const std::size_t>(lists_here));
  }

  Model& model_;
  ModelState<B> state_;
  Index chunk_;
  Tape<B> tape_;
};

/// How to generate.
struct GenerationOptions {
  Index max_tokens = 128;        // new tokens per sequence
  std::vector<Index> stop = {};  // a sequence ends before any of these
  Sampler sampler = {};          // greedy
  Index chunk = 2048;            // tokens of a prompt that are read at once; 0: all
};

/// Called with every new token as it is chosen (stop tokens left out); return false to end that sequence.
using TokenCallback = std::function<bool(Index sequence, Index token)>;

/// What was generated.
struct Generation {
  TokenLists tokens;            // new tokens of each sequence
  std::size_t state_bytes = 0;  // of the decoding state at the end
};

/// Continues every prompt, all of them as one batch; sequences that end drop out of it.
///
/// What a sequence says depends on its prompt, the options and its place in the list, not on its company, up to rounding:
/// products of more rows may add in another order, which shows where two logits are equal but for the last bits.
/// Throws DataError for an empty prompt or an unknown token.
template <class Model>
Generation generate(Model& model, const TokenLists& prompts, const GenerationOptions& options = {},
                    const TokenCallback& on_token = {}) {
  require<DataError>(!prompts.empty(), "generate: there are no prompts");
  require<ConfigError>(options.max_tokens >= 0, "generate: max_tokens is {}, expected 0 or more", options.max_tokens);
  Reader<Model> reader(model, static_cast<Index>(prompts.size()), options.chunk);
  Generation result{TokenLists(prompts.size()), 0};
  if (options.max_tokens == 0) return result;

  std::vector<Index> active(prompts.size());
  std::iota(active.begin(), active.end(), Index{0});
  TokenLists next = prompts;
  for (Index step = 0; !active.empty(); ++step) {
    std::vector<Index> chosen(active.size());
    if (options.sampler.temperature == 0) {
      chosen = reader.read_greedily(next, active);
    } else {
      const auto logits = reader.read(next, active);
      parallel_for(static_cast<Index>(active.size()), [&](Index i) {
        const auto at = static_cast<std::size_t>(i);
        chosen[at] = options.sampler(logits[at], active[at], step);
      });
    }
    std::vector<Index> going_on;
    next.clear();
    for (std::size_t i = 0; i < active.size(); ++i) {
      const Index sequence = active[i], token = chosen[i];
      if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end()) continue;
      result.tokens[static_cast<std::size_t>(sequence)].push_back(token);
      const bool wanted = !on_token || on_token(sequence, token);
      if (!wanted || step + 1 == options.max_tokens) continue;
      going_on.push_back(sequence);
      next.push_back({token});
    }
    active = std::move(going_on);
  }
  result.state_bytes = reader.state().bytes();
  return result;
}
/// Any Llama, by code that is compiled once for all.
template <LlamaModel Model>
Generation generate(Model& model, const TokenLists& prompts, const GenerationOptions& options = {},
                    const TokenCallback& on_token = {}) {
  AnyLlamaOf<Model> any(model);
  any.set_attend_step();
  return generate<AnyLlama<typename Model::Device>>(any, prompts, options, on_token);
}

}  // namespace lolcats
