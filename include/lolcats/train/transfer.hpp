// Stage 1, attention transfer: feature maps and gamma learn to reproduce the softmax attention of their own layer.
#pragma once

#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/ops/elementwise/elementwise.hpp>
#include <lolcats/ops/squared_error/squared_error.hpp>
#include <lolcats/ops/weight_cross_entropy/weight_cross_entropy.hpp>
#include <lolcats/train/next_token.hpp>
#include <lolcats/train/residual_file.hpp>

#include <memory>
#include <optional>
#include <type_traits>

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
  /// Block-wise: keeps the teacher's stream that enters the block in files of this name plus a suffix, instead of
  /// running all layers below for every batch.  They are removed at the end.
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

/// A batch that knows which rows of the data set it was made of.
struct TransferBatch {
  Batch batch;
  std::vector<Index> rows;
};

/// A data set of TransferBatch.
template <TrainingData Data>
struct TransferData {
  const Data& data;
  Index size() const { return static_cast<Index>(data.size()); }
  TransferBatch batch(std::span<const Index> rows) const { return {data.batch(rows), {rows.begin(), rows.end()}}; }
};

/// Can the weights of an attention be compared with the teacher's, wherever it has maps?
template <ModelAttention A>
inline constexpr bool compares_weights = FeatureMap<typename A::Map>;
template <AttentionPolicy... A>
inline constexpr bool compares_weights<PerLayer<A...>> = ((!has_maps<A> || FeatureMap<typename A::Map>) && ...);

/// The loss of layers [first, last), and its gradient layer by layer.
template <class Model, TrainingData Validation>
class TransferTask {
 public:
  using B = typename Model::Device;
  using A = typename Model::Attention;
  static constexpr bool weights_can_be_compared = compares_weights<A>;

  struct Options {
    Index first = 0, last = 0;  // layers
    double mse_factor = 1000, xent_factor = 0;
    Index rows = 8;  // per forward pass of an evaluation
    std::vector<bool> learns = {};  // of each layer; one that does not has no loss.  Empty: all
    Communicator* communicator = nullptr;  // whose ranks share an evaluation.  Null: none
  };
  /// Where the stream that enters `first` comes from, if not from the layers below.
  struct Residuals {
    ResidualFile<B>* train = nullptr;
    ResidualFile<B>* validation = nullptr;
  };

  TransferTask(Model& model, const Validation& validation, const Options& options, const Residuals& residuals)
      : model_(model), validation_{validation}, options_(options), residuals_(residuals), tape_(model.backend()) {
    if (options_.learns.empty()) options_.learns.assign(static_cast<std::size_t>(layers()), true);
    require<ConfigError>(options.xent_factor == 0 || weights_can_be_compared,
                         "transfer: xent_factor is {}, expected 0 for {}, whose map is composed of operations",
                         options.xent_factor, A::name());
  }

  Index supervised(const TransferBatch& b) const { return b.batch.sequences.tokens(); }

  double step(const TransferBatch& b, const MicroStep& at) {
    tape_.seed = at.seed;
    tape_.update = at.update;
    return run(b, residuals_.train, at.scale, true, [](Index, double) {});
  }

  /// The loss on the validation data; also finds mse().
  double evaluate() {
    const double tokens = static_cast<double>(all_tokens());
    const auto count = static_cast<std::size_t>(layers());
    const auto evaluate_rows = [&](std::span<const Index> rows, std::span<double> found) {  // mse of each layer, and the loss
      found[count] = run(validation_.batch(rows), residuals_.validation, 1 / tokens, false,
                         [&](Index layer, double mse) { found[static_cast<std::size_t>(layer - options_.first)] = mse; });
    };
    mse_ = sum_over_row_groups(or_alone(options_.communicator), validation_.size(), options_.rows, count + 1, evaluate_rows);
    const double loss = mse_.back();
    mse_.pop_back();
    return loss;
  }

  /// Of the last evaluation: the mean squared error of each layer of the block.
  const std::vector<double>& mse() const { return mse_; }

  std::size_t peak_bytes() const { return tape_.peak_bytes(); }

 private:
  Index layers() const { return options_.last - options_.first; }
  Index learning() const { return std::ranges::count(options_.learns, true); }

  Index all_tokens() {
    if (validation_tokens_ == 0) {
      for_row_groups(validation_.size(), options_.rows,
                     [&](std::span<const Index> rows) { validation_tokens_ += supervised(validation_.batch(rows)); });
      require<DataError>(validation_tokens_ > 0, "transfer: the validation data has no tokens");
    }
    return validation_tokens_;
  }

