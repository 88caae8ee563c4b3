// Base weights that are in memory for a few layers at a time.
#pragma once

#include <lolcats/core/fingerprint.hpp>
#include <lolcats/model/finite_weights.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/model/load.hpp>

#include <chrono>
#include <functional>
#include <future>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// A base weight in host memory by Hugging Face's name, such as those of StoredWeights.  Called by one thread at a time.
template <class T>
using WeightSource = std::function<Tensor<T>(const std::string& name, const Shape& shape)>;

/// Copies tensors to the memory of a backend while it computes; specialised for backends whose memory is not the host's.
///
/// begin(): what was allocated before may be written from here on.  upload(from, to, n): from host memory, in any one thread.
/// finish(): waits until all has arrived.
template <Backend B>
class BackgroundUpload;

/// A model of these sizes without base weights; maps and adapters are fresh from `seed`.  Throws ConfigError.
template <LlamaModel Model>
Model without_weights(const LlamaConfig& config, std::uint64_t seed = 0, typename Model::Device backend = {}) {
  using B = typename Model::Device;
  const auto nothing = [](const std::string&, const Shape& shape) {
    return Parameter<B>(Array<B>(View<Scalar<B>>(nullptr, shape), nullptr));
  };
  return Model(config, nothing, seed, backend);
}

/// Asks for every base weight of the model once and gives the fingerprint that `rounded_fingerprint_of` would give of them.
/// Errors: those of the source; NumericError naming `name` and the tensor that holds a NaN or an infinity.
template <LlamaModel Model>
std::string fingerprint_of_weights(const Model& model, const WeightSource<Scalar<typename Model::Device>>& source,
                                   const std::string& name) {
  Fingerprint print;
  for (const auto& [tensor, parameter] : model.base_parameters()) {
    const auto values = source(tensor, parameter->shape());
    detail::require_finite(name, tensor, values.view());
    detail::add_tensor(print, tensor, values.shape(), true, [&](Index first, Index) { return values.data() + first; });
  }
  return fmt::format("{:016x}", print.value());
}

/// Puts base weights into a model made by `without_weights`, and takes them out again.
///
/// At most one range of layers, or the embedding, is in the model.  Where the backend's memory is not the host's, the next range
/// can be on its way meanwhile: a thread reads it and copies it through pinned memory (BackgroundUpload).  On the CPU weights are
/// read, or borrowed from a mapped file, when they are loaded, and nothing is read ahead.
template <LlamaModel Model>
class LayerWeights {
 public:
  using B = typename Model::Device;

  /// The model must neither move nor end before this object.  Errors: ConfigError for a model whose weights another brings.
  LayerWeights(Model& model, WeightSource<Scalar<B>> source) : model_(model), source_(std::move(source)) {
    require<ConfigError>(!model.layer_loader(), "LayerWeights: the model's layers get their weights from a loader, expected none");
  }
  LayerWeights(const LayerWeights&) = delete;
  LayerWeights& operator=(const LayerWeights&) = delete;
  ~LayerWeights() { release(); }

  /// In the place of what is loaded.  Errors: those of the source; ShapeError.
  void load_embedding() {
    load([](const std::string& name) { return name.starts_with("model.embed_tokens."); });
  }
  /// Layers [first, last).
  void load(Index first, Index last) { load(of_layers(first, last)); }

  /// Begins to read the layers that will be loaded next.
  void prefetch([[maybe_unused]] Index first, [[maybe_unused]] Index last) {
    if constexpr (!in_host_memory<B>) fetch(named(of_layers(first, last)));
  }

  /// Takes out what is loaded.
  void release() {
    for (const auto& [name, parameter] : std::exchange(loaded_, {})) {
      *parameter = Parameter<B>(Array<B>(View<Scalar<B>>(nullptr, parameter->shape()), nullptr));
    }
  }

  /// In which `load` waited.
  double seconds() const { return seconds_; }

 private:
  static auto of_layers(Index first, Index last) {
    return [first, last](const std::string& name) {
      for (Index layer = first; layer < last; ++layer) {
        if (name.starts_with(fmt::format("model.layers.{}.", layer))) return true;
      }
      return false;
    };
  }

  template <class F>
  Parameters<B> named(F&& wanted) {
    Parameters<B> all = model_.base_parameters();
    std::erase_if(all, [&](const auto& p) { return !wanted(p.name); });
    return all;
  }

  template <class F>
  void load(F&& wanted) {
    const auto start = std::chrono::steady_clock::now();
    release();
    const Parameters<B> weights = named(wanted);
    if constexpr (in_host_memory<B>) {
      loaded_ = weights;  // also what an error leaves half loaded
      for (const auto& [name, parameter] : weights) *parameter = Parameter<B>(read(name, parameter->shape()));
    } else {
      const bool coming = done_.valid() && !coming_.empty() && coming_.front().name == weights.front().name && coming_.size() == weights.size();
      if (!coming) fetch(weights);
      done_.get();
      loaded_ = std::exchange(coming_, {});
      for (std::size_t i = 0; i < loaded_.size(); ++i) *loaded_[i].parameter = Parameter<B>(std::move(arrays_[i]));
      arrays_.clear();
    }
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Tensor<Scalar<B>> read(const std::string& name, const Shape& shape) const {
    Tensor<Scalar<B>> tensor = source_(name, shape);
    check_shape("LayerWeights", name.c_str(), tensor.shape(), shape);
    return tensor;
  }

  void fetch(Parameters<B> weights) {
    if (done_.valid()) done_.wait();  // nobody wanted these
    arrays_.clear();
    for (const auto& [name, parameter] : weights) arrays_.emplace_back(parameter->shape());
    coming_ = std::move(weights);
    upload_.begin();
    done_ = std::async(std::launch::async, [this] {
      for (std::size_t i = 0; i < coming_.size(); ++i) {
        const Tensor<Scalar<B>> tensor = read(coming_[i].name, arrays_[i].shape());
        upload_.upload(tensor.data(), arrays_[i].data(), tensor.size());
      }
      upload_.finish();
    });
  }

  struct Nothing {};

  Model& model_;
  WeightSource<Scalar<B>> source_;
  Parameters<B> loaded_, coming_;
  std::vector<Array<B>> arrays_;  // of what is coming
  [[no_unique_address]] std::conditional_t<in_host_memory<B>, Nothing, BackgroundUpload<B>> upload_;
  double seconds_ = 0;
  std::future<void> done_;  // last: its end waits for the thread, which uses all of the above
};

}  // namespace lolcats
