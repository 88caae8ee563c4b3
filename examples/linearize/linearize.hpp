// The procedure of the paper, for one student.
#pragma once

#include "../support/corpus.hpp"
#include "../support/device.hpp"
#include "../support/options.hpp"
#include "../support/program.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace examples {

using Teacher = lolcats::Llama<Device>;

/// What the command line says.
struct Options : SourceOptions {
  std::string student = "hedgehog8-terraced64";
  Index length = 512;
  Index batch = 8;
  Index transfer_epochs = 2;
  Index finetune_epochs = 2;
  Index documents = 384;  // of the built-in corpus, per epoch
  std::uint64_t seed = 0;
  std::string out, json;
};

/// What all students of a run share.
struct Job {
  Options options;
  Teacher teacher;
  lolcats::DataSet train, valid;
  std::unique_ptr<lolcats::Tokenizer> tokenizer;
  std::vector<lolcats::SyntheticDocument> documents;  // of `valid`, if it is synthetic: recall is measured on them
};

/// A model's place in the procedure: perplexity, and recall by distance on the synthetic corpus.
struct Stage {
  std::string name;
  lolcats::Perplexity perplexity;
  lolcats::Recall recall;
};

/// Everything a run found out.
struct Report {
  std::vector<Stage> stages;
  nlohmann::ordered_json json;
  std::string prompt, continuation;
  std::size_t state_bytes = 0;
};

template <class Model>
Stage measure(const std::string& name, Model& model, const Job& job) {
  Stage stage{name, lolcats::perplexity(model, job.valid, job.options.batch), {}};
  if (!job.documents.empty()) {
    stage.recall = lolcats::recall_by_distance(model, job.documents, {10, 65, 129, 257}, job.options.batch);
  }
  return stage;
}

/// Linearizes the teacher as `Entry` of the zoo says, and writes the checkpoint.
/// Defined below; each entry is instantiated in one of the units of this folder.
template <class Entry>
Report linearize(Job& job);

}  // namespace examples
