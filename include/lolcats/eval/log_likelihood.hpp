// Log-likelihoods of continuations, many at once.
#pragma once

#include <lolcats/eval/language_model.hpp>

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

namespace lolcats {

/// How likely is `continuation` behind `context`?  Both hold at least one token.
struct Continuation {
  std::vector<Index> context;
  std::vector<Index> continuation;
};

/// The sum over the tokens of a continuation.
struct Likelihood {
  double log_likelihood = 0;  // in nats
  bool greedy = false;        // is every token the most likely one, given the right ones before it?
};

/// How to read.  Results do not depend on it but for rounding.
struct ReadingOptions {
  Index batch_tokens = 0;  // of a forward pass; 0: what the model recommends
  Index shared_from = -1;  // contexts of this many tokens are read once for all that share them; -1: as the model says
  bool greedy = false;     // is Likelihood::greedy wanted?
  std::function<void(Index done, Index total)> progress = {};  // in continuations
};

/// What it cost.
struct ReadingCost {
  Index passes = 0;
  Index tokens = 0;  // read in all passes
};

namespace detail {

/// Reads continuations in batches.  Nothing is read twice in one batch of sequences: a text that begins another is read
/// with it, so continuations of one token cost no more than their context.
class ContinuationReader {
 public:
  ContinuationReader(LanguageModel& model, std::span<const Continuation> list, const ReadingOptions& options)
      : model_(model),
        list_(list),
        options_(options),
        budget_(options.batch_tokens > 0 ? options.batch_tokens : model.batch_tokens()),
        shared_from_(options.shared_from >= 0 ? options.shared_from : model.shared_from()),
        result_(list.size(), {0.0, options.greedy}) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      require<DataError>(!list[i].context.empty() && !list[i].continuation.empty(),
                         "log_likelihoods: request {} has {} context tokens and {} to score, expected some of both", i,
                         list[i].context.size(), list[i].continuation.size());
    }
  }

  std::vector<Likelihood> read() {
    divide();
    const auto longest_first = [](const auto& a, const auto& b) { return a.size > b.size; };
    std::stable_sort(plain_.begin(), plain_.end(), longest_first);
    std::stable_sort(shared_.begin(), shared_.end(), longest_first);
    in_batches(plain_, [this](std::span<const Text> texts) { read_plain(texts); });
    in_batches(shared_, [this](std::span<const Group> groups) { read_shared(groups); });
    return std::move(result_);
  }
  const ReadingCost& cost() const { return cost_; }

 private:
  /// A text to be read, and the requests whose tokens are found in it.
  struct Text {
    std::size_t longest;                // the request that it is read for: all its tokens but the last
    std::vector<std::size_t> requests;  // with `longest`
    Index size = 0;                     // tokens
  };
  /// Texts with one context.
  struct Group {
    std::vector<Text> texts;
    Index size = 0;  // tokens that their states hold in the end
  };

  const std::vector<Index>& context(std::size_t request) const { return list_[request].context; }
  const std::vector<Index>& continuation(std::size_t request) const { return list_[request].continuation; }
  /// What has to be read of a request: the last token predicts nothing.
  Index text_size(std::size_t request) const {
    return static_cast<Index>(context(request).size() + continuation(request).size()) - 1;
  }
  Index token(std::size_t request, Index i) const {
    const auto at = static_cast<std::size_t>(i);
    const std::size_t before = context(request).size();
    return at < before ? context(request)[at] : continuation(request)[at - before];
  }

  bool text_less(std::size_t a, std::size_t b) const {
    const Index na = text_size(a), nb = text_size(b);
    for (Index i = 0; i < std::min(na, nb); ++i) {
      if (token(a, i) != token(b, i)) return token(a, i) < token(b, i);
    }
    return na < nb;
  }
  bool begins(std::size_t a, std::size_t b) const {  // is the text of a the beginning of that of b?
    const Index n = text_size(a);
    if (n > text_size(b)) return false;
    for (Index i = 0; i < n; ++i) {
      if (token(a, i) != token(b, i)) return false;
    }
    return true;
  }

  /// The texts to be read for some requests.
  std::vector<Text> texts_of(std::vector<std::size_t> requests) const {
    std::stable_sort(requests.begin(), requests.end(),
                     [this](std::size_t a, std::size_t b) { return text_less(a, b); });
    std::vector<Text> texts;
    // In this order, what begins another text begins the next one.
    for (std::size_t i = requests.size(); i-- > 0;) {
      if (texts.empty() || !begins(requests[i], texts.back().longest))
        texts.push_back({requests[i], {}, text_size(requests[i])});
      texts.back().requests.push_back(requests[i]);
    }
    return texts;
  }

