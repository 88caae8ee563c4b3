// Stage 1, attention transfer: feature maps and gamma learn to reproduce the softmax attention of their own layer.
#pragma once

#include <lolcats/train/transfer_task.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace lolcats {

/// How to transfer; the defaults are the paper's (arXiv:2410.10254, Table 8).  Fields as in Recipe.
template <Schedule S = ReduceOnPlateau>
struct TransferRecipe {
  Index epochs = 2;
  Index max_updates = 0;
  Index batch = 8;
  Index micro_batch = 0;
  bool shuffle = true;
  std::uint64_t seed = 0;
  double learning_rate = 1e-2;
  S schedule = {};
  AdamWOptions optimizer = {};
  double clip = 0;  // the published runs did not clip [QUIRKS 29]
  Index evaluate_every = 100;
  Index patience = 0;
  bool restore_best = true;
  std::filesystem::path checkpoint = {};  // block-wise: one file per block, with ".block<i>" appended
  Index checkpoint_every = 0;
  double checkpoint_minutes = 0;
  std::function<bool()> stop = {};
  TrainingLog log = {};
  std::string identity = {};
  RunIdentity inputs = {};
  Communicator* communicator = nullptr;

  /// loss = mse_factor * mean of squared differences + xent_factor * mean cross-entropy of attention weights, each a
  /// mean over the layers.  The cross-entropy costs O(N^2) time; the 405B run used 1.
  double mse_factor = 1000;
  double xent_factor = 0;

  /// Layers per block; blocks are trained one after the other, each over all epochs, and do not depend on each other.
  /// 0: all layers at once.
  Index block = 0;
  /// Block-wise: keeps the teacher's stream that enters the block in scratch files beside this path (ScratchFile: tokens * C *
  /// sizeof(Scalar) bytes for all rows), instead of running all layers below for every batch.
  std::filesystem::path residuals = {};
};

/// What a transfer did.
struct TransferResult {
  std::vector<TrainingResult> blocks;  // one, unless block-wise
  std::vector<double> mse_per_layer;   // on the validation data: mean over tokens, heads and head size, not scaled

  /// Of training alone, over all blocks.
  double seconds() const {
    double sum = 0;
    for (const TrainingResult& block : blocks) sum += block.training_seconds;
    return sum;
  }
  /// Tokens that went through the whole model per second.
  double tokens_per_second() const { return seconds() > 0 ? static_cast<double>(blocks.front().tokens) / seconds() : 0; }
};

namespace detail {

/// A transfer block by block: what is done with one of them, wherever its weights come from.
template <class Model, TrainingData Train, TrainingData Validation, Schedule S>
class BlockTransfer {
 public:
  using B = typename Model::Device;

  /// All by reference; errors: ConfigError for an impossible recipe.
  BlockTransfer(Model& student, const Train& data, const Validation& validation, const TransferRecipe<S>& recipe,
                const ProgressCallback& progress)
      : student_(student), data_(data), validation_(validation), recipe_(recipe), progress_(progress) {
    require<ConfigError>(recipe.block >= 0, "transfer: block is {}, expected 0 (all layers) or more", recipe.block);
    check_validation("transfer", recipe, static_cast<Index>(validation.size()));
    size_ = recipe.block > 0 ? std::min(recipe.block, student.layer_count()) : student.layer_count();
  }

  /// Blocks, and the layers [first, last) of one.
  Index count() const { return (student_.layer_count() + size_ - 1) / size_; }
  Index first(Index block) const { return block * size_; }
  Index last(Index block) const { return std::min(student_.layer_count(), first(block) + size_); }
  std::string layers(Index block) const { return fmt::format("{} to {}", first(block), last(block) - 1); }

