// The method on the CPU: policies, models, both stages of training, perplexity, generation.
//
// Half of lolcats.hpp.  Not here: the reading of checkpoints (model/load.hpp), texts and tokenizers (data/open_text.hpp,
// tokenizer/open.hpp), benchmarks (eval/tasks/), ablations and their pictures.  JSON comes with the states of training alone,
// whose headers are safetensors', and not where lolcats::kernels is linked.
#pragma once

#include <lolcats/data/dataset.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/explain.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/identity.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/train/cpu.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/transfer.hpp>
