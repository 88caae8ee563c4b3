// Arithmetic of elements on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/elementwise/elementwise.hpp>

#include <algorithm>
#include <vector>

namespace lolcats {

namespace eigen {

/// Elements per work item of a memory-bound loop: 64 KiB of floats, a few microseconds.
inline constexpr Index element_grain = Index{1} << 14;

/// Elements [first, last) of a dense array, as an Eigen array.
template <class T>
auto elements(View<T> x, Index first, Index last) {
  using Plain = Eigen::Array<std::remove_const_t<T>, Eigen::Dynamic, 1>;
  return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Plain, Plain>>(x.data + first, last - first);
}

/// Writes or adds.
template <class Destination, class Expression>
void put(Destination&& destination, const Expression& expression, bool add) {
  if (add) {
    destination += expression;
  } else {
    destination = expression;
  }
}

/// f(m, first, last) for each row m of a matrix and its elements, in parallel.
template <class T, class F>
void for_rows(View<T> x, F&& f) {
  const Index cols = x.cols();
  parallel_ranges(x.rows(), std::max<Index>(1, element_grain / std::max<Index>(1, cols)), [&](Index begin, Index end) {
    for (Index m = begin; m < end; ++m) f(m, m * cols, (m + 1) * cols);
  });
}

/// The sum of f(first, last) over blocks that cover [0, count), added in double and in order: the same on any number
/// of threads.  Blocks are short, so that a sum of floats inside one loses little.
template <class F>
double ordered_sum(Index count, F&& f) {
  constexpr Index block = 512;
  std::vector<double> partial(static_cast<std::size_t>((count + element_grain - 1) / element_grain));
  parallel_ranges(count, element_grain, [&](Index first, Index last) {
    double total = 0;
    for (Index at = first; at < last; at += block) total += static_cast<double>(f(at, std::min(at + block, last)));
    partial[static_cast<std::size_t>(first / element_grain)] = total;
  });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

}  // namespace eigen

template <class T>
struct ElementwiseKernel<Cpu<T>> {
  static void add(const Cpu<T>&, View<const T> a, View<const T> b, View<T> y) {
    parallel_ranges(y.size(), eigen::element_grain, [&](Index first, Index last) {
      eigen::elements(y, first, last) = eigen::elements(a, first, last) + eigen::elements(b, first, last);
    });
  }

  static void multiply(const Cpu<T>&, View<const T> a, View<const T> b, Sink<T> y) {
    parallel_ranges(a.size(), eigen::element_grain, [&](Index first, Index last) {
      eigen::put(eigen::elements(y.gradient, first, last), eigen::elements(a, first, last) * eigen::elements(b, first, last), y.add);
    });
  }

  static void exp(const Cpu<T>&, View<const T> x, View<T> y) {
    parallel_ranges(x.size(), eigen::element_grain, [&](Index first, Index last) {
      eigen::elements(y, first, last) = eigen::elements(x, first, last).exp();
    });
  }

  static void accumulate(const Cpu<T>&, View<const T> x, double factor, Sink<T> y) {
    const T by = static_cast<T>(factor);
    parallel_ranges(x.size(), eigen::element_grain, [&](Index first, Index last) {
      eigen::put(eigen::elements(y.gradient, first, last), by * eigen::elements(x, first, last), y.add);
    });
  }

  static void sum(const Cpu<T>&, View<const T> x, double factor, View<T> y) {
    y.data[0] = static_cast<T>(factor * eigen::ordered_sum(x.size(), [&](Index first, Index last) {
                                 return eigen::elements(x, first, last).sum();
                               }));
  }

  static void fill(const Cpu<T>&, View<const T> value, double factor, Sink<T> x) {
    const T by = static_cast<T>(factor * static_cast<double>(value.data[0]));
    parallel_ranges(x.gradient.size(), eigen::element_grain, [&](Index first, Index last) {
      if (x.add) {
        eigen::elements(x.gradient, first, last) += by;
      } else {
        eigen::elements(x.gradient, first, last).setConstant(by);
      }
    });
  }
};

}  // namespace lolcats
