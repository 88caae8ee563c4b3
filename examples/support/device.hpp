// What the programs compute on: the CPU or, in the units that nvcc compiles, the GPU.  Everything else is the same text.
#pragma once

#ifdef __CUDACC__
#include <lolcats/cuda.cuh>
#else
#include <lolcats/lolcats.hpp>
#endif

namespace examples {

#ifdef __CUDACC__
using Device = lolcats::Cuda<lolcats::bf16>;
#else
using Device = lolcats::Cpu<float>;
#endif

}  // namespace examples
