// The state of a training run in a file, so that an interrupted run goes on with the same bits.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/safetensors.hpp>
#include <lolcats/io/safetensors_writer.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/early_stopping.hpp>
#include <lolcats/train/recipe.hpp>

#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

namespace lolcats {

/// What a checkpoint must agree with, field by field: everything that decides the numbers of a run except its length.
using RunIdentity = std::map<std::string, std::string>;

template <Schedule S>
RunIdentity run_identity(const Recipe<S>& recipe, const typename S::State& schedule, Index rows) {
  const auto text = [](const auto& value) { return fmt::format("{}", value); };  // of doubles: the shortest exact text
  RunIdentity identity{{"stage", recipe.stage},
          {"identity", recipe.identity},
          {"rows", text(rows)},
          {"batch", text(recipe.batch)},
          {"micro_batch", text(recipe.micro_batch > 0 ? recipe.micro_batch : recipe.batch)},
          {"shuffle", text(recipe.shuffle)},
          {"seed", text(recipe.seed)},
          {"learning_rate", text(recipe.learning_rate)},
          {"schedule", std::string(schedule.describe())},
          {"beta1", text(recipe.optimizer.beta1)},
          {"beta2", text(recipe.optimizer.beta2)},
          {"epsilon", text(recipe.optimizer.epsilon)},
          {"weight_decay", text(recipe.optimizer.weight_decay)},
          {"clip", text(recipe.clip)},
          {"evaluate_every", text(recipe.evaluate_every)}};
  if (recipe.optimizer.bf16_masters) identity["masters"] = "bf16";
  return identity;
}

namespace detail {

inline constexpr const char* training_state_format = "lolcats training state 2";
inline constexpr Index history_columns = 7;

/// A copy in host memory.
template <Backend B>
Tensor<Real<B>> to_host_tensor(const B& backend, View<const Real<B>> from) {
  Tensor<Real<B>> host(from.shape);
  download(backend, from.data, host.data(), from.size());
  return host;
}

template <Backend B>
Array<B, Real<B>> from_host_tensor(const B& backend, const Tensor<Real<B>>& from) {
  Array<B, Real<B>> array(from.shape());
  upload(backend, from.data(), array.data(), array.size());
  return array;
}

inline Tensor<double> history_tensor(const std::vector<TrainingPoint>& history) {
  Tensor<double> table(Shape{static_cast<Index>(history.size()), history_columns});
  double* to = table.data();
  for (const TrainingPoint& p : history) {
    const double none = std::numeric_limits<double>::quiet_NaN();
    for (const double x : {static_cast<double>(p.update), p.loss, p.validation.value_or(none), p.learning_rate,
                           p.gradient_norm, p.seconds, p.tokens_per_second}) {
      *to++ = x;
    }
  }
  return table;
}

inline std::vector<TrainingPoint> history_points(const Tensor<double>& table, const std::string& file) {
  std::vector<TrainingPoint> history;
  for (Index i = 0; i < table.shape().rows(); ++i) {
    const double* row = table.data() + i * history_columns;
    require<FormatError>(row[0] >= 0 && row[0] <= 0x1p53, "{}: row {} of 'history' is of update {}, expected a count",
                         file, i, row[0]);
    TrainingPoint p{.update = static_cast<Index>(row[0]),
                    .loss = row[1],
                    .validation = {},
                    .learning_rate = row[3],
                    .gradient_norm = row[4],
                    .seconds = row[5],
                    .tokens_per_second = row[6]};
    if (!std::isnan(row[2])) p.validation = row[2];
    history.push_back(p);
  }
  return history;
}

/// The metadata of a checkpoint, with errors that name file, field, got and expected.
class SavedFields {
 public:
  explicit SavedFields(const Safetensors& file) : file_(file) {}

  const std::string& text(const std::string& field) const {
    const auto found = file_.metadata().find(field);
    require<FormatError>(found != file_.metadata().end(), "{}: metadata '{}' is missing", file_.name(), field);
    return found->second;
  }
  template <class T>
  T number(const std::string& field) const {
    const std::string& written = text(field);
    T value{};
    const auto [end, error] = std::from_chars(written.data(), written.data() + written.size(), value);
    require<FormatError>(error == std::errc() && end == written.data() + written.size(),
                         "{}: metadata '{}' is '{:.80}', expected a number", file_.name(), field, written);
    return value;
  }
  Index count(const std::string& field) const {
    const auto value = number<Index>(field);
    require<FormatError>(value >= 0, "{}: metadata '{}' is {}, expected 0 or more", file_.name(), field, value);
    return value;
  }

