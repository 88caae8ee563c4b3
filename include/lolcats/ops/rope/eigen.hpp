// Rotary position embedding on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/rope/rope.hpp>

#include <vector>

namespace lolcats {

template <class T>
struct RopeKernel<Cpu<T>> {
  static void rotate(const Cpu<T>&, View<const T> x, const Sequences& sequences, View<const T> cos, View<const T> sin,
                     int direction, Sink<T> y) {
    // Padding gets position 0, whose angle is 0: it is copied.
    std::vector<Index> positions(static_cast<std::size_t>(x.rows()), 0);
    for (const Extent& e : sequences.extents()) {
      for (Index j = 0; j < e.length; ++j) positions[static_cast<std::size_t>(e.row + j)] = e.position + j;
    }
    if (sequences.count() == 0) return copy(x, y);
    const Index grain = std::max<Index>(1, (Index{1} << 14) / std::max<Index>(x.cols(), 1));
    parallel_ranges(x.rows(), grain, [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        const Index position = positions[static_cast<std::size_t>(m)];
        const T* c = cos.data + position * cos.cols();
        const T* s = sin.data + position * cos.cols();
        const T* from = x.data + m * x.cols();
        T* to = y.gradient.data + m * x.cols();
        const T sign = static_cast<T>(direction);
        // A constant number of planes lets the compiler unroll the short loops of small heads.
        switch (cos.cols()) {
          case 4: rotate_row<4>(from, c, s, sign, 4, x.cols(), to, y.add); break;
          case 8: rotate_row<8>(from, c, s, sign, 8, x.cols(), to, y.add); break;
          case 16: rotate_row<16>(from, c, s, sign, 16, x.cols(), to, y.add); break;
          case 32: rotate_row<32>(from, c, s, sign, 32, x.cols(), to, y.add); break;
          case 64: rotate_row<64>(from, c, s, sign, 64, x.cols(), to, y.add); break;
          default: rotate_row<0>(from, c, s, sign, cos.cols(), x.cols(), to, y.add);
        }
      }
    });
  }

 private:
  template <int Planes>
  static void rotate_row(const T* x, const T* cos, const T* sin, T sign, Index planes, Index cols, T* y, bool add) {
    const Index half = Planes ? Planes : planes;
    for (Index head = 0; head < cols; head += 2 * half) {
      const T* low = x + head;
      const T* high = low + half;
      T* y_low = y + head;
      T* y_high = y_low + half;
      if (add) {
#pragma omp simd
        for (Index i = 0; i < half; ++i) {
          y_low[i] += low[i] * cos[i] - sign * high[i] * sin[i];
          y_high[i] += high[i] * cos[i] + sign * low[i] * sin[i];
        }
      } else {
#pragma omp simd
        for (Index i = 0; i < half; ++i) {
          y_low[i] = low[i] * cos[i] - sign * high[i] * sin[i];
          y_high[i] = high[i] * cos[i] + sign * low[i] * sin[i];
        }
      }
    }
  }

  /// All rows are padding; the table may be empty.
  static void copy(View<const T> x, Sink<T> y) {
    for (Index i = 0; i < x.size(); ++i) y.gradient.data[i] = (y.add ? y.gradient.data[i] : T(0)) + x.data[i];
  }
};

}  // namespace lolcats
