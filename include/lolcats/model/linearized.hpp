// What linearizing adds to a base model, from disk and to disk: maps, window factors, adapter.
#pragma once

#include <lolcats/io/method.hpp>
#include <lolcats/io/peft.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/model/load.hpp>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

namespace detail {

/// As peft names targets: "q_proj".
inline std::vector<std::string> target_names(Targets targets) {
  std::vector<std::string> names;
  for (const auto& [projection, word, module] : projection_names) {
    if (targets.contains(projection)) names.emplace_back(module.substr(module.find('.') + 1));
  }
  return names;
}

/// The shape a map's tensor has on disk: a bias is stored as (1, H, 1, width), as the published code has it.
inline Shape stored_shape(std::string_view name, const Shape& shape) {
  return name.ends_with(".mlp.bias") ? Shape{1, shape[0], 1, shape[1]} : shape;
}

/// Sizes of a layer's caches are whole numbers for which its type has room.
template <class T>
void check_cache_sizes(const Tensor<T>& sizes, Index most, const std::string& file, const std::string& name) {
  for (Index i = 0; i < sizes.size(); ++i) {
    const auto size = static_cast<double>(sizes.data()[i]);
    require<FormatError>(size >= 0 && size <= static_cast<double>(most) && size == std::floor(size),
                         "{}: tensor '{}' has {} for key/value head {}, expected a whole number from 0 to {}", file, name, size, i, most);
  }
}

/// Of the weights without the model's own adapters, merged or not.
template <LlamaModel Model>
std::string base_fingerprint_of(const Model& model) {
  Model unmerged = model;
  unmerged.unmerge_adapters();
  return fingerprint_of_base(std::as_const(unmerged), true);
}

}  // namespace detail

/// Writes the adapter as Python's peft does: adapter_config.json and adapter_model.safetensors (F32); its metadata names
/// the base by its fingerprint.
/// A merged adapter is written all the same.  The fingerprint is computed unless it is given, as a model without weights needs.
/// Errors: FileError.
template <LlamaModel Model>
  requires(Model::Adapter::targets.bits != 0)
void save_adapter(const Model& model, const std::filesystem::path& folder, const std::string& base_model = "",
                  const std::string& base_fingerprint = "") {
  using P = typename Model::Adapter;
  PeftAdapter adapter;
  adapter.rank = P::rank;
  adapter.alpha = P::alpha;
  adapter.dropout = P::dropout;
  adapter.targets = detail::target_names(P::targets);
  adapter.base_fingerprint = base_fingerprint.empty() ? detail::base_fingerprint_of(model) : base_fingerprint;
  for (const auto& [name, parameter] : model.adapter_parameters()) {
    const std::string module = name.substr(0, name.size() - detail::lora_suffix_a.size());
    LoraPair& pair = adapter.modules[module];
    (name.ends_with(detail::lora_suffix_a) ? pair.a : pair.b) = detail::host_copy<float>(model.backend(), *parameter);
  }
  write_peft(folder, adapter, base_model);
}

/// Reads an adapter folder of peft into the model.  Rank, alpha, targets and every shape must be those of the model's
/// type; dropout matters in training only and is the type's.  An adapter that names its base is refused over another.  On
/// an error the model is as it was.
/// An adapter of any rank, alpha and targets can be merged into a base instead: model/merge_adapter.hpp.
/// Errors: FileError, FormatError, ConfigError, ShapeError; Error while merged.
template <LlamaModel Model>
  requires(Model::Adapter::targets.bits != 0)
void load_adapter(Model& model, const std::filesystem::path& folder, BaseCheck check = BaseCheck::same) {
  using P = typename Model::Adapter;
  using T = Scalar<typename Model::Device>;
  require<Error>(!model.merged(), "load_adapter: the model's adapters are merged; unmerge them first");
  const std::string file = (folder / "adapter_config.json").string();
  const PeftAdapter adapter = read_peft(folder);
  require<ConfigError>(adapter.rank == P::rank, "{}: 'r' is {}, expected {} for {}", file, adapter.rank, P::rank,
                       P::name());
  require<ConfigError>(!adapter.rslora, "{}: 'use_rslora' is true, expected false for {}, which scales by alpha / rank",
                       file, P::name());
  require<ConfigError>(!adapter.mixed_ranks && adapter.alphas.empty(),
                       "{}: has ranks or alphas of single modules, expected rank {} and alpha {} for all of {}", file,
                       P::rank, P::alpha, P::name());
  require<ConfigError>(adapter.alpha == P::alpha, "{}: 'lora_alpha' is {}, expected {} for {}", file, adapter.alpha,
                       P::alpha, P::name());
  const Parameters<typename Model::Device> parameters = model.adapter_parameters();
  std::vector<Parameter<typename Model::Device>> loaded;
  for (const auto& [name, parameter] : parameters) {
    const std::string module = name.substr(0, name.size() - detail::lora_suffix_a.size());
    const auto found = adapter.modules.find(module);
    require<FormatError>(found != adapter.modules.end(), "{}: holds no tensors for '{}', expected them for {}",
                         folder.string(), module, P::name());
    const Tensor<float>& factor = name.ends_with(detail::lora_suffix_a) ? found->second.a : found->second.b;
    require<ShapeError>(factor.shape() == parameter->shape(), "{}: tensor '{}' has shape {}, expected {}",
                        folder.string(), name, to_string(factor.shape()), to_string(parameter->shape()));
    Tensor<T> values(factor.shape());
    for (Index i = 0; i < values.size(); ++i) values.data()[i] = detail::convert_value<T>(factor.data()[i]);
    loaded.push_back(detail::to_backend(model.backend(), std::move(values)));
  }
  require<FormatError>(2 * adapter.modules.size() == parameters.size(), "{}: holds {} modules, expected the {} of {}",
                       folder.string(), adapter.modules.size(), parameters.size() / 2, P::name());
  check_base(model, adapter.name, adapter.base_fingerprint, check);
  for (std::size_t i = 0; i < parameters.size(); ++i) *parameters[i].parameter = loaded[i];
}

