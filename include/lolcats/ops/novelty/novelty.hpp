// How unlike the keys before it each key is: what Novelty (policy/cache.hpp) scores keys by.
#pragma once

#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/sequences.hpp>

#include <span>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, k (M, G * D), heads G, sequences, sums, y (M, G))
/// y of row t of an extent is 1 - k_t.m / (|k_t| |m|), m the sum of k_j / |k_j| over the rows before it and of sums[n] (G, D), which
/// stand for earlier ones; 1 where either is zero, and a zero key adds nothing.  In Real, in the order of the rows.
/// `sums` has an address per extent, where the sum goes on to be kept, or is empty: nothing came before, nothing is kept.
/// Rows outside every extent are zero.
template <Backend B>
struct NoveltyKernel;

/// Novelty y (M, G) of keys k (M, G * D), by head; a constant.  `sums` as the kernel takes them.
/// Throws ShapeError naming the argument.
template <Backend B>
Var<B> novelty(Tape<B>& tape, Var<B> k, const Sequences& sequences, Index heads, std::span<Real<B>* const> sums = {}) {
  require<ShapeError>(heads > 0 && k.cols() % heads == 0 && k.rows() == sequences.rows(),
                      "novelty: k has shape {}, expected ({}, {} * D)", to_string(k.shape()), sequences.rows(), heads);
  require<ShapeError>(sums.empty() || static_cast<Index>(sums.size()) == sequences.count(),
                      "novelty: {} sums, expected {}, one per sequence", sums.size(), sequences.count());
  auto [y, out] = tape.result(Shape{k.rows(), heads}, false);
  NoveltyKernel<B>::forward(tape.backend(), k.value(), heads, sequences, sums, out);
  return y;
}

}  // namespace lolcats
