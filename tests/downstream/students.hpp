// The students of this project.  lolcats_students compiles each in a unit of its own.
#pragma once

#include "square_and_decay.hpp"

#include <lolcats/core.hpp>

namespace downstream {

template <lolcats::Backend B>
using Student = lolcats::Llama<B, lolcats::Hybrid<SquareAndDecay<4>, lolcats::Sliding<8>>, lolcats::Lora<2>>;
using CpuStudent = Student<lolcats::Cpu<float>>;

}  // namespace downstream
