// What stage 1 does with a batch: the loss of some layers, and its gradient layer by layer.
#pragma once

#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/ops/elementwise/elementwise.hpp>
#include <lolcats/ops/squared_error/squared_error.hpp>
#include <lolcats/ops/weight_cross_entropy/weight_cross_entropy.hpp>
#include <lolcats/train/next_token.hpp>
#include <lolcats/train/residual_file.hpp>

#include <optional>

namespace lolcats {

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

/// Can those of a model?
template <LlamaModel Model>
bool can_compare_weights(const Model&) {
  return compares_weights<typename Model::Attention>;
}
template <Backend B>
bool can_compare_weights(const AnyLlama<B>& model) {
  return static_cast<bool>(model.weight_cross_entropy);
}

/// The cross-entropy of a layer's weights of attention and the teacher's, summed over rows and heads, times `scale`; null for a
/// layer without maps.
template <LlamaModel Model, Backend B>
Loss<B> weight_cross_entropy_of(const Model& model, Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, double scale) {
  Loss<B> loss;
  if constexpr (compares_weights<typename Model::Attention>) {
    visit_attention(model.layer(layer).attention(), [&](const auto& attention) {
      using Policy = decltype(policy_of(attention));
      if constexpr (has_maps<Policy>) {
        loss = weight_cross_entropy<Policy>(tape, x.q, x.k, sequences, attention.heads(), attention.weights(tape, x, sequences), attention.window(),
                                            checkpoint_window(model.config().sliding_window), scale);
      }
    });
  }
  return loss;
}
template <Backend B>
Loss<B> weight_cross_entropy_of(const AnyLlama<B>& model, Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, double scale) {
  return model.weight_cross_entropy(layer, tape, x, sequences, scale);
}

/// Gives `any` the weights of `model`, where they can be compared.
template <LlamaModel Model>
void set_weight_cross_entropy(AnyLlama<typename Model::Device>& any, const Model& model) {
  using B = typename Model::Device;
  if constexpr (compares_weights<typename Model::Attention>) {
    any.weight_cross_entropy = [&model](Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, double scale) {
      return weight_cross_entropy_of(model, layer, tape, x, sequences, scale);
    };
  }
}

/// The loss of layers [first, last), and its gradient layer by layer.
template <class Model, TrainingData Validation>
class TransferTask {
 public:
  using B = typename Model::Device;

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
    require<ConfigError>(options.xent_factor == 0 || can_compare_weights(model),
                         "transfer: xent_factor is {}, expected 0 for {}, whose map is composed of operations",
                         options.xent_factor, model.attention_name());
  }

  Index supervised(const TransferBatch& b) const { return b.batch.sequences.tokens(); }

  double step(const TransferBatch& b, const MicroStep& at) {
    tape_.seed = at.seed;
    tape_.update = at.update;
    return run(b, residuals_.train, at.scale, true, [](Index, double) {});
  }

  /// A step of other ranks.
  void idle() { load(residuals_.train); }

  /// The loss on the validation data; also finds mse().
  double evaluate() {
    const double tokens = static_cast<double>(all_tokens());
    const auto count = static_cast<std::size_t>(layers());
    const auto evaluate_rows = [&](std::span<const Index> rows, std::span<double> found) {  // mse of each layer, and the loss
      found[count] = run(validation_.batch(rows), residuals_.validation, 1 / tokens, false,
                         [&](Index layer, double mse) { found[static_cast<std::size_t>(layer - options_.first)] = mse; });
    };
    mse_ = sum_over_row_groups(or_alone(options_.communicator), validation_.size(), options_.rows, count + 1, evaluate_rows,
                               [&] { load(residuals_.validation); });
    const double loss = mse_.back();
    mse_.pop_back();
    return loss;
  }

  /// Of the last evaluation: the mean squared error of each layer of the block.
  const std::vector<double>& mse() const { return mse_; }

  std::size_t peak_bytes() const { return tape_.peak_bytes(); }

 private:
  /// What run() loads, see LayerLoader.
  void load(const ResidualFile<B>* residuals) {
    for (Index layer = residuals ? options_.first : 0; layer < options_.last; ++layer) model_.layer(layer).load();
  }

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
        if (options_.xent_factor != 0) {
          const Loss<B> entropy =
              weight_cross_entropy_of(model_, index, tape_, qkv, b.batch.sequences, share * options_.xent_factor / heads);
          if (entropy) loss = add(tape_, loss, entropy);
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

}  // namespace detail

}  // namespace lolcats
