// All of lolcats, the CUDA backend included: for units that nvcc compiles.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/lolcats.hpp>
#include <lolcats/model/cuda.cuh>
#include <lolcats/ops/attention/cuda_weights.cuh>
#include <lolcats/ops/concat/cuda.cuh>
#include <lolcats/ops/lerp/cuda.cuh>
#include <lolcats/ops/softmax/cuda.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/train/background_upload.cuh>
#include <lolcats/train/cuda.cuh>
