// The kernels that a Llama needs on CUDA.
#pragma once

#include <lolcats/ops/arg_max/cuda.cuh>
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_state.cuh>
#include <lolcats/ops/blend/cuda.cuh>
#include <lolcats/ops/cross_entropy/cuda.cuh>
#include <lolcats/ops/delta_rule/cuda.cuh>
#include <lolcats/ops/divergence/cuda.cuh>
#include <lolcats/ops/dropout/cuda.cuh>
#include <lolcats/ops/elementwise/cuda.cuh>
#include <lolcats/ops/embedding/cuda.cuh>
#include <lolcats/ops/feature_map/cuda.cuh>
#include <lolcats/ops/linear/cuda.cuh>
#include <lolcats/ops/lora_linear/cuda.cuh>
#include <lolcats/ops/rms_norm/cuda.cuh>
#include <lolcats/ops/novelty/cuda.cuh>
#include <lolcats/ops/rope/cuda.cuh>
#include <lolcats/ops/swiglu/cuda.cuh>
