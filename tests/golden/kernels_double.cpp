#include "kernels.hpp"

namespace golden {
GOLDEN_BACKEND(Cpu<double>)
GOLDEN_KERNELS(GivenHybrid, Cpu<double>)
GOLDEN_KERNELS(GivenAffine, Cpu<double>)
}  // namespace golden