/// Writes what the model has beyond its base: lolcats.json (the method, the base's fingerprint and `recipe`), lolcats.safetensors (maps and
/// window factors, in the backend's precision) and, in the folder "adapter", the adapter as peft writes it.  The fingerprint is
/// computed unless it is given.
/// Errors: FileError, ConfigError.
template <LlamaModel Model>
void save_linearized(const Model& model, const std::filesystem::path& folder,
                     const nlohmann::json& recipe = nlohmann::json::object(), std::string base_fingerprint = "") {
  std::vector<Tensor<Scalar<typename Model::Device>>> copies;
  std::vector<NamedTensor> named;
  for (const auto& [name, parameter] : model.attention_parameters()) {
    const auto values = detail::on_host(model.backend(), *parameter, copies.emplace_back());
    named.emplace_back(name, values.reshaped(detail::stored_shape(name, parameter->shape())));
  }
  if (base_fingerprint.empty()) base_fingerprint = detail::base_fingerprint_of(model);
  write_method(folder, Model::Attention::name(), named, recipe, model.attention_of_layer(), base_fingerprint);
  if constexpr (Model::Adapter::targets.bits != 0) save_adapter(model, folder / "adapter", "", base_fingerprint);
}

/// The model that `save_linearized` wrote, over `base`, whose weights it shares.
///
/// Layers that differ (PerLayer) are as the checkpoint says; `attention_of_layer`, if not empty, must be what it says.
/// Strict: another method, a missing or surplus tensor, another shape, sizes of caches that the type has no room for, an adapter
/// that does not fit, another base than the files name.
/// Errors: FileError, FormatError, ConfigError, ShapeError.
template <LlamaModel Model, LlamaModel Base>
Model load_linearized(const Base& base, const std::filesystem::path& folder, const std::vector<Index>& attention_of_layer = {},
                      BaseCheck check = BaseCheck::same) {
  using T = Scalar<typename Model::Device>;
  MethodCheckpoint checkpoint = read_method(folder, Model::Attention::name());
  const auto& stored = checkpoint.attention_of_layer;
  require<ConfigError>(attention_of_layer.empty() || stored == attention_of_layer, "{}: '{}' is [{}], expected [{}]",
                       (folder / detail::method_config).string(), detail::method_layers, fmt::join(stored, ", "),
                       fmt::join(attention_of_layer, ", "));
  require<ConfigError>(!stored.empty() || !PerLayerPolicy<typename Model::Attention>, "{}: '{}' is missing, expected a list of {} numbers",
                       (folder / detail::method_config).string(), detail::method_layers, base.layer_count());
  Model model = convert<Model>(base, 0, stored);
  std::vector<Index> places;  // of layers with a cache
  for (Index i = 0; i < model.layer_count(); ++i) {
    visit_attention(model.layer(i).attention(), [&](const auto& attention) {
      using Memory = MemoryOf<decltype(detail::policy_of(attention))>;
      if constexpr (caches<Memory>) places.push_back(Memory::Cache::size);
    });
  }
  auto most = places.begin();
  for (const auto& [name, parameter] : model.attention_parameters()) {
    Tensor<T> tensor = checkpoint.maps.read<T>(name, detail::stored_shape(name, parameter->shape()));
    if (name.ends_with("memory_cache.sizes")) detail::check_cache_sizes(tensor, *most++, (folder / detail::method_tensors).string(), name);
    *parameter = detail::to_backend(model.backend(), detail::reshaped(std::move(tensor), parameter->shape()));
  }
  checkpoint.maps.require_all_read();
  check_base(model, (folder / detail::method_config).string(), checkpoint.base, check);
  if constexpr (Model::Adapter::targets.bits != 0) {
    const bool known = check == BaseCheck::same && !checkpoint.base.empty();  // already, and it is the same
    if (known) {
      const std::string adapted = read_peft(folder / "adapter").base_fingerprint;
      require<ConfigError>(adapted.empty() || adapted == checkpoint.base,
                           "{}: was made over a base model with fingerprint {:.64}, but the maps beside it over {}",
                           (folder / "adapter").string(), adapted, checkpoint.base);
    }
    load_adapter(model, folder / "adapter", known ? BaseCheck::any : check);
  }
  return model;
}

/// The same with a cache that the student was trained without: what `save_linearized` wrote of a Llama<B, WithoutCache<A>, Adapter>,
/// read as one with attention A.  Each key/value head keeps as many keys as its type says.  So does `convert` with a student
/// in memory.  Errors: those of load_linearized.
template <LlamaModel Model, LlamaModel Base>
  requires cache_needs_no_training<typename Model::Attention>
Model load_with_cache(const Base& base, const std::filesystem::path& folder, BaseCheck check = BaseCheck::same) {
  using Trained = Llama<typename Model::Device, WithoutCache<typename Model::Attention>, typename Model::Adapter>;
  return convert<Model>(load_linearized<Trained>(base, folder, {}, check));
}

}  // namespace lolcats
