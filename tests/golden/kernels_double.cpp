#include "kernels.hpp"

namespace golden {
GOLDEN_BACKEND(Cpu<double>)
}  // namespace golden