  /// The loss times (scale * tokens); observe(layer, mse) gets the mean squared error times the same.
  template <class F>
  double run(const TransferBatch& b, ResidualFile<B>* residuals, double scale, bool backward, F&& observe) {
    const auto& config = model_.config();
    const double heads = static_cast<double>(config.heads);
    const double entries = heads * static_cast<double>(config.head_dim);
    const double share = scale / static_cast<double>(learning());
    tape_.training = backward;

    TeacherStream<Model> stream(tape_, model_);
    if (residuals) {
      const Array<B> x = residuals->read(b.rows);
      stream.start(options_.first, x.view(), b.batch.sequences);
    } else {
      stream.start(b.batch.tokens, b.batch.sequences);
      while (stream.layer() < options_.first) stream.advance();
    }

    // The losses stay with the backend until the last layer is done: to wait for each would leave it idle.
    if (!losses_) losses_ = Array<B, Real<B>>(Shape{2, layers()});
    tape_.backend().zero(losses_.data(), losses_.size());
    while (stream.layer() < options_.last) {
      const Index index = stream.layer();
      if (!options_.learns[static_cast<std::size_t>(index - options_.first)]) {
        stream.advance();
        continue;
      }
      stream.advance([&](auto& layer, const auto& qkv, const Var<B>& target) {
        std::optional<typename Tape<B>::NoGradient> quiet;
        if (!backward) quiet.emplace(tape_);
        const Var<B> predicted = layer.attend(tape_, qkv, b.batch.sequences);
        const Loss<B> squared = squared_error(tape_, predicted, target.value(), share / entries);
        Loss<B> loss = lolcats::scale(tape_, squared, options_.mse_factor);
        if constexpr (weights_can_be_compared) {
          if (options_.xent_factor != 0) {
            const auto compare = [&]<class Policy>(std::type_identity<Policy>, const auto& attention) {
              if constexpr (has_maps<Policy>) {
                const Loss<B> entropy = weight_cross_entropy<Policy>(
                    tape_, qkv.q, qkv.k, b.batch.sequences, attention.heads(), attention.weights(tape_, qkv), attention.window(),
                    checkpoint_window(config.sliding_window),
                    share * options_.xent_factor / heads);
                loss = add(tape_, loss, entropy);
              }
            };
            if constexpr (PerLayerPolicy<A>) {
              visit_attention(layer.attention(), [&](const auto& attention) { compare(std::type_identity<decltype(policy_of(attention))>{}, attention); });
            } else {
              compare(std::type_identity<A>{}, layer.attention());
            }
          }
        }
        if (backward) tape_.backward(loss);
        Real<B>* const at = losses_.data() + (index - options_.first);
        tape_.backend().copy(loss.value().data, at, 1);
        tape_.backend().copy(squared.value().data, at + layers(), 1);
      });
    }
    std::vector<double> losses(static_cast<std::size_t>(2 * layers()));
    tape_.backend().to_host(losses_.data(), losses.data(), losses_.size());
    double total = 0;
    for (Index index = options_.first; index < options_.last; ++index) {
      const auto at = static_cast<std::size_t>(index - options_.first);
      require<NumericError>(std::isfinite(losses[at]), "the attention transfer loss of layer {} is {}", index, losses[at]);
      total += losses[at];
      if (!backward) observe(index, losses[at + static_cast<std::size_t>(layers())] * static_cast<double>(learning()));
    }
    return total;
  }

  Model& model_;
  TransferData<Validation> validation_;
  Options options_;
  Residuals residuals_;
  Tape<B> tape_;
  Array<B, Real<B>> losses_;  // (2, layers): the whole loss, and its squared error
  Index validation_tokens_ = 0;
  std::vector<double> mse_;
};

