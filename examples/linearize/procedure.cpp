// The procedure of the paper: swap, attention transfer, low-rank finetuning; a measurement after each.
#include "procedure.hpp"

#include "../support/program.hpp"
#include "../support/training_log.hpp"
#include "../support/spelling.hpp"

#include <lolcats/data/planted_facts.hpp>
#include <lolcats/eval/shared_language_model.hpp>

#include <algorithm>
#include <filesystem>

namespace examples {

namespace {

/// Rows of the text that scores of a cache are fitted on where no facts are planted.
constexpr Index rows_for_scores = 96;
/// Rows with planted facts that show which heads and layers recall.
constexpr Index rows_for_heads = 16;
/// Rows per update of gates.
constexpr Index rows_for_gates = 2;
/// Rows that show which layers a swap costs most.
constexpr Index rows_for_sensitivity = 32;

/// Rank 0 measures perplexity and generates; where the base is shared out, all ranks do the same, for they run its layers together.
bool takes_part(const Job& job) { return job.communicator->leads() || job.options.shard_base; }

Stage measure(const std::string& name, AnyModel& model, const Job& job, nlohmann::ordered_json& json) {
  stop_if_requested();
  Stage stage{name, {}, {}};
  if (!takes_part(job)) return stage;
  auto& entry = json[name];
  for (const ValidationText& text : job.texts) {
    stage.perplexity.push_back(model.perplexity(text.rows, job.options.batch));
    const auto& p = stage.perplexity.back();
    entry["texts"][text.name] = {{"perplexity", p.perplexity}, {"mean_of_sequences", p.mean_of_sequences}, {"tokens", p.tokens}};
    fmt::print(stderr, "{}: perplexity {:.4f}{}\n", name, p.perplexity, job.texts.size() > 1 ? " on " + text.name : "");
  }
  entry["perplexity"] = stage.perplexity.front().perplexity;
  entry["mean_of_sequences"] = stage.perplexity.front().mean_of_sequences;
  if (!job.documents.empty()) {
    stage.recall = model.recall(job.documents, {10, 65, 129, 257}, job.options.batch);
    for (const auto& bin : stage.recall.bins) entry["recall"].push_back({{"from", bin.first}, {"accuracy", bin.accuracy()}});
  }
  return stage;
}

/// What both stages are told besides their own options.
template <class Recipe>
void apply_common(const Job& job, Index per_epoch, const char* state, bool has_scores, Recipe& recipe) {
  const Options& o = job.options;
  recipe.batch = o.batch;
  recipe.micro_batch = o.micro_batch;
  recipe.seed = o.seed;
  recipe.stop = stop_requested;
  recipe.communicator = job.communicator;
  if (o.out.empty()) return;
  recipe.log = json_lines(std::filesystem::path(o.out) / "training.jsonl");
  recipe.inputs = {{"length", fmt::format("{}", o.length)}, {"tokenizer", tokenizer_fingerprint(*job.tokenizer)}};
  if (has_scores) {
    recipe.inputs["planted rows"] = fmt::format("{}", o.planted_rows);
    recipe.inputs["recall length"] = fmt::format("{}", o.recall_length);
    recipe.inputs["cache places"] = o.cache_places > 0 ? fmt::format("{}, rest {}", o.cache_places, o.cache_rest) : "all";
    if (o.heads_by == "gates") recipe.inputs["head gates"] = fmt::format("{} rows, sparsity {}", o.gate_rows, o.gate_sparsity);
  }
  recipe.checkpoint_minutes = o.save_minutes;
  recipe.checkpoint = std::filesystem::path(o.out) / state;
  recipe.checkpoint_every = o.save_every > 0 ? o.save_every : per_epoch;
}

Index updates_per_epoch(const Job& job) { return (job.train.size() + job.options.batch - 1) / job.options.batch; }

/// Stage 1; with `blocks`, that of blocks which are trained and joined by calls of their own.
lolcats::TransferRecipe<lolcats::AnySchedule> transfer_recipe(const Job& job, bool has_scores, bool blocks) {
  const Options& o = job.options;
  lolcats::TransferRecipe<lolcats::AnySchedule> recipe;
  o.transfer.apply_to(recipe, updates_per_epoch(job));
  apply_common(job, updates_per_epoch(job), "transfer.state", has_scores, recipe);
  recipe.xent_factor = o.xent_factor;
  recipe.block = o.block;
  recipe.residuals = o.residuals;
  if (blocks) {
    recipe.checkpoint.clear();
    recipe.inputs["base"] = fingerprint_of_base(o.model);
  }
  return recipe;
}

/// What a checkpoint says of its making.
nlohmann::json origin(const Job& job) {
  const Options& o = job.options;
  return {{"student", o.student}, {"base_model", std::filesystem::absolute(o.model).string()},
          {"tokenizer", std::filesystem::absolute(o.tokenizer).string()}, {"tokenizer_fingerprint", tokenizer_fingerprint(*job.tokenizer)}};
}

/// Rows with planted facts; where none are asked for, rows of the text.
lolcats::DataSet rows_with_facts(const Job& job, Index first, Index count) {
  const Options& o = job.options;
  if (o.planted_rows == 0) return job.train.first(count);
  return lolcats::planted_facts(job.train, *job.tokenizer, first, count, {.length = o.recall_length, .seed = o.seed});
}

/// What scores of a cache are fitted on: rows with planted facts, and half as many of plain text of the same length.
lolcats::DataSet rows_to_fit(const Job& job) {
  const Options& o = job.options;
  if (o.planted_rows == 0) return rows_with_facts(job, 0, rows_for_scores);
  std::vector<lolcats::Row> rows = rows_with_facts(job, 0, o.planted_rows).rows();
  const auto length = static_cast<std::size_t>(o.recall_length), wanted = rows.size() + rows.size() / 2;
  std::vector<Index> text;
  for (Index i = 0; i < job.train.size() && rows.size() < wanted; ++i) {
    const lolcats::Row more = job.train[i];
    text.insert(text.end(), more.tokens.begin(), more.tokens.end());
    for (; text.size() >= length && rows.size() < wanted; text.erase(text.begin(), text.begin() + o.recall_length)) {
      const std::vector<Index> tokens(text.begin(), text.begin() + o.recall_length);
      rows.push_back({tokens, tokens, {0}});
    }
  }
  return lolcats::DataSet(std::move(rows));
}

/// Gives the heads whose cache matters most all that the student's type holds, and the others less.
void allot(AnyModel& student, const Job& job, nlohmann::ordered_json& json) {
  const Options& o = job.options;
  const bool by_gates = o.heads_by == "gates";
  const auto allotted = [&] {
    const lolcats::DataSet rows = rows_with_facts(job, o.planted_rows, by_gates ? o.gate_rows : rows_for_heads);
    if (!by_gates) return student.allot_cache(rows, o.cache_places, o.cache_rest, o.batch);
    lolcats::Recipe<lolcats::AnySchedule> recipe{.epochs = 1, .learning_rate = 0.03, .schedule = lolcats::Constant{}};
    apply_common(job, o.gate_rows, "gates.state", true, recipe);
    recipe.batch = std::max<Index>(rows_for_gates, job.communicator->size());
    return student.allot_cache_by_gates(rows, o.cache_places, o.cache_rest, o.gate_sparsity, recipe, print_progress());
  };
  const auto [sizes, worth] = allotted();
  fmt::print(stderr, "places of the caches, by layer and head; {}\n", by_gates ? "gates" : "divergence of the predictions that fewer add");
  for (std::size_t l = 0; l < sizes.size(); ++l) {
    fmt::print(stderr, "  {:>3}  {:>5}  {:>8.4f}\n", l, fmt::join(sizes[l], " "), fmt::join(worth[l], " "));
  }
  json["cache_sizes"] = sizes;
  json["cache_worth"] = worth;
}

/// A stage that ends worse than it began.
void say_if_worse(const char* stage, const lolcats::TrainingResult& result, bool restored) {
  if (!result.ended_worse) return;
  fmt::print(stderr, "{}: ended worse than it began: the validation loss is {:.6g} at the start, {:.6g} at the end; {}\n", stage,
             result.start_validation, result.history.back().validation.value_or(0),
             restored ? "the parameters stay as they were at the start" : "the last parameters are kept, as asked");
}

/// The prompts of the command line, or the beginning of the first validation text.
lolcats::TokenLists prompts_of(const Job& job) {
  lolcats::TokenLists prompts;
  for (const std::string& text : job.options.prompts) {
    prompts.push_back(job.tokenizer->encode(text, job.tokenizer->adds_bos(), true));
  }
  if (prompts.empty()) {
    const auto row = job.texts.front().rows[0].tokens;
    prompts.emplace_back(row.begin(), row.begin() + std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(row.size()), 64));
  }
  return prompts;
}

void generate(const Job& job, Report& report) {
  const lolcats::TokenLists prompts = prompts_of(job);
  lolcats::GenerationOptions options{.max_tokens = job.options.max_tokens, .stop = end_tokens(job.teacher->config(), *job.tokenizer)};
  const auto teacher = job.teacher->generate(prompts, options);
  const auto student = report.student->generate(prompts, options);
  report.state_bytes = student.state_bytes / prompts.size();
  const bool special = !job.options.prompts.empty();  // what a user spelled is shown
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    report.continuations.push_back({job.tokenizer->decode(prompts[i], special), text_behind(*job.tokenizer, prompts[i], teacher.tokens[i], special),
                                    text_behind(*job.tokenizer, prompts[i], student.tokens[i], special)});
    const Continuation& c = report.continuations.back();
    report.json["continuations"].push_back({{"prompt", c.prompt}, {"teacher", c.teacher}, {"student", c.student}});
  }
  report.json["decoding_state_bytes"] = report.state_bytes;
}

