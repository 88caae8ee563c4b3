#include "kernels.hpp"

namespace golden {
GOLDEN_BACKEND(Cuda<float>)
}  // namespace golden
