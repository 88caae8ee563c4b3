// Rows of a table, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

#include <span>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, tokens, table (V, C), y (M, C))            y[m] = table[tokens[m]]
///   table_gradient(backend, tokens, dy (M, C), dtable (V, C))   dtable[tokens[m]] += dy[m], in Real, in the order of m
template <Backend B>
struct EmbeddingKernel;

/// y (M, C): row tokens[m] of table (V, C).  A token outside 0 ... V - 1 is a DataError.
/// The tokens must outlive the tape's scope.
template <Backend B>
Var<B> embedding(Tape<B>& tape, std::span<const Index> tokens, std::type_identity_t<Weight<B>> table) {
  require<ShapeError>(table.shape().rank() == 2, "embedding: table has shape {}, expected (V, C)",
                      to_string(table.shape()));
  const Index vocabulary = table.shape()[0];
  for (std::size_t m = 0; m < tokens.size(); ++m) {
    require<DataError>(tokens[m] >= 0 && tokens[m] < vocabulary, "embedding: token {} at row {}, expected 0 ... {}",
                       tokens[m], m, vocabulary - 1);
  }
  auto [y, out] = tape.result(Shape{static_cast<Index>(tokens.size()), table.shape()[1]}, table.trained());
  EmbeddingKernel<B>::forward(tape.backend(), tokens, table.value, out);
  tape.record(y, [&tape, tokens, table, y = y] {
    EmbeddingKernel<B>::table_gradient(tape.backend(), tokens, y.gradient(), table.gradient);
  });
  return y;
}

}  // namespace lolcats
