// Stage 1 of a model of which only a block of layers is ever in memory, and its blocks as jobs of their own.
#pragma once

#include <lolcats/io/folder_lock.hpp>
#include <lolcats/train/block_file.hpp>
#include <lolcats/train/layer_weights.hpp>
#include <lolcats/train/transfer.hpp>

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

namespace lolcats {

/// Which blocks a job trains, and where finished ones lie.
struct BlockJob {
  Index first = 0, last = 0;          // blocks [first, last); last 0: all from `first` on
  std::filesystem::path folder = {};  // of all blocks (train/block_file.hpp); empty: nothing is kept
};

/// What a job did.
struct StreamedResult {
  TransferResult transfer;      // `blocks` of those that were trained now; `mse_per_layer` of all blocks of the job
  double seconds = 0;            // all in all
  double seconds_waiting = 0;    // of these, for weights
  double seconds_streaming = 0;  // of these, in the teacher's forward passes between blocks
};

namespace detail {

template <class Transfer, class R, class Data>
RunIdentity identity_of_block(const Transfer& transfer, const R& recipe, const Data& data, RunIdentity inputs, Index block) {
  inputs["layers"] = transfer.layers(block);
  return block_identity(recipe, static_cast<Index>(data.size()), inputs);
}

}  // namespace detail

/// `transfer_attention` in blocks of `recipe.block` layers for a student made by `without_weights`.
///
/// A block's weights are read while the block before is trained, or when they are needed (LayerWeights), and released behind it.
/// What enters a block is the teacher's stream, kept in `recipe.residuals` or, where that is empty, in host memory; the embedding is
/// needed to begin it, final norm and head never.  A job that begins at a later block runs the layers below once.  On the CPU
/// the result has the bits of `transfer_attention` with the same recipe and residuals.
///
/// With a folder each finished block is written there, and one that is there already is not trained again; an interrupted job
/// goes on where it was.  `recipe.checkpoint` must be empty: states lie beside the blocks.  The student has what was learned.
///
/// Errors: those of `transfer_attention` and of the source; ConfigError for blocks that are not there, for one that another
/// job trains now, and for a finished one that was made from something else; FileError where residuals find no room.
template <LlamaModel Model, TrainingData Train, TrainingData Validation, Schedule S = ReduceOnPlateau>
StreamedResult transfer_blocks(Model& student, const WeightSource<Scalar<typename Model::Device>>& source, const Train& data,
                               const Validation& validation, TransferRecipe<S> recipe, const BlockJob& job = {},
                               const ProgressCallback& progress = {}) {
  const detail::Stopwatch clock;
  Communicator& communicator = detail::communicator_of(recipe);
  require<ConfigError>(recipe.checkpoint.empty(), "transfer_blocks: checkpoint is {}, expected none: states lie in the folder of blocks",
                       recipe.checkpoint.string());
  const bool keeps = !job.folder.empty(), identified = keeps || communicator.size() > 1;
  if (!keeps) {
    recipe.checkpoint_every = 0;
    recipe.checkpoint_minutes = 0;
  }
  detail::BlockTransfer<Model, Train, Validation, S> transfer(student, data, validation, recipe, progress);
  const Index begin = job.first, end = job.last > 0 ? job.last : transfer.count();
  require<ConfigError>(begin >= 0 && begin < end && end <= transfer.count(), "transfer: blocks {}:{}, expected some of 0:{}", begin, end,
                       transfer.count());
  if (identified) detail::add_input(recipe.inputs, "base", [&] { return fingerprint_of_weights(student, source, "transfer"); });
  const RunIdentity inputs = transfer.inputs(identified);

  std::vector<std::unique_ptr<FolderLock>> locks;
  std::vector<bool> finished(static_cast<std::size_t>(end), false);
  StreamedResult result;
  Index needed = 0;  // blocks that have to be loaded
  std::vector<std::vector<double>> mse(static_cast<std::size_t>(end));
  const auto identity = [&](Index block) { return detail::identity_of_block(transfer, recipe, data, inputs, block); };
  for (Index block = begin; block < end; ++block) {
    const auto at = static_cast<std::size_t>(block);
    if (keeps && communicator.leads()) {
      const auto folder = block_file(job.folder, block).parent_path();
      create_folder(folder);
      locks.push_back(std::make_unique<FolderLock>(folder));
      remove_temporaries(folder);
    }
    if (keeps && path_exists(block_file(job.folder, block))) {
      const auto parameters = transfer.parameters(block);
      auto found = load_block(block_file(job.folder, block), identity(block), student.backend(), parameters);
      found.move_to(parameters);
      mse[at] = std::move(found.mse_per_layer);
      finished[at] = true;
    } else {
      needed = block + 1;
    }
  }
  communicator.barrier();  // behind it, blocks become finished

  LayerWeights<Model> weights(student, source);
  const auto prefetch = [&](Index block) {
    if (block < needed) weights.prefetch(transfer.first(block), transfer.last(block));
  };
  const auto streaming = [&](auto&& run) {
    const detail::Stopwatch part;
    run();
    result.seconds_streaming += part.seconds();
  };
  if (needed > 0) {
    weights.load_embedding();
    prefetch(0);
    streaming([&] { transfer.begin_streams(0); });
  }
  for (Index block = 0; block < needed; ++block) {
    const auto at = static_cast<std::size_t>(block);
    weights.load(transfer.first(block), transfer.last(block));
    prefetch(block + 1);
    if (block >= begin && !finished[at]) {
      const auto file = block_file(job.folder, block), state = file.parent_path() / "transfer.state";
      TransferResult trained;
      transfer.train_block(block, inputs, keeps ? state : std::filesystem::path(), trained);
      mse[at] = trained.mse_per_layer;
      result.transfer.blocks.insert(result.transfer.blocks.end(), trained.blocks.begin(), trained.blocks.end());
      if (keeps && communicator.leads()) {
        save_block(file, identity(block), student.backend(), transfer.parameters(block), mse[at]);
        std::filesystem::remove(state);
      }
    }
    if (block + 1 < needed) streaming([&] { transfer.advance_streams(transfer.first(block), transfer.last(block), true); });
  }
  for (const auto& part : mse) result.transfer.mse_per_layer.insert(result.transfer.mse_per_layer.end(), part.begin(), part.end());
  result.seconds_waiting = weights.seconds();
  result.seconds = clock.seconds();
  return result;
}

/// Gives a student what the finished blocks in `folder` learned; returns their `mse_per_layer`.
///
/// All blocks must be there, made with this recipe from these data and from a base with the student's fingerprint (rounded to
/// bf16, so that they may come from any backend), which `recipe.inputs["base"]` says where it is known.  Nothing changes otherwise.
/// Errors: ConfigError naming the block that is missing, or its file and the field that differs; those of `load_block`.
template <LlamaModel Model, TrainingData Train, TrainingData Validation, Schedule S>
std::vector<double> join_blocks(Model& student, const Train& data, const Validation& validation, TransferRecipe<S> recipe,
                                const std::filesystem::path& folder) {
  using B = typename Model::Device;
  detail::add_input(recipe.inputs, "base", [&] { return fingerprint_of_base(std::as_const(student), true); });
  const ProgressCallback silent;
  detail::BlockTransfer<Model, Train, Validation, S> transfer(student, data, validation, recipe, silent);
  const RunIdentity inputs = transfer.inputs(true);
  std::vector<FinishedBlock<B>> blocks;
  for (Index block = 0; block < transfer.count(); ++block) {
    const auto file = block_file(folder, block);
    require<ConfigError>(path_exists(file), "{}: block {} of {} (layers {} to {}) is missing, expected {}; train it first", folder.string(),
                         block, transfer.count(), transfer.first(block), transfer.last(block) - 1, file.string());
    blocks.push_back(load_block(file, detail::identity_of_block(transfer, recipe, data, inputs, block), student.backend(), transfer.parameters(block)));
  }
  std::vector<double> mse;
  for (Index block = 0; block < transfer.count(); ++block) {
    auto& found = blocks[static_cast<std::size_t>(block)];
    found.move_to(transfer.parameters(block));
    mse.insert(mse.end(), found.mse_per_layer.begin(), found.mse_per_layer.end());
  }
  return mse;
}

}  // namespace lolcats
