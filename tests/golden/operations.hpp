// The kernels of all operations but attention, for the backends that a unit is compiled for.
#pragma once

#ifdef __CUDACC__
#include <lolcats/model/cuda.cuh>
#include <lolcats/ops/feature_map/cuda.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/train/cuda.cuh>
#else
#include <lolcats/model/cpu.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/cpu.hpp>
#endif
