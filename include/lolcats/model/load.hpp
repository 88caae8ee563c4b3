// Base models from disk and to disk.
#pragma once

#include <lolcats/io/checkpoint.hpp>
#include <lolcats/model/llama.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// A tensor of host memory in the memory of a backend; borrowed where that is the host's.
template <Backend B>
Parameter<B> to_backend(const B& backend, Tensor<Scalar<B>> tensor) {
  if constexpr (std::is_same_v<typename B::Space, Host>) {
    return Parameter<B>(std::move(tensor));
  } else {
    Array<B> array(tensor.shape());
    upload(backend, std::as_const(tensor).data(), array.data(), tensor.size());
    return Parameter<B>(std::move(array));
  }
}

/// A copy of a parameter in host memory, as T.
template <class T, Backend B>
Tensor<T> host_copy(const B& backend, const Parameter<B>& parameter) {
  Tensor<Scalar<B>> copy(parameter.shape());
  download(backend, parameter.value().data, copy.data(), parameter.size());
  if constexpr (std::is_same_v<T, Scalar<B>>) {
    return copy;
  } else {
    Tensor<T> tensor(parameter.shape());
    for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = convert_value<T>(copy.data()[i]);
    return tensor;
  }
}

/// A parameter in host memory: where it lies, or in `copy` if that is elsewhere.
template <Backend B>
View<const Scalar<B>> on_host(const B& backend, const Parameter<B>& parameter, Tensor<Scalar<B>>& copy) {
  if constexpr (in_host_memory<B>) return parameter.value();
  copy = host_copy<Scalar<B>>(backend, parameter);
  return std::as_const(copy).view();
}

/// The same elements under another shape.
template <class T>
Tensor<T> reshaped(Tensor<T> tensor, const Shape& shape) {
  const auto holder = std::make_shared<Tensor<T>>(std::move(tensor));
  return Tensor<T>(holder->view().reshaped(shape), holder);
}

template <class T>
struct ModelOf {
  using type = T;
};
template <Backend B>
struct ModelOf<B> {
  using type = Llama<B>;
};

/// Tied embeddings are stored under either name, or under both with the same content.
template <class T>
std::string tied_name(TensorStore& weights, const Shape& shape) {
  const std::string table = "model.embed_tokens.weight", head = "lm_head.weight";
  if (!weights.contains(table)) return weights.contains(head) ? head : table;
  if (weights.contains(head)) {
    const Tensor<T> a = weights.read<T>(table, shape), b = weights.read<T>(head, shape);
    require<FormatError>(std::equal(a.span().begin(), a.span().end(), b.span().begin()),
                         "{}: tensors '{}' and '{}' differ, expected the same where the embeddings are tied",
                         weights.name(), table, head);
  }
  return table;
}

}  // namespace detail

/// The base weights of a checkpoint, one at a time, in host memory as T: borrowed from the mapped file where they lie there as T.
/// Not for concurrent use.
template <class T>
class StoredWeights {
 public:
  explicit StoredWeights(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  const LlamaConfig& config() const { return checkpoint_.config; }
  /// By Hugging Face's name.  Errors: FormatError, ShapeError.
  Tensor<T> operator()(const std::string& name, const Shape& shape) {
    const bool table = config().tied_embeddings && name == "model.embed_tokens.weight";
    return checkpoint_.weights.read<T>(table ? detail::tied_name<T>(checkpoint_.weights, shape) : name, shape);
  }
  /// Throws FormatError naming tensors that nobody asked for.
  void require_all_read() const { checkpoint_.weights.require_all_read(); }

 private:
  Checkpoint checkpoint_;
};

/// Builds a model from an opened checkpoint.  Strict: a missing tensor, a surplus tensor and a wrong shape are errors.
///
/// Tensors that lie in the file as the backend computes with them are borrowed from the mapping; do not write into them
/// (`Parameter::train` makes its own copy).  Fresh maps and adapters come from `seed`.
/// Errors: FormatError, ShapeError, ConfigError.
template <LlamaModel Model>
Model load_llama(Checkpoint checkpoint, std::uint64_t seed = 0, typename Model::Device backend = {}) {
  using B = typename Model::Device;
  StoredWeights<Scalar<B>> weights(std::move(checkpoint));
  const auto source = [&](const std::string& name, const Shape& shape) { return detail::to_backend(backend, weights(name, shape)); };
  Model model(weights.config(), source, seed, backend);
  weights.require_all_read();
  return model;
}

/// Loads a Hugging Face folder, a .gguf file, a .safetensors file beside its config.json, or a llama2.c .bin file.
///
/// `Target` is a model type or a backend: load_llama<Cpu<float>>(path) is a softmax Llama.  Errors: also FileError.
template <class Target>
auto load_llama(const std::filesystem::path& path, std::uint64_t seed = 0) {
  return load_llama<typename detail::ModelOf<Target>::type>(open_checkpoint(path), seed);
}

/// Writes the base model as a Hugging Face folder: config.json and model.safetensors.
///
/// `stored` is F32, BF16 or F64; by default what the backend computes with.  Maps and adapters are not part of it,
/// except that merged adapters are part of the weights.  Errors: FileError, FormatError; ConfigError for a base that is not whole.
template <LlamaModel Model>
void save_llama(const Model& model, const std::filesystem::path& folder,
                DType stored = dtype_of<Scalar<typename Model::Device>>) {
  using T = Scalar<typename Model::Device>;
  model.require_whole_base("save_llama");
  std::vector<Tensor<T>> copies;  // what NamedTensor borrows and does not lie in the model
  std::vector<NamedTensor> named;
  for (const auto& [name, parameter] : model.base_parameters()) {
    named.emplace_back(name, detail::on_host(model.backend(), *parameter, copies.emplace_back()), stored);
  }
  write_huggingface(folder, model.config(), named);
}

}  // namespace lolcats
