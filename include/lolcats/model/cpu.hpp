// The kernels that a Llama needs on the CPU.
#pragma once

#include <lolcats/ops/arg_max/eigen.hpp>
#include <lolcats/ops/attention/eigen.hpp>
#include <lolcats/ops/attention/eigen_state.hpp>
#include <lolcats/ops/blend/eigen.hpp>
#include <lolcats/ops/concat/eigen.hpp>
#include <lolcats/ops/cross_entropy/eigen.hpp>
#include <lolcats/ops/delta_rule/eigen.hpp>
#include <lolcats/ops/divergence/eigen.hpp>
#include <lolcats/ops/dropout/eigen.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/embedding/eigen.hpp>
#include <lolcats/ops/feature_map/eigen.hpp>
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/lora_linear/eigen.hpp>
#include <lolcats/ops/rms_norm/eigen.hpp>
#include <lolcats/ops/novelty/eigen.hpp>
#include <lolcats/ops/rope/eigen.hpp>
#include <lolcats/ops/softmax/eigen.hpp>
#include <lolcats/ops/swiglu/eigen.hpp>
