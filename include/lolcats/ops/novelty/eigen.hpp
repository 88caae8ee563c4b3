// Novelty of keys on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/novelty/novelty.hpp>

#include <cmath>
#include <vector>

namespace lolcats {

template <class T>
struct NoveltyKernel<Cpu<T>> {
  static void forward(const Cpu<T>& backend, View<const T> k, Index heads, const Sequences& sequences, std::span<T* const> sums, View<T> y) {
    if (sequences.padded()) backend.zero(y.data, y.size());
    const Index size = k.cols() / heads;
    parallel_for(sequences.count() * heads, [&](Index item) {
      const Index n = item / heads, g = item % heads;
      using Vector = Eigen::Matrix<T, Eigen::Dynamic, 1>;
      std::vector<T> nothing;
      if (sums.empty()) nothing.assign(static_cast<std::size_t>(size), T(0));
      Eigen::Map<Vector> sum(sums.empty() ? nothing.data() : sums[static_cast<std::size_t>(n)] + g * size, size);
      const Extent& e = sequences[n];
      for (Index t = e.row; t < e.row + e.length; ++t) {
        const Eigen::Map<const Vector> key(k.data + t * k.cols() + g * size, size);
        const T length = key.norm(), both = length * sum.norm();
        y.data[t * heads + g] = both > T(0) ? T(1) - key.dot(sum) / both : T(1);
        if (length > T(0)) sum += key / length;
      }
    });
  }
};

}  // namespace lolcats
