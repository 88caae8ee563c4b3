// Tests that need a GPU skip where there is none, and say so.
#pragma once

#include <lolcats/backend/cuda_runtime.cuh>

#include <cstdio>
#include <string>

namespace lolcats::testing {

/// Is there a GPU that can run this program?  If not, prints why, once:  `if (!have_gpu()) return;`
inline bool have_gpu() {
  static const bool found = [] {
    std::string reason;
    if (cuda::available(&reason)) return true;
    std::fprintf(stderr, "skipped: %s\n", reason.c_str());
    return false;
  }();
  return found;
}

}  // namespace lolcats::testing
