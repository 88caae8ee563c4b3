// What linearize is told.
#pragma once

#include "../support/command_line.hpp"
#include "../support/options.hpp"
#include "../support/task_options.hpp"

#include <lolcats/train/adamw.hpp>
#include <lolcats/train/any_schedule.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace examples {

/// One training stage; fields as in Recipe (train/recipe.hpp).
struct StageOptions {
  Index epochs = 2;
  Index updates = 0;  // 0: no limit besides the epochs
  double rate = 0;
  std::string schedule = "plateau";
  Index warmup = 0;
  double floor = 0.1;  // share of the rate that a cosine ends with
  double clip = 0;
  lolcats::AdamWOptions optimizer = {};
  Index evaluate_every = 0;  // 0: once per epoch
  Index patience = 0;
  bool keep_last = false;  // end with the last parameters instead of the best

  lolcats::AnySchedule any_schedule() const;

  /// Fills in the fields that the recipes of both stages share; `per_epoch` is the updates of an epoch.
  template <class Recipe>
  void apply_to(Recipe& recipe, Index per_epoch) const {
    recipe.epochs = epochs;
    recipe.max_updates = updates;
    recipe.learning_rate = rate;
    recipe.schedule = any_schedule();
    recipe.clip = clip;
    recipe.optimizer = optimizer;
    recipe.evaluate_every = evaluate_every > 0 ? evaluate_every : per_epoch;
    recipe.patience = patience;
    recipe.restore_best = !keep_last;
  }
};

/// What the command line says; tasks are scored at the end, teacher and student.
struct Options : SourceOptions, TaskCommandLine {
  std::string student = "hedgehog8-terraced64";
  bool explain = false;  // say what the student is, and end
  Index length = 512;
  Index batch = 8, micro_batch = 0;
  Index gpus = 1;           // processes, each with one of them
  bool shard_base = false;  // they share out the base
  Index documents = 384;  // of the built-in corpus, per epoch
  std::uint64_t seed = 0;
  StageOptions transfer, finetune{.clip = 1.0};
  Index block = 0;          // layers per block of stage 1; 0: all at once
  std::string residuals;    // scratch files of block-wise transfer
  Index first_block = 0, last_block = 0;  // the blocks [first, last) that are trained, and nothing else; last 0: the whole procedure
  double xent_factor = 0;   // of stage 1
  std::string keep_layers;  // how many layers keep their softmax, or which: "4", "3,9"
  std::vector<Index> layer_numbers;  // those in keep_layers
  std::string keep_by = "sensitivity";
  bool plants_facts = false;  // are scores, sizes of caches or layers found on rows with facts?
  Index planted_rows = -1;   // rows with facts that scores of a cache are fitted on; -1 before parse() has found out
  Index recall_length = 0;   // tokens of each, and of those of keep_by; 0: 2,048 or what the model reads
  Index cache_places = 0;    // mean per head; 0: each has what the student's type says
  Index cache_rest = 80;     // of heads that matter less
  std::string heads_by = "sensitivity";  // which heads matter
  Index gate_rows = 400;         // that gates learn on, two per update
  double gate_sparsity = 0.02;  // penalty of an open gate
  bool recompute = false;   // stage 2
  bool train_maps = false;  // stage 2
  double maps_rate = 0;     // of maps in stage 2; 0: theirs is the adapter's, if they are trained
  double distill = 0, temperature = 1;  // share of the teacher in the loss of stage 2
  Index save_every = 0;     // updates between saved states; 0: once per epoch
  double save_minutes = 5;  // the same by the clock
  bool replace = false;     // a finished folder
  bool join = false;        // only makes a checkpoint of finished blocks
  std::vector<std::string> prompts;
  Index max_tokens = 64;
  std::string out, json;

  /// Does --keep-layers say which, not how many?
  bool lists_layers() const { return keep_layers.find(',') != std::string::npos; }
  bool trains_blocks() const { return last_block > 0; }
  /// Do the weights stay on disk?
  bool streams() const { return trains_blocks() || join; }
  /// Where finished blocks lie.
  std::filesystem::path block_folder() const { return std::filesystem::path(out) / "blocks"; }
};

/// Reads the command line.  Ends the program after --help and --list-students, and for what cannot be read.
Options parse(int argc, char** argv);

}  // namespace examples
