// The column of the largest entry of each row.
#pragma once

#include <lolcats/tape/tape.hpp>

#include <cstdint>
#include <vector>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, x (M, V), column (M))   the first of equals; -1 where a row holds a number that is not finite
template <Backend B>
struct ArgMaxKernel;

/// The column of the largest entry of each row of x (M, V), the first of equals: the most likely token of logits.
///
/// The numbers stay where they are, only the columns come to the host.  Throws NumericError for a row with an entry that
/// is not finite.  Records nothing.
template <Backend B>
std::vector<Index> arg_max(Tape<B>& tape, Var<B> x) {
  require<ShapeError>(x.cols() > 0, "arg_max: x has shape {}, expected at least one column", to_string(x.shape()));
  const typename Tape<B>::Scope scope(tape);
  const View<std::int32_t> columns = tape.template scratch<std::int32_t>(Shape{x.rows()});
  ArgMaxKernel<B>::forward(tape.backend(), x.value(), columns);
  std::vector<double> host(static_cast<std::size_t>(x.rows()));
  tape.backend().to_host(columns.data, host.data(), x.rows());
  std::vector<Index> result;
  for (const double column : host) {
    require<NumericError>(column >= 0, "arg_max: row {} holds a number that is not finite", result.size());
    result.push_back(static_cast<Index>(column));
  }
  return result;
}

}  // namespace lolcats