/// Teacher and student on the tasks, if there are any.  All ranks take part.
void score(const Job& job, Report& report) {
  if (job.tasks.options.tasks.empty()) return;
  for (const auto& [name, model] : {std::pair{"teacher", job.teacher.get()}, {"student", report.student.get()}}) {
    fmt::print("\nScores of the {}\n", name);
    lolcats::SharedLanguageModel shared(model->language(), *job.communicator);
    report.json["scores"][name] = lolcats::run_tasks(shared, *job.tokenizer, job.tasks, print_tasks()).json();
  }
}

/// The layers that the options name, or so many by spacing or at random.
std::vector<Index> named_layers(const Options& o, Index layers) {
  if (!o.lists_layers()) {
    const Index count = o.layer_numbers.front();
    lolcats::require<lolcats::ConfigError>(count <= layers, "--keep-layers is {}, expected 0 to {}, or a list such as {},", count, layers, layers - 1);
    return o.keep_by == "random" ? lolcats::random_layers(layers, count, o.seed) : lolcats::spaced_layers(layers, count);
  }
  std::vector<Index> kept;
  for (const Index layer : o.layer_numbers) {
    lolcats::require<lolcats::ConfigError>(layer < layers, "--keep-layers is {}: there is no layer {}, expected 0 to {}", o.keep_layers, layer, layers - 1);
    lolcats::require<lolcats::ConfigError>(std::ranges::find(kept, layer) == kept.end(), "--keep-layers is {}: layer {} is named twice", o.keep_layers, layer);
    kept.push_back(layer);
  }
  return kept;
}

