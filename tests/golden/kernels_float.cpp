#include "kernels.hpp"

namespace golden {
GOLDEN_KERNELS(FileHybrid, float)
GOLDEN_KERNELS(FileAffine, float)
GOLDEN_KERNELS(FileLinear, float)
GOLDEN_KERNELS(FileSoftmax, float)
GOLDEN_KERNELS(GivenLinear, float)
}  // namespace golden