  /// What a block is made from besides the recipe.  Without `identified` the costly part is left out.
  RunIdentity inputs(bool identified) const {
    RunIdentity inputs = recipe_.inputs;
    // Not the adapter, which is off: students that differ in it share the maps.
    inputs["attention"] = student_.attention_name() + places_of(student_);
    if (!identified) return inputs;
    add_model(inputs, student_);
    // What the attention has beside the parameters that are trained, such as scores that were fitted.
    Parameters<B> fitted = student_.attention_parameters();
    fitted.erase(fitted.begin(), fitted.begin() + static_cast<std::ptrdiff_t>(student_.transfer_parameters().size()));
    if (!fitted.empty()) add_input(inputs, "fitted", [&] { return fingerprint_of(student_.backend(), fitted); });
    add_data(inputs, data_, validation_);
    return inputs;
  }

  /// What a block trains.
  Parameters<B> parameters(Index block) const {
    Parameters<B> parameters;
    for (Index layer = first(block); layer < last(block); ++layer) {
      for (const auto& p : of_layer(layer)) parameters.push_back(p);
    }
    return parameters;
  }

  /// Keeps the streams that enter layer `layer`, in files where the recipe says or in host memory.
  void begin_streams(Index layer) {
    make_streams();
    run_streams(streams_, {}, layer);
  }
  /// Takes them from layer `first` to layer `last`, in their place or in files of their own.
  void advance_streams(Index first, Index last, bool in_place) {
    if (in_place) return run_streams(streams_, first, last);
    const Streams before = std::exchange(streams_, {});
    make_streams();
    run_streams(before, first, last);
  }

  /// Trains a block, from the streams if there are any, otherwise through the layers below, and adds to `result`.
  void train_block(Index block, const RunIdentity& inputs, const std::filesystem::path& checkpoint, TransferResult& result) {
    std::vector<bool> learns;
    for (Index layer = first(block); layer < last(block); ++layer) learns.push_back(!of_layer(layer).empty());
    if (std::ranges::count(learns, true) == 0 && !student_.transfer_parameters().empty()) {  // layers without maps only
      if (validation_.size() > 0) result.mse_per_layer.insert(result.mse_per_layer.end(), learns.size(), 0.0);
      return;
    }
    const TrainedScope<Model> trained(student_, parameters(block), "transfer");
    TransferTask<Model, Validation> task(
        student_, validation_,
        {first(block), last(block), recipe_.mse_factor, recipe_.xent_factor, rows(), learns, &communicator_of(recipe_)},
        {streams_.train.get(), streams_.validation.get()});
    auto loop = loop_recipe(recipe_, count() > 1 ? fmt::format("transfer block {}/{}", block + 1, count()) : "transfer");
    loop.inputs.insert(inputs.begin(), inputs.end());
    loop.inputs["layers"] = layers(block);
    loop.checkpoint = checkpoint;
    result.blocks.push_back(train(student_.backend(), trained.parameters(), TransferData<Train>{data_}, task, loop, progress_));
    if (validation_.size() > 0) {
      task.evaluate();
      result.mse_per_layer.insert(result.mse_per_layer.end(), task.mse().begin(), task.mse().end());
    }
  }

 private:
  /// Of a forward pass.
  Index rows() const { return recipe_.micro_batch > 0 ? recipe_.micro_batch : recipe_.batch; }

  Parameters<B> of_layer(Index layer) const {
    Parameters<B> all = student_.transfer_parameters();
    std::erase_if(all, [prefix = fmt::format("model.layers.{}.", layer)](const auto& p) { return !p.name.starts_with(prefix); });
    return all;
  }

  struct Streams {
    std::shared_ptr<ResidualFile<B>> train, validation;
  };

  void make_streams() {
    const auto make = [&](const auto& set) {  // on every rank, for any may meet any row
      std::vector<Index> lengths;
      for_row_groups(static_cast<Index>(set.size()), 1, [&](std::span<const Index> row) {
        lengths.push_back(static_cast<Index>(set.batch(row).tokens.size()));
      });
      return std::make_shared<ResidualFile<B>>(student_.backend(), recipe_.residuals, student_.config().hidden_size, lengths);
    };
    streams_.train = make(data_);
    streams_.validation = make(validation_);
  }

