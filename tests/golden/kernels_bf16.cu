#include "kernels.hpp"

namespace golden {
GOLDEN_BACKEND(Cuda<bf16>)
}  // namespace golden