/// Gives the layers that the options name or ask for their softmax back.
void keep_layers(AnyModel& student, const Job& job, nlohmann::ordered_json& json) {
  const Options& o = job.options;
  std::vector<Index> kept = named_layers(o, job.teacher->config().layers);
  const bool by_recall = o.keep_by == "recall";
  if ((by_recall || o.keep_by == "sensitivity") && !o.lists_layers()) {
    const lolcats::DataSet rows = by_recall ? rows_with_facts(job, 0, rows_for_heads) : job.valid.first(std::min<Index>(job.valid.size(), rows_for_sensitivity));
    const auto sensitivity = student.sensitivity(rows, std::clamp<Index>(o.batch * o.length / static_cast<Index>(rows[0].tokens.size()), 1, o.batch));
    for (const lolcats::Swapped& layer : sensitivity.swapped) {
      json["sensitivity"].push_back({{"divergence", layer.divergence}, {"perplexity", layer.perplexity()}});
    }
    kept = lolcats::most_sensitive_layers(sensitivity, static_cast<Index>(kept.size()));
  }
  student.keep_layers(kept);
  json["kept_layers"] = kept;
  if (kept.empty()) fmt::print(stderr, "no layer keeps its softmax\n");
  else fmt::print(stderr, "layers {} keep their softmax\n", fmt::join(kept, ", "));
}

}  // namespace

