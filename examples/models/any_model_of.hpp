// AnyModel over a model's type, for the units that instantiate it.
#pragma once

#include "../support/device.hpp"
#include "any_model.hpp"

#include <lolcats/eval/fit_scores.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/explain.hpp>
#include <lolcats/model/linearized.hpp>
#include <lolcats/model/merge_adapter.hpp>
#include <lolcats/model/zoo.hpp>
#include <lolcats/train/head_gates.hpp>

#include <numeric>

namespace examples {

using Teacher = lolcats::Llama<Device>;

template <class Model>
class AnyModelOf final : public AnyModel {
 public:
  static constexpr bool adapted = Model::Adapter::targets.bits != 0;
  static constexpr bool maps = lolcats::any_maps<typename Model::Attention>;
  static constexpr bool per_layer = lolcats::PerLayerPolicy<typename Model::Attention>;
  static constexpr bool caches = lolcats::cache_places<typename Model::Attention> > 0;
  static constexpr bool scores = [] {
    if constexpr (per_layer) return false;
    else return lolcats::projects_scores<lolcats::MemoryOf<typename Model::Attention>>;
  }();

  explicit AnyModelOf(Model model) : model_(std::move(model)) {}

  const Model& model() const { return model_; }

  const lolcats::LlamaConfig& config() const override { return model_.config(); }
  std::string type_name() const override { return Model::name(); }
  bool has_maps() const override { return maps; }
  std::string explain(Index prompt) const override {
    return to_string(lolcats::explain<Model>(model_.config(), prompt, model_.backend()));
  }

  lolcats::LanguageModel& language() override {
    if (!language_) language_.emplace(model_);
    return *language_;
  }
  lolcats::Perplexity perplexity(const lolcats::DataSet& data, Index rows) override {
    return lolcats::perplexity(model_, data, rows);
  }
  lolcats::Recall recall(std::span<const lolcats::SyntheticDocument> documents, std::vector<Index> edges, Index rows) override {
    return lolcats::recall_by_distance(model_, documents, std::move(edges), rows);
  }
  lolcats::Generation generate(const lolcats::TokenLists& prompts, const lolcats::GenerationOptions& options,
                               const lolcats::TokenCallback& on_token) override {
    return lolcats::generate(model_, prompts, options, on_token);
  }

  bool has_scores() const override { return scores; }
  double fit_scores(const lolcats::DataSet& data, Index rows) override {
    if constexpr (scores) {
      const auto explained = lolcats::fit_scores(model_, data, {.rows = rows}).explained;
      return std::accumulate(explained.begin(), explained.end(), 0.0) / static_cast<double>(explained.size());
    }
    lolcats::fail<lolcats::ConfigError>("{} has no scores to fit", Model::name());
  }

  lolcats::AllottedCache allot_cache(const lolcats::DataSet& data, Index mean, Index rest, Index rows) override {
    if constexpr (caches) return with_sizes(lolcats::allot_cache(model_, data, mean, rest, {.rows = rows}));
    lolcats::fail<lolcats::ConfigError>("{} has no cache", Model::name());
  }
  lolcats::AllottedCache allot_cache_by_gates(const lolcats::DataSet& data, Index mean, Index rest, double sparsity,
                                              const lolcats::Recipe<lolcats::AnySchedule>& recipe,
                                              const lolcats::ProgressCallback& progress) override {
    if constexpr (caches) {
      auto gates = lolcats::learn_head_gates(model_, data, sparsity, recipe, progress).gates;
      auto sizes = lolcats::allot_largest(gates, lolcats::cache_places<typename Model::Attention>, mean, rest);
      return with_sizes({std::move(sizes), std::move(gates)});
    }
    lolcats::fail<lolcats::ConfigError>("{} has no cache", Model::name());
  }

