// The procedure of the paper, for one student.
#pragma once

#include "../models/any_model.hpp"
#include "options.hpp"

#include <lolcats/eval/tasks/tasks.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

namespace examples {

/// A text to validate on, by the name of its column.
struct ValidationText {
  std::string name;
  lolcats::DataSet rows;
};

/// What a run works on.
struct Job {
  Options options;
  std::unique_ptr<AnyModel> teacher;
  std::unique_ptr<lolcats::Tokenizer> tokenizer;
  lolcats::DataSet train, valid;      // `valid` holds all texts of `texts`: the stages select by it
  std::vector<ValidationText> texts;  // judged one by one
  lolcats::TaskSet tasks;                             // none, or what is scored at the end
  std::vector<lolcats::SyntheticDocument> documents;  // of `valid`, if it is synthetic: recall is measured on them
  lolcats::Communicator* communicator = nullptr;      // the processes that train together: rank 0 alone writes
};

/// A model's place in the procedure: perplexity per text, and recall by distance on the synthetic corpus.
struct Stage {
  std::string name;
  std::vector<lolcats::Perplexity> perplexity;
  lolcats::Recall recall;
};

/// A prompt, and how teacher and student go on.
struct Continuation {
  std::string prompt, teacher, student;
};

/// Everything a run found out.
struct Report {
  std::vector<Stage> stages;
  std::vector<Continuation> continuations;
  nlohmann::ordered_json json;
  std::size_t state_bytes = 0;   // of one sequence at the end of a continuation
  std::unique_ptr<AnyModel> student;
};

/// Linearizes the teacher as the options say, and writes the checkpoint.  On ranks other than 0 the report is of no use but for the
/// student.
Report linearize(Job& job);

/// For a teacher that is an outline: trains blocks of stage 1, which wait in --out for `linearize` or `join_blocks`; makes a
/// checkpoint of them, whose adapter changes nothing, and returns the mean squared error of each layer.
lolcats::StreamedResult train_blocks(Job& job);
std::vector<double> join_blocks(Job& job);

}  // namespace examples