Report linearize(Job& job) {
  const Options& o = job.options;
  // Mistakes are told before any work.
  if (!o.keep_layers.empty()) named_layers(o, job.teacher->config().layers);
  if (o.plants_facts && o.planted_rows > 0) rows_with_facts(job, 0, o.planted_rows + std::max(o.gate_rows, rows_for_heads));
  // What other calls have trained, if there is any; whether it fits is told before any work, too.
  const bool joins = !o.out.empty() && lolcats::path_exists(o.block_folder());
  lolcats::TransferRecipe<lolcats::AnySchedule> recipe_of_blocks;
  if (joins) {
    recipe_of_blocks = transfer_recipe(job, false, true);
    make_student(o.student, *job.teacher, o.seed)->join_blocks(job.train, job.valid, recipe_of_blocks, o.block_folder());
  }
  Report report;
  auto& json = report.json;
  json["teacher"]["name"] = job.teacher->type_name();
  json["student"] = o.student;
  report.stages.push_back(measure("teacher", *job.teacher, job, json));
  report.student = make_student(o.student, *job.teacher, o.seed);  // same weights, new attention
  AnyModel& student = *report.student;
  json["student_type"] = student.type_name();
  report.stages.push_back(measure("swapped", student, job, json));

  if (student.has_scores()) {
    const double explained = student.fit_scores(rows_to_fit(job), o.batch);
    json["scores_explained"] = explained;
    fmt::print(stderr, "scores of the cache explain {:.2f} of the variance of the attention from afar\n", explained);
    report.stages.push_back(measure("fitted", student, job, json));
  }
  if (o.cache_places > 0) {
    allot(student, job, json);
    report.stages.push_back(measure("allotted", student, job, json));
  }
  const Index per_epoch = updates_per_epoch(job);
  double transfer_speed = 0, finetune_speed = 0;
  if (student.has_maps()) {
    if (joins) {
      json["transfer"] = {{"mse_per_layer", student.join_blocks(job.train, job.valid, recipe_of_blocks, o.block_folder())}, {"joined", o.block_folder().string()}};
    } else if (o.transfer.epochs > 0) {
      const auto recipe = transfer_recipe(job, student.has_scores(), false);
      const auto result = student.transfer(job.train, job.valid, recipe, print_progress());
      for (const auto& block : result.blocks) say_if_worse("transfer", block, recipe.restore_best);
      json["transfer"] = {{"mse_per_layer", result.mse_per_layer}, {"updates", result.blocks.front().updates},
                          {"seconds", result.seconds()}};
      transfer_speed = result.tokens_per_second();
    }
    report.stages.push_back(measure("transferred", student, job, json));
  }
  if (!o.keep_layers.empty()) {
    keep_layers(student, job, json);
    report.stages.push_back(measure("layers kept", student, job, json));
  }
  if (o.finetune.epochs > 0) {
    lolcats::FinetuneRecipe<lolcats::AnySchedule> recipe;
    o.finetune.apply_to(recipe, per_epoch);
    apply_common(job, per_epoch, "finetune.state", student.has_scores(), recipe);
    recipe.recompute = o.recompute;
    recipe.train_maps = o.train_maps;
    recipe.maps_learning_rate = o.maps_rate;
    recipe.distillation = {o.distill, o.temperature};
    const auto result = student.finetune(job.train, job.valid, recipe, print_progress());
    say_if_worse("finetune", result, recipe.restore_best);
    json["finetune"] = {{"updates", result.updates}, {"seconds", result.training_seconds}};
    finetune_speed = result.tokens_per_second();
    report.stages.push_back(measure("finetuned", student, job, json));
  }
  json["tokens_per_second"] = {{"transfer", transfer_speed}, {"finetune", finetune_speed}};
  if (takes_part(job)) generate(job, report);
  score(job, report);
  if (job.communicator->leads() && !o.out.empty()) student.save(o.out, origin(job), "");
  return report;
}

lolcats::StreamedResult train_blocks(Job& job) {
  const Options& o = job.options;
  const Index layers = job.teacher->config().layers, count = (layers + o.block - 1) / o.block;
  lolcats::require<lolcats::ConfigError>(o.last_block <= count, "--blocks is {}:{}, but --block {} makes {} blocks of {} layers", o.first_block,
                                         o.last_block, o.block, count, layers);
  const auto student = make_student(o.student, *job.teacher, o.seed);
  lolcats::require<lolcats::ConfigError>(!student->has_scores(), "--blocks is given, but --student {} has scores, which are fitted on the whole model", o.student);
  if (job.communicator->leads()) lolcats::create_folder(o.block_folder());  // from now on OUT is one whose blocks are joined
  auto recipe = transfer_recipe(job, false, true);
  recipe.log = json_lines(o.block_folder() / fmt::format("{}", o.first_block) / "training.jsonl");  // others write beside it
  auto result = student->transfer_blocks(o.model, job.train, job.valid, recipe, {o.first_block, o.last_block, o.block_folder()}, print_progress());
  for (const auto& block : result.transfer.blocks) say_if_worse("transfer", block, recipe.restore_best);
  return result;
}

std::vector<double> join_blocks(Job& job) {
  const Options& o = job.options;
  const auto student = make_student(o.student, *job.teacher, o.seed);
  const auto recipe = transfer_recipe(job, false, true);
  auto mse = student->join_blocks(job.train, job.valid, recipe, o.block_folder());
  student->save(o.out, origin(job), recipe.inputs.at("base"));
  return mse;
}

}  // namespace examples
