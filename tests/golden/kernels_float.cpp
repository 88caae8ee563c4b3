#include "kernels.hpp"

namespace golden {
GOLDEN_BACKEND(Cpu<float>)
}  // namespace golden