 private:
  const Safetensors& file_;
};

}  // namespace detail

/// Writes everything that the next update depends on, whole or not at all.
///
/// Tensors, in Real: `parameter.NAME` (masters), `first_moment.NAME`, `second_moment.NAME`, and after the first
/// evaluation `best.NAME`.  In F64: `schedule` (its state) and `history` (update, loss, validation or NaN, learning
/// rate, gradient norm, seconds, tokens per second).  Metadata: the identity as `run.FIELD`, `update`, `best_update`,
/// `without_best`, `best_loss` and `start_loss`.  Epoch, position and random numbers are functions of the update and the seed.
template <Backend B, class ScheduleState>
void save_training_state(const std::filesystem::path& path, const RunIdentity& identity, const B& backend,
                         const AdamW<B>& optimizer, const ScheduleState& schedule, const EarlyStopping<B>& stopping,
                         const std::vector<TrainingPoint>& history) {
  std::vector<NamedTensor> tensors;
  std::vector<Tensor<Real<B>>> copies;  // keep alive what `tensors` borrows
  const auto add = [&](const std::string& name, View<const Real<B>> values) {
    copies.push_back(detail::to_host_tensor(backend, values));
    tensors.emplace_back(name, copies.back());
  };
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const auto& [name, parameter] = optimizer.parameters()[i];
    add("parameter." + name, parameter->master());
    add("first_moment." + name, optimizer.moments()[i].first.view());
    add("second_moment." + name, optimizer.moments()[i].second.view());
    if (stopping.has_best()) add("best." + name, stopping.copies()[i].view());
  }
  const std::vector<double> learned = schedule.save();
  tensors.emplace_back("schedule", View<const double>(learned.data(), Shape{static_cast<Index>(learned.size())}));
  const Tensor<double> points = detail::history_tensor(history);
  tensors.emplace_back("history", points);

  std::map<std::string, std::string> metadata{{"format", detail::training_state_format},
                                              {"update", fmt::format("{}", optimizer.steps())},
                                              {"best_update", fmt::format("{}", stopping.best_update())},
                                              {"without_best", fmt::format("{}", stopping.without_best())},
                                              {"best_loss", fmt::format("{}", stopping.best())},
                                              {"start_loss", fmt::format("{}", stopping.start())}};
  for (const auto& [field, value] : identity) metadata["run." + field] = value;
  write_safetensors(path, tensors, metadata);
}

/// Reads what `save_training_state` wrote.  Nothing is changed unless all of it fits.
///
/// Errors: ConfigError naming field, got and expected if the file belongs to another recipe or model; FormatError (of
/// the history: ShapeError) if it is no training state; FileError.
template <Backend B, class ScheduleState>
void load_training_state(const std::filesystem::path& path, const RunIdentity& identity, const B& backend,
                         AdamW<B>& optimizer, ScheduleState& schedule, EarlyStopping<B>& stopping,
                         std::vector<TrainingPoint>& history) {
  const Safetensors file(path);
  const detail::SavedFields saved(file);
  require<FormatError>(saved.text("format") == detail::training_state_format,
                       "{}: format is '{:.80}', expected '{}'; remove it to start anew", file.name(),
                       saved.text("format"), detail::training_state_format);
  for (const auto& [field, want] : identity) {
    const std::string& got = saved.text("run." + field);
    require<ConfigError>(got == want,
                         "{}: the checkpoint was made with {} '{:.200}', expected '{}'; remove it to start anew",
                         file.name(), field, got, want);
  }
  const auto update = saved.count("update");
  const auto best_update = saved.count("best_update");
  const auto without_best = saved.count("without_best");
  const auto best_loss = saved.number<double>("best_loss");  // "inf" before the first evaluation
  const auto start_loss = saved.number<double>("start_loss");  // "inf" where the start was not evaluated
  require<FormatError>(!std::isnan(best_loss), "{}: metadata 'best_loss' is not a number", file.name());
  require<FormatError>(!std::isnan(start_loss), "{}: metadata 'start_loss' is not a number", file.name());
  const bool has_best = std::isfinite(best_loss);

  std::set<std::string> expected;
  const auto read = [&](const std::string& name, const Shape& shape) {
    expected.insert(name);
    require<ConfigError>(file.contains(name), "{}: the checkpoint has no tensor '{}'; it belongs to another model",
                         file.name(), name);
    const TensorInfo& info = file.info(name);
    require<ConfigError>(info.dtype == dtype_of<Real<B>>, "{}: tensor '{}' is {}, expected {}", file.name(), name,
                         name_of(info.dtype), name_of(dtype_of<Real<B>>));
    const std::string want = to_string(shape);
    require<ConfigError>(to_string(info.shape) == want, "{}: tensor '{}' has shape {}, expected {}", file.name(), name,
                         to_string(info.shape), want);
    return detail::from_host_tensor(backend, file.read<Real<B>>(name, shape));
  };
  std::vector<Array<B, Real<B>>> masters, best;
  std::vector<typename AdamW<B>::Moments> moments;
  for (const auto& [name, parameter] : optimizer.parameters()) {
    masters.push_back(read("parameter." + name, parameter->shape()));
    auto first = read("first_moment." + name, parameter->shape());
    moments.push_back({std::move(first), read("second_moment." + name, parameter->shape())});
    if (has_best) best.push_back(read("best." + name, parameter->shape()));
  }
  expected.insert({"schedule", "history"});
  for (const std::string& name : file.names()) {
    require<ConfigError>(expected.contains(name), "{}: tensor '{:.200}' belongs to no trained parameter of this model",
                         file.name(), name);
  }
  const auto learned = file.read<double>("schedule");
  const auto points = file.read<double>("history", Shape{update, detail::history_columns});

  std::vector<TrainingPoint> past = detail::history_points(points, file.name());
  ScheduleState restored = schedule;
  restored.load(learned.span());
  schedule = restored;
  history = std::move(past);
  for (std::size_t i = 0; i < masters.size(); ++i) {
    assign_master(backend, *optimizer.parameters()[i].parameter, View<const Real<B>>(masters[i].view()));
  }
  optimizer.moments() = std::move(moments);
  optimizer.set_steps(update);
  stopping.load(start_loss, best_loss, best_update, without_best, std::move(best));
}

}  // namespace lolcats
