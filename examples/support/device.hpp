// What the programs compute on: the CPU or, in the units that nvcc compiles, the GPU.  Everything else is the same text.
#pragma once

#ifdef __CUDACC__
#include <lolcats/cuda.cuh>
#include <lolcats/distributed/nccl.cuh>
#else
#include <lolcats/distributed/mpi.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/lerp/eigen.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/cpu.hpp>
#endif
#include <lolcats/distributed/launch.hpp>
#include <lolcats/model/llama.hpp>

namespace examples {

#ifdef __CUDACC__
using Device = lolcats::Cuda<lolcats::bf16>;
#else
using Device = lolcats::Cpu<float>;
#endif

}  // namespace examples
