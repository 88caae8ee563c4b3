#include "kernels.hpp"

namespace golden {
GOLDEN_KERNELS(FileHybrid, double)
GOLDEN_KERNELS(FileAffine, double)
GOLDEN_KERNELS(FileLinear, double)
GOLDEN_KERNELS(FileSoftmax, double)
GOLDEN_KERNELS(GivenLinear, double)
}  // namespace golden
