// Adapters of any rank, alpha and targets, merged into the weights of a model.
#pragma once

#include <lolcats/io/peft.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/model/llama.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// W + scale B A in the place of W for each module of the adapter, each in storage of its own: other models that share
/// the weights keep theirs.  Sums are taken in double and rounded once.  A bias stays as it is.
///
/// The modules are projections of the decoder layers (q, k, v, o, gate, up, down), whatever the model's own type adapts.
/// Everything is checked before anything changes.
/// Errors: FormatError for a module that the model lacks or that is no such projection, ShapeError naming both shapes;
/// ConfigError for a base that is not whole; Error while adapters of the model's own type are merged, since they would take the old weights back.
template <LlamaModel Model>
void merge_adapter(Model& model, const PeftAdapter& adapter) {
  using B = typename Model::Device;
  model.require_whole_base("merge_adapter");
  require<Error>(!model.merged(), "merge_adapter: the model's own adapters are merged; unmerge them first");
  constexpr std::string_view suffix = ".weight";
  std::map<std::string, Parameter<B>*> weights;
  for (const auto& [name, parameter] : model.base_parameters()) {
    if (name.ends_with(suffix)) weights[name.substr(0, name.size() - suffix.size())] = parameter;
  }
  for (const auto& [module, pair] : adapter.modules) {
    const auto found = weights.find(module);
    require<FormatError>(found != weights.end(), "{}: adapts '{}', which the model does not have", adapter.name,
                         shown(module));
    require<FormatError>(module.ends_with("_proj"), "{}: adapts '{}', expected projections of decoder layers only",
                         adapter.name, shown(module));
    const Shape &w = found->second->shape(), &a = pair.a.shape(), &b = pair.b.shape();
    require<ShapeError>(a.rank() == 2 && b.rank() == 2 && a[1] == w[1] && b[0] == w[0] && a[0] == b[1],
                        "{}: lora_A of '{}' has shape {} and lora_B {}, expected (R, {}) and ({}, R) for a weight {}",
                        adapter.name, shown(module), to_string(a), to_string(b), w[1], w[0], to_string(w));
  }
  std::vector<std::pair<Parameter<B>*, Parameter<B>>> merged;
  for (const auto& [module, pair] : adapter.modules) {
    Parameter<B>* weight = weights.at(module);
    const std::vector<double> a(pair.a.span().begin(), pair.a.span().end());
    const std::vector<double> b(pair.b.span().begin(), pair.b.span().end());
    merged.emplace_back(
        weight, detail::add_low_rank(model.backend(), weight->value(), a, b, pair.a.shape()[0], adapter.scale(module)));
  }
  for (auto& [weight, sum] : merged) *weight = std::move(sum);
}

/// The same for an adapter folder of peft, over the base that it names, if it names one.
/// Errors: also FileError, FormatError, ConfigError of `read_peft`.
template <LlamaModel Model>
void merge_adapter(Model& model, const std::filesystem::path& folder, BaseCheck check = BaseCheck::same) {
  const PeftAdapter adapter = read_peft(folder);
  check_base(model, adapter.name, adapter.base_fingerprint, check);
  merge_adapter(model, adapter);
}

}  // namespace lolcats
