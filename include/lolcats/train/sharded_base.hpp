// The frozen base, shared out between ranks: a layer's weights are whole only while it computes.
#pragma once

#include <lolcats/distributed/communicator.hpp>
#include <lolcats/model/finite_weights.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/train/layer_weights.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace lolcats {

/// The layers' base weights, of which each of R ranks keeps an Rth part.
///
/// The tensors of a layer lie one behind the other in one row of numbers, cut into R equal pieces.  Two buffers hold two layers'
/// rows: that of the layer which computes, and the next one in the direction of the pass, which is gathered meanwhile.  Where a pass turns
/// round, both are there already.  What the ranks load must be the same layers in the same order, which the tasks of training see to;
/// a pass for measurements is run by all ranks alike.
///
/// Made by `shard_base`.  The communicator must outlive it, that is, all models that share the base.
/// Errors of load(): those of the communicator; CommunicationError naming a rank that loads another layer (in host memory).
template <Backend B>
class ShardedBase final : public LayerLoader<B> {
  using T = Scalar<B>;

 public:
  /// Reads the weights `base` of a model one by one, keeps this rank's part of the layers' and puts the others into the model.
  ShardedBase(const B& backend, const Parameters<B>& base, const WeightSource<T>& source, Communicator& communicator, const std::string& name)
      : backend_(backend), communicator_(communicator) {
    for (const auto& [tensor, parameter] : base) place(tensor, parameter->shape());
    const Index ranks = communicator.size();
    Index longest = 0;
    for (Layer& layer : layers_) {
      layer.piece = aligned((layer.size + ranks - 1) / ranks);
      layer.own = Array<B>(Shape{layer.piece});
      backend_.zero(layer.own.data(), layer.piece);
      longest = std::max(longest, ranks * layer.piece);
    }
    Fingerprint exact, rounded;
    std::vector<std::size_t> read(layers_.size());
    std::vector<std::pair<Parameter<B>*, Parameter<B>>> whole;
    for (const auto& [tensor, parameter] : base) {
      const Tensor<T> values = source(tensor, parameter->shape());
      check_shape(name.c_str(), tensor.c_str(), values.shape(), parameter->shape());
      detail::require_finite(name, tensor, values.view());
      const auto numbers = [&](Index first, Index) { return values.data() + first; };
      detail::add_tensor(exact, tensor, values.shape(), false, numbers);
      if constexpr (!std::is_same_v<T, bf16>) detail::add_tensor(rounded, tensor, values.shape(), true, numbers);
      const Index layer = layer_of(tensor);
      if (layer < 0) {
        whole.emplace_back(parameter, detail::to_backend(backend_, values));
      } else {
        keep(layers_[static_cast<std::size_t>(layer)], read[static_cast<std::size_t>(layer)]++, values);
      }
    }
    if constexpr (std::is_same_v<T, bf16>) rounded = exact;
    fingerprints_ = {exact.text(), rounded.text()};
    for (Buffer& buffer : buffers_) buffer.row = std::make_shared<Array<B>>(Shape{longest});
    for (auto& [parameter, value] : whole) *parameter = std::move(value);  // the model is as it was where something threw
  }

  ~ShardedBase() override {
    try {
      settle();
    } catch (const Error&) {  // nobody waits for what is still under way
    }
  }

  std::span<const Parameter<B>> load(Index layer) override {
    if (layer != now_->layer) {
      const Index before = now_->layer;
      if (layer != next_->layer) begin(layer);
      settle();
      std::swap(now_, next_);
      const Index ahead = before == layer + 1 ? layer - 1 : layer + 1;
      if (ahead >= 0 && ahead < static_cast<Index>(layers_.size())) begin(ahead);
    }
    return now_->weights;
  }

  const std::string& fingerprint(bool rounded) const override { return fingerprints_[rounded ? 1 : 0]; }

  /// Bytes of this rank's part, and of the two buffers.
  std::size_t kept_bytes() const {
    std::size_t sum = 0;
    for (const Layer& layer : layers_) sum += bytes(layer.piece);
    return sum;
  }
  std::size_t buffer_bytes() const { return bytes(buffers_[0].row->size()) + bytes(buffers_[1].row->size()); }
  /// Bytes that came from other ranks so far, and the seconds in which nothing was computed because some had not come.
  std::size_t gathered_bytes() const { return gathered_; }
  double waiting_seconds() const { return communicator_.gather_seconds(); }

 private:
  struct Layer {
    std::vector<std::pair<Index, Shape>> tensors;  // where each begins in the row
    Index size = 0, piece = 0;                     // of the row, and of what a rank has of it
    Array<B> own;                                  // (piece)
  };
  struct Buffer {
    Index layer = -1;
    std::shared_ptr<Array<B>> row;
    std::vector<Parameter<B>> weights;  // views into it
  };