  void set_cache_places(Index places) override {
    if constexpr (caches) {
      const std::vector<Index> sizes(static_cast<std::size_t>(model_.config().kv_heads), places);
      for (Index l = 0; l < model_.layer_count(); ++l) model_.layer(l).attention().set_cache_sizes(model_.backend(), sizes);
    } else {
      lolcats::fail<lolcats::ConfigError>("{} has no cache", Model::name());
    }
  }

  lolcats::LayerSensitivity sensitivity(const lolcats::DataSet& data, Index rows) override {
    if constexpr (per_layer) return lolcats::layer_sensitivity(model_, data, {.rows = rows});
    lolcats::fail<lolcats::ConfigError>("{} has one attention in all layers", Model::name());
  }
  void keep_layers(std::span<const Index> kept) override {
    if constexpr (per_layer) return model_.choose_attention(lolcats::keeping_layers(model_.layer_count(), kept));
    lolcats::fail<lolcats::ConfigError>("{} has one attention in all layers", Model::name());
  }

  lolcats::TransferResult transfer(const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                   const lolcats::TransferRecipe<lolcats::AnySchedule>& recipe,
                                   const lolcats::ProgressCallback& progress) override {
    if constexpr (maps) return lolcats::transfer_attention(model_, train, valid, recipe, progress);
    lolcats::fail<lolcats::ConfigError>("{} has no feature maps to train", Model::name());
  }
  lolcats::StreamedResult transfer_blocks(const std::filesystem::path& base, const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                          const lolcats::TransferRecipe<lolcats::AnySchedule>& recipe, const lolcats::BlockJob& job,
                                          const lolcats::ProgressCallback& progress) override {
    if constexpr (maps) {
      lolcats::StoredWeights<lolcats::Scalar<Device>> weights(lolcats::open_checkpoint(base));
      return lolcats::transfer_blocks(model_, std::ref(weights), train, valid, recipe, job, progress);
    }
    lolcats::fail<lolcats::ConfigError>("{} has no feature maps to train", Model::name());
  }
  std::vector<double> join_blocks(const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                  const lolcats::TransferRecipe<lolcats::AnySchedule>& recipe, const std::filesystem::path& folder) override {
    if constexpr (maps) return lolcats::join_blocks(model_, train, valid, recipe, folder);
    lolcats::fail<lolcats::ConfigError>("{} has no feature maps to train", Model::name());
  }
  lolcats::TrainingResult finetune(const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                   const lolcats::FinetuneRecipe<lolcats::AnySchedule>& recipe,
                                   const lolcats::ProgressCallback& progress) override {
    if constexpr (adapted) return lolcats::finetune(model_, train, valid, recipe, progress);
    lolcats::fail<lolcats::ConfigError>("{} has no adapter to train", Model::name());
  }

  void merge_adapters() override { model_.merge_adapters(); }
  void save(const std::filesystem::path& folder, const nlohmann::json& recipe, const std::string& base) const override {
    lolcats::save_linearized(model_, folder, recipe, base);
  }
  void merge_adapter(const std::filesystem::path& folder) override {
    lolcats::merge_adapter(model_, folder);
  }

 private:
  /// Gives the caches these sizes.
  lolcats::AllottedCache with_sizes(lolcats::AllottedCache allotted)
    requires caches
  {
    for (Index l = 0; l < model_.layer_count(); ++l) {
      model_.layer(l).attention().set_cache_sizes(model_.backend(), allotted.sizes[static_cast<std::size_t>(l)]);
    }
    return allotted;
  }

  Model model_;
  std::optional<lolcats::LanguageModelOf<Model>> language_;
};

/// The student of one entry of the zoo: fresh from `seed`, or as it lies in `checkpoint` unless that is empty.
/// Defined in student_of.hpp; each entry is instantiated in one of the units of this folder.
template <class Entry>
std::unique_ptr<AnyModel> student_of(const Teacher& teacher, std::uint64_t seed, const std::filesystem::path& checkpoint);

}  // namespace examples