  void divide() {
    std::vector<std::size_t> order(list_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [this](std::size_t a, std::size_t b) { return context(a) < context(b); });
    std::vector<std::size_t> alone;
    for (std::size_t first = 0, end; first < order.size(); first = end) {
      for (end = first + 1; end < order.size() && context(order[end]) == context(order[first]);) ++end;
      const std::vector<std::size_t> requests(order.begin() + static_cast<std::ptrdiff_t>(first),
                                              order.begin() + static_cast<std::ptrdiff_t>(end));
      if (end - first > 1 && static_cast<Index>(context(order[first]).size()) >= shared_from_) {
        Group group{texts_of(requests), 0};
        if (group.texts.size() > 1) {
          for (const Text& text : group.texts) group.size += text.size;
          shared_.push_back(std::move(group));
          continue;
        }
      }
      alone.insert(alone.end(), requests.begin(), requests.end());
    }
    plain_ = texts_of(std::move(alone));
  }

  template <class T, class F>
  void in_batches(const std::vector<T>& list, F&& f) {
    for (std::size_t first = 0, end; first < list.size(); first = end) {
      Index size = list[first].size;
      for (end = first + 1; end < list.size() && size + list[end].size <= budget_; ++end) size += list[end].size;
      f(std::span(list).subspan(first, end - first));
      if (options_.progress) options_.progress(done_, static_cast<Index>(list_.size()));
    }
  }

  void read_plain(std::span<const Text> texts) {
    ScoringBatch batch;
    std::vector<std::size_t> owners;
    for (const Text& text : texts) {
      const auto row = static_cast<Index>(batch.tokens.size());
      append(batch, text.longest, 0);
      for (const std::size_t request : text.requests) {
        ask(batch, owners, request, row + static_cast<Index>(context(request).size()) - 1, 0);
        ++done_;
      }
    }
    add(owners, submit(batch, false));
  }

  void read_shared(std::span<const Group> groups) {
    ScoringBatch contexts, rest;
    std::vector<std::size_t> of_contexts, of_rest;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const std::vector<Index>& shared = context(groups[g].texts.front().longest);
      contexts.tokens.insert(contexts.tokens.end(), shared.begin(), shared.end());
      contexts.lengths.push_back(static_cast<Index>(shared.size()));
      const auto last = static_cast<Index>(contexts.tokens.size()) - 1;
      for (const Text& text : groups[g].texts) {
        const auto row = static_cast<Index>(rest.tokens.size());
        if (continuation(text.longest).size() > 1) {
          append(rest, text.longest, static_cast<Index>(shared.size()));
          rest.contexts.push_back(static_cast<Index>(g));
        }
        for (const std::size_t request : text.requests) {
          of_contexts.push_back(request);
          contexts.targets.push_back({last, continuation(request).front()});
          ask(rest, of_rest, request, row, 1);
          ++done_;
        }
      }
    }
    add(of_contexts, submit(contexts, true));
    if (!rest.tokens.empty()) add(of_rest, submit(rest, false));
  }

  /// The text of a request, from a token on, as a new sequence.
  void append(ScoringBatch& batch, std::size_t request, Index first) const {
    for (Index i = first; i < text_size(request); ++i) batch.tokens.push_back(token(request, i));
    batch.lengths.push_back(text_size(request) - first);
  }
  /// Asks for the tokens of a continuation from number `first` on, the first of them behind `row`.
  void ask(ScoringBatch& batch, std::vector<std::size_t>& owners, std::size_t request, Index row,
           std::size_t first) const {
    for (std::size_t i = first; i < continuation(request).size(); ++i, ++row) {
      batch.targets.push_back({row, continuation(request)[i]});
      owners.push_back(request);
    }
  }
  std::vector<TokenScore> submit(ScoringBatch& batch, bool keep) {
    batch.greedy = options_.greedy;
    ++cost_.passes;
    cost_.tokens += static_cast<Index>(batch.tokens.size());
    return keep ? model_.read_contexts(batch) : model_.score(batch);
  }
  void add(const std::vector<std::size_t>& owners, const std::vector<TokenScore>& scores) {
    for (std::size_t i = 0; i < owners.size(); ++i) {
      Likelihood& sum = result_[owners[i]];
      sum.log_likelihood += scores[i].log_likelihood;
      sum.greedy = sum.greedy && scores[i].greedy;
    }
  }

  LanguageModel& model_;
  std::span<const Continuation> list_;
  const ReadingOptions& options_;
  Index budget_, shared_from_, done_ = 0;
  std::vector<Text> plain_;
  std::vector<Group> shared_;
  std::vector<Likelihood> result_;
  ReadingCost cost_;
};

}  // namespace detail

/// The log-likelihood of every continuation, in their order.
///
/// Texts that begin alike are read once: a text that begins another always, a context of `shared_from` tokens or more
/// by copying the state that it left.  Errors: DataError for an empty context or continuation; LanguageModel's.
inline std::vector<Likelihood> log_likelihoods(LanguageModel& model, std::span<const Continuation> list,
                                               const ReadingOptions& options = {}, ReadingCost* cost = nullptr) {
  detail::ContinuationReader reader(model, list, options);
  std::vector<Likelihood> result = reader.read();
  if (cost) *cost = reader.cost();
  return result;
}

}  // namespace lolcats