  static std::size_t bytes(Index n) { return sizeof(T) * static_cast<std::size_t>(n); }
  /// Tensors begin as aligned as allocations do.
  static Index aligned(Index n) {
    constexpr Index unit = 256 / static_cast<Index>(sizeof(T));
    return (n + unit - 1) / unit * unit;
  }
  /// -1 for a weight of no layer.
  static Index layer_of(const std::string& tensor) {
    constexpr std::string_view prefix = "model.layers.";
    return tensor.starts_with(prefix) ? std::stoll(tensor.substr(prefix.size())) : -1;
  }

  void place(const std::string& tensor, const Shape& shape) {
    const Index index = layer_of(tensor);
    if (index < 0) return;
    if (index == static_cast<Index>(layers_.size())) layers_.emplace_back();
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    layer.tensors.emplace_back(layer.size, shape);
    layer.size += aligned(shape.size());
  }

  /// What is this rank's of a tensor.
  void keep(Layer& layer, std::size_t tensor, const Tensor<T>& values) {
    const Index begins = layer.tensors[tensor].first, own = communicator_.rank() * layer.piece;
    const Index first = std::max(begins, own), last = std::min(begins + values.size(), own + layer.piece);
    if (first < last) upload(backend_, values.data() + (first - begins), layer.own.data() + (first - own), last - first);
  }

  /// Begins to gather a layer into the buffer that does not compute.
  void begin(Index index) {
    settle();
    check_same_layer(index);
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const Index ranks = communicator_.size();
    next_->weights.clear();
    next_->layer = -1;
    if (ranks == 1) {
      backend_.copy(layer.own.data(), next_->row->data(), layer.piece);
    } else {
      under_way_ = true;
      communicator_.begin_gather(std::as_bytes(std::span<const T>(layer.own.data(), static_cast<std::size_t>(layer.piece))),
                                 std::as_writable_bytes(std::span<T>(next_->row->data(), static_cast<std::size_t>(ranks * layer.piece))));
    }
    next_->layer = index;
    for (const auto& [first, shape] : layer.tensors) {
      next_->weights.emplace_back(Array<B>(View<T>(next_->row->data() + first, shape), next_->row));
    }
    gathered_ += bytes((ranks - 1) * layer.piece);
  }

  /// Until nothing is under way.
  void settle() {
    if (std::exchange(under_way_, false)) communicator_.finish_gather();
  }

  /// Where it costs little beside the gather.  Ranks out of step would mix layers of the same shape.
  void check_same_layer([[maybe_unused]] Index layer) {
    if constexpr (in_host_memory<B>) {
      const double own = static_cast<double>(layer);
      const std::vector<double> all = communicator_.gather(std::span<const double>(&own, 1));
      for (std::size_t rank = 1; rank < all.size(); ++rank) {
        require<CommunicationError>(all[rank] == all[0], "ShardedBase: rank {} loads layer {}, expected {}, as rank 0 does", rank, all[rank], all[0]);
      }
    }
  }

  B backend_;
  Communicator& communicator_;
  std::vector<Layer> layers_;
  std::array<Buffer, 2> buffers_;
  Buffer* now_ = &buffers_[0];   // whose layer computes
  Buffer* next_ = &buffers_[1];  // whose layer comes or came before
  bool under_way_ = false;
  std::size_t gathered_ = 0;
  std::array<std::string, 2> fingerprints_;  // exact, rounded
};

/// Shares the base of `model`, made by `without_weights`, out between the ranks: each reads every weight once and keeps its part of the
/// layers'.  Embedding, final norm and head are whole on every rank, and so is all that is trained.  Students of the model (`convert`)
/// share its base as ever.  Layers are run again in the backward pass, whether a recipe says so or not.
///
/// `name` is told in errors.  Errors: those of the source; ConfigError for a base that is trained, that has weights already or comes from elsewhere, and for a
/// communicator of other memory than the model's; ShapeError; NumericError for a weight that is NaN or infinite.
template <LlamaModel Model>
std::shared_ptr<ShardedBase<typename Model::Device>> shard_base(Model& model, const WeightSource<Scalar<typename Model::Device>>& source,
                                                                Communicator& communicator, const std::string& name = "shard_base") {
  using B = typename Model::Device;
  require<ConfigError>(communicator.size() == 1 || communicator.in_host_memory() == in_host_memory<B>,
                       "{}: the communicator gathers {} memory, expected that of {}", name, communicator.in_host_memory() ? "host" : "GPU", B::name());
  model.require_whole_base(name.c_str());
  for (const auto& [tensor, parameter] : model.base_parameters()) {
    require<ConfigError>(!parameter->trained(), "{}: {} is trained, expected a frozen base", name, tensor);
    require<ConfigError>(!*parameter, "{}: {} is in memory, expected a model made by without_weights", name, tensor);
  }
  auto base = std::make_shared<ShardedBase<B>>(model.backend(), model.base_parameters(), source, communicator, name);
  model.load_layers_from(base);
  return base;
}

}  // namespace lolcats
