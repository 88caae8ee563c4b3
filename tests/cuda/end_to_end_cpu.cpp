// The CPU's part of cuda_test.cu.
#include "end_to_end.hpp"

#include <lolcats/model/cpu.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/cpu.hpp>

namespace end_to_end {
Outcome on_cpu() { return run<Cpu<float>>(); }
}  // namespace end_to_end
