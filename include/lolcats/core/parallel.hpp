// Parallel loops over independent work items.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <exception>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace lolcats {

/// Number of threads that parallel_for uses; set it with OMP_NUM_THREADS.
inline int max_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Calls f(i) once for each i in [0, count), in any order, on all threads.
///
/// Items must not write to the same memory; then the result does not depend on the number of threads.
/// The first exception of any item is rethrown here.  A loop inside a loop runs serially.
template <class F>
void parallel_for(Index count, F&& f) {
#ifdef _OPENMP
  if (count > 1 && omp_get_max_threads() > 1 && !omp_in_parallel()) {
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1)
    for (Index i = 0; i < count; ++i) {
      try {
        f(i);
      } catch (...) {
#pragma omp critical(lolcats_parallel_for)
        if (!failure) failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    return;
  }
#endif
  for (Index i = 0; i < count; ++i) f(i);
}

/// Splits [0, count) into ranges of at most `grain` and calls f(first, last) for each, in parallel.
///
/// The split depends on count and grain alone, so results are the same on any number of threads.
template <class F>
void parallel_ranges(Index count, Index grain, F&& f) {
  grain = std::max<Index>(grain, 1);
  parallel_for((count + grain - 1) / grain, [&](Index block) {
    f(block * grain, std::min(count, (block + 1) * grain));
  });
}

}  // namespace lolcats
