// The token embedding of a model.
#pragma once

#include <lolcats/ops/embedding/embedding.hpp>

#include <span>
#include <string>

namespace lolcats {

/// y (M, C): a row of the table (V, C) for each token.
template <Backend B>
class Embedding {
 public:
  Embedding() = default;
  Embedding(Index vocabulary, Index width) : shape_{vocabulary, width} {}

  /// The tokens must outlive the tape's scope.  Throws DataError for a token outside the vocabulary.
  Var<B> operator()(Tape<B>& tape, std::span<const Index> tokens) const { return embedding<B>(tape, tokens, table_); }

  const Parameter<B>& table() const { return table_; }

  /// f(name, shape, parameter).
  template <class F>
  void visit_base(const std::string& name, F&& f) {
    f(name + ".weight", shape_, table_);
  }

 private:
  Shape shape_;
  Parameter<B> table_;  // (V, C)
};

}  // namespace lolcats
