// The two students that most programs of this folder train, compiled once: students.cpp.
#pragma once

#include "../../support/device.hpp"

#include <lolcats/data/dataset.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/transfer.hpp>

#include <vector>

namespace examples {

/// Hedgehog<rank> and T2R<2 * rank> have the same number of features.  8 suits the built-in teacher and stories260K, whose
/// heads have a size of 8; for heads of 128 compile with -DLOLCATS_STUDY_RANK=64, as the paper has it.
#ifndef LOLCATS_STUDY_RANK
#define LOLCATS_STUDY_RANK 8
#endif
inline constexpr lolcats::Index rank = LOLCATS_STUDY_RANK;

using Teacher = lolcats::Llama<Device>;
using BlendStudent = lolcats::Llama<Device, lolcats::Hybrid<lolcats::Hedgehog<rank>, lolcats::Terraced<64>>, lolcats::Lora<8>>;
using LinearStudent = lolcats::Llama<Device, lolcats::Linear<lolcats::Hedgehog<rank>>, lolcats::Lora<8>>;

}  // namespace examples

#ifndef LOLCATS_STUDENTS
#define LOLCATS_STUDENTS extern template
#endif
#define LOLCATS_STUDENT(S)                                                                                       \
  LOLCATS_STUDENTS S lolcats::convert<S>(const examples::Teacher&, std::uint64_t, const std::vector<lolcats::Index>&); \
  LOLCATS_STUDENTS lolcats::TransferResult lolcats::transfer_attention(                                          \
      S&, const lolcats::DataSet&, const lolcats::DataSet&, const lolcats::TransferRecipe<>&,                    \
      const lolcats::ProgressCallback&);                                                                         \
  LOLCATS_STUDENTS lolcats::TrainingResult lolcats::finetune(S&, const lolcats::DataSet&, const lolcats::DataSet&, \
                                                             const lolcats::FinetuneRecipe<>&,                   \
                                                             const lolcats::ProgressCallback&);                  \
  LOLCATS_STUDENTS lolcats::Perplexity lolcats::perplexity(S&, const lolcats::DataSet&, lolcats::Index)

LOLCATS_STUDENT(examples::BlendStudent);
LOLCATS_STUDENT(examples::LinearStudent);

#undef LOLCATS_STUDENT