  /// `from` layer `first`, or from the tokens; `from` may be what is written to.
  void run_streams(const Streams& from, std::optional<Index> first, Index last) {
    Tape<B> tape(student_.backend());
    TeacherStream<Model> stream(tape, student_);
    const auto run = [&](const auto& set, const ResidualFile<B>& source, ResidualFile<B>& target) {
      // On the CPU one by one: what a row is then does not depend on batches.
      for_row_groups(static_cast<Index>(set.size()), in_host_memory<B> ? 1 : rows(), [&](std::span<const Index> group) {
        const auto batch = set.batch(group);
        if (first) {
          const Array<B> x = source.read(group);
          stream.start(*first, x.view(), batch.sequences);
        } else {
          stream.start(batch.tokens, batch.sequences);
        }
        while (stream.layer() < last) stream.advance();
        target.write(group, stream.value());
        if (recipe_.stop && recipe_.stop()) {
          throw Interrupted(fmt::format("transfer: stopped on the way to layer {}; finished blocks are kept", last), "transfer", 0);
        }
      });
    };
    run(data_, *from.train, *streams_.train);
    run(validation_, *from.validation, *streams_.validation);
  }

  Model& student_;
  const Train& data_;
  const Validation& validation_;
  const TransferRecipe<S>& recipe_;
  const ProgressCallback& progress_;
  Index size_ = 0;  // layers of a block
  Streams streams_;
};

}  // namespace detail

/// Trains feature maps and gamma of `student` so that each layer's attention reproduces the softmax attention that the
/// same layer computes from the same projections (arXiv:2410.10254, section 3.2, Eqs. 6 and 8).
///
/// The teacher's output goes on to the next layer, so no gradient crosses layers: each layer's backward pass runs at
/// once and the memory is that of one layer.  Nothing but `transfer_parameters()` is trained; all parameters are
/// frozen afterwards.  A layer without maps (PerLayer) has no loss, counts in no mean, and has 0 in `mse_per_layer`.  Losses are means over all tokens of an update, padding left out.
///
/// Data sets are TrainingData whose batches are Batch.  Errors: those of `train`; NumericError naming the layer whose
/// loss is not finite; ConfigError if there is nothing to train or nothing to evaluate on.
template <class Model, TrainingData Train, TrainingData Validation, Schedule S = ReduceOnPlateau>
TransferResult transfer_attention(Model& student, const Train& data, const Validation& validation,
                                  const TransferRecipe<S>& recipe = {}, const ProgressCallback& progress = {}) {
  detail::BlockTransfer<Model, Train, Validation, S> transfer(student, data, validation, recipe, progress);
  const RunIdentity inputs = transfer.inputs(detail::is_identified(recipe));
  TransferResult result;
  for (Index block = 0; block < transfer.count(); ++block) {
    if (!recipe.residuals.empty() && block == 1) transfer.begin_streams(transfer.first(block));
    if (!recipe.residuals.empty() && block > 1) transfer.advance_streams(transfer.first(block - 1), transfer.first(block), false);
    std::filesystem::path checkpoint = recipe.checkpoint;
    if (transfer.count() > 1 && !checkpoint.empty()) checkpoint += fmt::format(".block{}", block);
    transfer.train_block(block, inputs, checkpoint, result);
  }
  return result;
}
/// Any Llama, by code that is compiled once for all.
template <LlamaModel Model, TrainingData Train, TrainingData Validation, Schedule S = ReduceOnPlateau>
TransferResult transfer_attention(Model& student, const Train& data, const Validation& validation,
                                  const TransferRecipe<S>& recipe = {}, const ProgressCallback& progress = {}) {
  AnyLlamaOf<Model> any(student);
  detail::set_weight_cross_entropy(any, student);
  return transfer_attention<AnyLlama<typename Model::Device>>(any, data, validation, recipe, progress);
}

}  // namespace lolcats
