// Where a producer or a consumer stands in a ring of buffers.
#pragma once

#include <lolcats/ops/attention/hopper/instructions.cuh>

namespace lolcats::hopper {

/// A place in a ring of `Stages` buffers, each with a barrier for "full" and one for "empty", and the parity of the phase
/// in which they are there.
template <int Stages>
struct RingPosition {
  int stage = 0;
  int phase = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == Stages) {
      stage = 0;
      phase ^= 1;
    }
  }
  __device__ __forceinline__ void wait_full(const Barrier* full) const { full[stage].wait(phase); }
  /// In the first round nothing has to be emptied: the phase before a barrier's first counts as completed.
  __device__ __forceinline__ void wait_empty(const Barrier* empty) const { empty[stage].wait(phase ^ 1); }
};

}  // namespace lolcats::hopper
