// What lolcats_students (cmake/LolcatsKernels.cmake) compiles for a student: `instance` is template or extern template.
//
// Listed are function templates, the outermost of what calls what; data sets and recipes are those that most programs have.
#pragma once

#include "compiled.hpp"

#define LOLCATS_STUDENT(instance, Student)                                                                             \
  namespace lolcats {                                                                                                  \
  instance Student convert<Student>(const Llama<Student::Device>&, std::uint64_t, const std::vector<Index>&);          \
  instance StudentFacts explain<Student>(const LlamaConfig&, Index, const Student::Device&);                           \
  instance TransferResult transfer_attention(Student&, const DataSet&, const DataSet&, const TransferRecipe<>&,        \
                                             const ProgressCallback&);                                                 \
  instance TrainingResult finetune(Student&, const DataSet&, const DataSet&, const FinetuneRecipe<>&,                  \
                                   const ProgressCallback&);                                                           \
  instance Perplexity perplexity(Student&, const DataSet&, Index);                                                     \
  instance Generation generate(Student&, const TokenLists&, const GenerationOptions&, const TokenCallback&);           \
  }