/// Writes the stream that enters layer `last`, from that which enters `first`, for every row of a data set.
template <class Model, TrainingData Data>
std::unique_ptr<ResidualFile<typename Model::Device>> advance_residuals(Model& model, const Data& data,
                                                                        ResidualFile<typename Model::Device>* from,
                                                                        Index first, Index last,
                                                                        const std::filesystem::path& path) {
  using B = typename Model::Device;
  auto to = std::make_unique<ResidualFile<B>>(model.backend(), path, model.config().hidden_size);
  Tape<B> tape(model.backend());
  TeacherStream<Model> stream(tape, model);
  for_row_groups(static_cast<Index>(data.size()), 1, [&](std::span<const Index> row) {
    const Batch batch = data.batch(row);
    if (from) {
      const Array<B> x = from->read(row);
      stream.start(first, x.view(), batch.sequences);
    } else {
      stream.start(batch.tokens, batch.sequences);
    }
    while (stream.layer() < last) stream.advance();
    to->append(stream.value());
  });
  return to;
}

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
  using B = typename Model::Device;
  const Index layers = student.layer_count();
  require<ConfigError>(recipe.block >= 0, "transfer: block is {}, expected 0 (all layers) or more", recipe.block);
  detail::check_validation("transfer", recipe, static_cast<Index>(validation.size()));
  const Index size = recipe.block > 0 ? std::min(recipe.block, layers) : layers;
  const Index count = (layers + size - 1) / size;
  const Index rows = recipe.micro_batch > 0 ? recipe.micro_batch : recipe.batch;

  RunIdentity inputs = recipe.inputs;
  // Not the adapter, which is off: students that differ in it share the maps.
  inputs["attention"] = Model::Attention::name() + detail::places_of(student);
  if (detail::is_identified(recipe)) {
    detail::add_model(inputs, student);
    // What the attention has beside the parameters that are trained, such as scores that were fitted.
    Parameters<B> fitted = student.attention_parameters();
    fitted.erase(fitted.begin(), fitted.begin() + static_cast<std::ptrdiff_t>(student.transfer_parameters().size()));
    if (!fitted.empty()) detail::add_input(inputs, "fitted", [&] { return fingerprint_of(student.backend(), fitted); });
    detail::add_data(inputs, data, validation);
  }

  Communicator& communicator = detail::communicator_of(recipe);
  // Any rank meets any row, so that each keeps all of them.
  const std::string own = communicator.size() > 1 ? fmt::format(".rank{}", communicator.rank()) : "";
  TransferResult result;
  std::unique_ptr<ResidualFile<B>> train_residuals, validation_residuals;
  for (Index block = 0; block < count; ++block) {
    const Index first = block * size, last = std::min(layers, first + size);
    if (!recipe.residuals.empty() && block > 0) {
      const auto next = [&](const char* kind, const auto& set, auto& residuals) {
        residuals = detail::advance_residuals(student, set, residuals.get(), first - size, first,
                                              fmt::format("{}.{}.block{}{}", recipe.residuals.string(), kind, block, own));
      };
      next("train", data, train_residuals);
      next("valid", validation, validation_residuals);
    }

    Parameters<B> parameters;
    std::vector<bool> learns;
    for (Index layer = first; layer < last; ++layer) {
      const std::string prefix = fmt::format("model.layers.{}.", layer);
      const std::size_t before = parameters.size();
      for (const auto& p : student.transfer_parameters()) {
        if (p.name.starts_with(prefix)) parameters.push_back(p);
      }
      learns.push_back(parameters.size() > before);
    }
    if (parameters.empty() && !student.transfer_parameters().empty()) {  // layers without maps only
      if (validation.size() > 0) result.mse_per_layer.insert(result.mse_per_layer.end(), static_cast<std::size_t>(last - first), 0.0);
      continue;
    }
    const TrainedScope<Model> trained(student, std::move(parameters), "transfer");
    detail::TransferTask<Model, Validation> task(student, validation,
                                                 {first, last, recipe.mse_factor, recipe.xent_factor, rows, learns, &communicator},
                                                 {train_residuals.get(), validation_residuals.get()});
    auto loop =
        detail::loop_recipe(recipe, count > 1 ? fmt::format("transfer block {}/{}", block + 1, count) : "transfer");
    loop.inputs.insert(inputs.begin(), inputs.end());
    loop.inputs["layers"] = fmt::format("{} to {}", first, last - 1);
    if (count > 1 && !loop.checkpoint.empty()) loop.checkpoint += fmt::format(".block{}", block);
    result.blocks.push_back(
        train(student.backend(), trained.parameters(), detail::TransferData<Train>{data}, task, loop, progress));
    if (validation.size() > 0) {
      task.evaluate();
      result.mse_per_layer.insert(result.mse_per_layer.end(), task.mse().begin(), task.mse().end());
    }
  }
  return result;
}

}  // namespace lolcats
