// Rotary position embedding, on the tape.
#pragma once

#include <lolcats/ops/rope/table.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/sequences.hpp>

namespace lolcats {

/// Specialised per backend:
///   rotate(backend, x (M, H * D), sequences, cos (P, D / 2), sin (P, D / 2), direction, Sink y)
///     y = or += x with plane (i, i + D / 2) of every head turned by direction (+1 or -1) times the angle of the row's
///     position; rows outside every extent are copied.
template <Backend B>
struct RopeKernel;

/// y (M, H * D): plane (i, i + D / 2) of every head of x turned by position * frequency[i].
///
/// Row `row + j` of an extent has position `position + j`; rows outside every extent (padding) stay as they are.
/// Pairs i with i + D / 2 ("rotate half", the order of Hugging Face weights), not with i + 1.
/// `sequences` and `table` must outlive the tape's scope.  Su et al. 2021, arXiv:2104.09864.
template <Backend B>
Var<B> rope(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) {
  require<ShapeError>(x.rows() == sequences.rows(), "rope: x has {} rows, expected the {} of the sequences", x.rows(),
                      sequences.rows());
  require<ShapeError>(table.head_dim() > 0 && x.cols() % table.head_dim() == 0,
                      "rope: x has {} columns, expected a multiple of the head size {}", x.cols(), table.head_dim());
  for (const Extent& e : sequences.extents()) {
    require<DataError>(e.position + e.length <= table.positions(),
                       "rope: position {} in the extent at row {}, expected less than {}, the size of the table "
                       "(reserve)",
                       e.position + e.length - 1, e.row, table.positions());
  }
  auto [y, out] = tape.result(x.shape(), x.wants_gradient());
  RopeKernel<B>::rotate(tape.backend(), x.value(), sequences, table.cos(), table.sin(), 1, Sink<Scalar<B>>{out, false});
  tape.record(y, [&tape, &sequences, &table, x, y = y] {
    RopeKernel<B>::rotate(tape.backend(), y.gradient(), sequences, table.cos(), table.sin(), -1, x.sink());
  });
  return y;
}

}  // namespace lolcats
