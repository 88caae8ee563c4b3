// A model whose type is chosen at run time: what programs do with the students of the zoo.
//
// The library knows types only.  A program that takes a student's name pays one virtual call per stage here, and each
// student is compiled once for all programs, in one of the units of this folder.
#pragma once

#include <lolcats/data/dataset.hpp>
#include <lolcats/data/synthetic.hpp>
#include <lolcats/distributed/communicator.hpp>
#include <lolcats/eval/allot_cache.hpp>
#include <lolcats/eval/language_model.hpp>
#include <lolcats/eval/layer_sensitivity.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/eval/recall.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/io/llama_config.hpp>
#include <lolcats/train/any_schedule.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/streamed_transfer.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace examples {

using lolcats::Index;

/// A Llama on the device that the program was built for, behind one interface.
class AnyModel {
 public:
  virtual ~AnyModel() = default;

  virtual const lolcats::LlamaConfig& config() const = 0;
  /// "llama<cpu<float>, hybrid<hedgehog<64>, terraced<64>>, lora<8, qkvo>>".
  virtual std::string type_name() const = 0;
  virtual bool has_maps() const = 0;
  /// Kernels, state and trained numbers, a line each (model/explain.hpp).
  virtual std::string explain(Index prompt) const = 0;

  /// For tasks and everything else that asks for log-likelihoods.
  virtual lolcats::LanguageModel& language() = 0;
  virtual lolcats::Perplexity perplexity(const lolcats::DataSet& data, Index rows) = 0;
  virtual lolcats::Recall recall(std::span<const lolcats::SyntheticDocument> documents, std::vector<Index> edges, Index rows) = 0;
  virtual lolcats::Generation generate(const lolcats::TokenLists& prompts, const lolcats::GenerationOptions& options,
                                       const lolcats::TokenCallback& on_token = {}) = 0;

  /// Does its cache score keys by a projection that is to be fitted?  What the fit explains, on average over layers.
  virtual bool has_scores() const = 0;
  virtual double fit_scores(const lolcats::DataSet& data, Index rows) = 0;
  /// Gives the caches of heads that matter most the most places, see lolcats::allot_cache (ConfigError for a student without).
  virtual lolcats::AllottedCache allot_cache(const lolcats::DataSet& data, Index mean, Index rest, Index rows) = 0;
  /// The same for the heads of the largest gates, which are what is `worth` here, see lolcats::learn_head_gates.
  virtual lolcats::AllottedCache allot_cache_by_gates(const lolcats::DataSet& data, Index mean, Index rest, double sparsity,
                                                      const lolcats::Recipe<lolcats::AnySchedule>& recipe,
                                                      const lolcats::ProgressCallback& progress) = 0;

  /// Every key/value head keeps `places` keys.
  virtual void set_cache_places(Index places) = 0;

  /// What each layer's swap alone costs, and softmax for the layers in `kept` (PerLayer<Softmax<>, ...>; ConfigError otherwise).
  virtual lolcats::LayerSensitivity sensitivity(const lolcats::DataSet& data, Index rows) = 0;
  virtual void keep_layers(std::span<const Index> kept) = 0;

  /// Stages 1 and 2.  Errors: as the library's functions; ConfigError where the type has nothing to train.
  virtual lolcats::TransferResult transfer(const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                           const lolcats::TransferRecipe<lolcats::AnySchedule>& recipe,
                                           const lolcats::ProgressCallback& progress) = 0;
  /// Blocks of stage 1, for a student of `outline_of(base)`, and stage 1 from finished blocks: the mean squared error of each layer.
  virtual lolcats::StreamedResult transfer_blocks(const std::filesystem::path& base, const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                                  const lolcats::TransferRecipe<lolcats::AnySchedule>& recipe, const lolcats::BlockJob& job,
                                                  const lolcats::ProgressCallback& progress) = 0;
  virtual std::vector<double> join_blocks(const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                          const lolcats::TransferRecipe<lolcats::AnySchedule>& recipe, const std::filesystem::path& folder) = 0;
  virtual lolcats::TrainingResult finetune(const lolcats::DataSet& train, const lolcats::DataSet& valid,
                                           const lolcats::FinetuneRecipe<lolcats::AnySchedule>& recipe,
                                           const lolcats::ProgressCallback& progress) = 0;

  /// Adds the adapter to the weights: faster from here on, and no longer trainable.
  virtual void merge_adapters() = 0;
  /// Writes what the model has beyond its base, see save_linearized; `base` is its fingerprint, where it is known.
  virtual void save(const std::filesystem::path& folder, const nlohmann::json& recipe, const std::string& base) const = 0;
  /// Adds an adapter of peft, of any rank and targets, to the weights.
  virtual void merge_adapter(const std::filesystem::path& folder) = 0;
};

/// A softmax model from any checkpoint that open_checkpoint takes, on the device; between the ranks of `sharding`, if it is given, the layers'
/// weights are shared out, and all of them must do the same with it and its students (train/sharded_base.hpp).
std::unique_ptr<AnyModel> load_teacher(const std::filesystem::path& path, lolcats::Communicator* sharding = nullptr);

/// Its sizes without its weights: students of it train and join blocks of stage 1, and can do nothing else.
std::unique_ptr<AnyModel> outline_of(const std::filesystem::path& path);
/// The fingerprint of its weights, read one by one (rounded_fingerprint_of).  Refuses what load_teacher refuses.
std::string fingerprint_of_base(const std::filesystem::path& path);

/// The student called `name` (model/zoo.hpp) over a teacher that load_teacher returned, whose weights it shares: fresh
/// from `seed`.  Throws ConfigError listing the known names.
std::unique_ptr<AnyModel> make_student(const std::string& name, const AnyModel& teacher, std::uint64_t seed);

/// Throws ConfigError if the student's window leaves nothing to its maps in sequences of at most `longest` tokens.
void require_maps_in_use(const std::string& name, Index longest);

/// The same as `linearize --out` wrote it; one with a cache, too, if it needs no training and the checkpoint has the student without.
std::unique_ptr<AnyModel> load_student(const std::string& name, const AnyModel& teacher, const std::filesystem::path& checkpoint);

/// "cpu<float>", "cuda<bf16>".
std::string device_name();

/// The processes that this one was started with: by mpiexec on the CPU, by launch_ranks on GPUs.  Errors: ConfigError where the program
/// was built without MPI or NCCL; CommunicationError.
std::unique_ptr<lolcats::Communicator> make_communicator();

}  // namespace examples
