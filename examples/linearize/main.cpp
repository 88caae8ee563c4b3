// Linearizes a pretrained Llama: the main job.
//
// Loads a softmax model (by default the small one that comes with the sources), swaps its attention for the student's,
// trains the feature maps (attention transfer), then the adapter (low-rank finetuning), and prints the perplexity after
// each of these on every validation text, the recall by distance on the built-in corpus, the scores of benchmarks if any are
// asked for, and texts that teacher and student generate.  Several processes share the training: mpiexec -n 2 linearize ...,
// or linearize_cuda --gpus 2 ...
#include "../models/any_model.hpp"
#include "../support/output_folder.hpp"
#include "../support/program.hpp"
#include "../support/ranks.hpp"
#include "procedure.hpp"

#include <lolcats/tokenizer/open.hpp>

#include <algorithm>
#include <filesystem>
#include <optional>

namespace {

using namespace examples;

/// The last twentieth of the rows, at most 64, is what the others are judged by.
void hold_out(const lolcats::DataSet& all, Job& job) {
  const Index count = std::clamp<Index>(all.size() / 20, 1, 64), first = all.size() - count;
  lolcats::require<lolcats::DataError>(first > 0, "--train has one row of {} tokens, too few to hold one out; name --valid", job.options.length);
  std::vector<lolcats::Row> rows;
  for (Index row = first; row < all.size(); ++row) rows.push_back(all[row]);
  job.train = all.first(first);
  job.valid = lolcats::DataSet(std::move(rows), all.boundaries());
  job.texts.push_back({"held out", job.valid});
}

Job prepare(const Options& o, lolcats::TaskSet tasks, lolcats::Communicator* communicator) {
  Job job{o, o.streams() ? outline_of(o.model) : load_teacher(o.model, o.shard_base ? communicator : nullptr), lolcats::open_tokenizer(o.tokenizer), {}, {}, {}, {}, {}, communicator};
  const Index vocabulary = job.teacher->config().vocab_size;
  lolcats::check_tokenizer(*job.tokenizer, o.tokenizer, vocabulary, o.model);
  job.tasks = std::move(tasks);
  if (o.built_in_corpus()) {
    SyntheticText text = synthetic_text({.length = o.length}, o.documents, 64);
    job.train = std::move(text.train);
    job.valid = text.valid;
    job.texts.push_back({"synthetic", std::move(text.valid)});
    job.documents = std::move(text.documents);
  } else if (o.valid.empty()) {
    hold_out(o.rows_of(o.train, *job.tokenizer, o.length, true), job);
  } else {
    job.train = o.rows_of(o.train, *job.tokenizer, o.length, true);
    job.valid = o.rows_of(o.valid, *job.tokenizer, o.length, false);
    for (const std::string& file : o.valid) {
      job.texts.push_back({std::filesystem::path(file).stem().string(), o.valid.size() == 1 ? job.valid : o.rows_of({file}, *job.tokenizer, o.length, false)});
    }
  }
  if (job.options.recall_length == 0) job.options.recall_length = std::min<Index>(2048, job.teacher->config().max_position);
  job.train.check_vocabulary(vocabulary);
  job.valid.check_vocabulary(vocabulary);
  Index longest = 0;
  for (const lolcats::DataSet* rows : {&job.train, &job.valid}) {
    for (Index i = 0; i < rows->size(); ++i) longest = std::max(longest, static_cast<Index>((*rows)[i].tokens.size()));
  }
  require_maps_in_use(o.student, longest);
  return job;
}

void print(const Report& report, const Job& job) {
  fmt::print("\n{:<12}", "perplexity");
  for (const ValidationText& text : job.texts) fmt::print(" {:>12}", text.name);
  if (job.texts.size() == 1) fmt::print(" {:>14}", "mean of rows");
  for (const auto& bin : report.stages.front().recall.bins) {
    fmt::print(" {:>14}", bin.last > job.options.length ? fmt::format("recall {}+", bin.first) : fmt::format("recall {}-{}", bin.first, bin.last));
  }
  fmt::print("\n");
  for (const Stage& stage : report.stages) {
    fmt::print("{:<12}", stage.name);
    for (const auto& p : stage.perplexity) fmt::print(" {:>12.4f}", p.perplexity);
    if (job.texts.size() == 1) fmt::print(" {:>14.4f}", stage.perplexity.front().mean_of_sequences);
    for (const auto& bin : stage.recall.bins) fmt::print(" {:>13.1f}%", 100 * bin.accuracy());
    fmt::print("\n");
  }
  if (!job.documents.empty()) fmt::print("{:<12} {:>12.4f}\n", "entropy", std::exp(synthetic_entropy(job.documents)));
  for (const Continuation& c : report.continuations) {
    fmt::print("\n{}\n  teacher: [{}]\n  student: [{}]\n", c.prompt, c.teacher, c.student);
  }
  fmt::print("\nThe student's text was generated from a state of {} KB.\n", report.state_bytes / 1024);
}

void print(const lolcats::StreamedResult& result, const Options& o) {
  fmt::print("Blocks {} to {} are in {}; mean squared errors of their layers:", o.first_block, o.last_block - 1, o.block_folder().string());
  for (const double mse : result.transfer.mse_per_layer) fmt::print(" {:.4g}", mse);
  fmt::print("\n{:.1f} s, of which {:.1f} s between blocks and {:.1f} s waiting for weights\n", result.seconds, result.seconds_streaming,
             result.seconds_waiting);
}

nlohmann::ordered_json recipe_json(const StageOptions& o) {
  return {{"epochs", o.epochs},  {"updates", o.updates}, {"learning_rate", o.rate},        {"schedule", o.schedule},
          {"warmup", o.warmup},  {"floor", o.floor},     {"clip", o.clip},                 {"weight_decay", o.optimizer.weight_decay},
          {"beta1", o.optimizer.beta1}, {"beta2", o.optimizer.beta2}, {"patience", o.patience}, {"keep_last", o.keep_last}};
}

/// The work of a rank; rank 0 writes and prints.
void run(const Options& options, lolcats::TaskSet tasks, lolcats::Communicator& communicator) {
  std::optional<OutputFolder> folder;
  if (communicator.leads() && options.trains_blocks()) {
    lolcats::try_writing(std::filesystem::path(options.out) / "blocks.json");  // no lock: each block's own folder has one
  } else if (communicator.leads()) {
    if (!options.out.empty()) folder.emplace(options.out, std::initializer_list<std::string_view>{"linearize.json", "lolcats.json"}, options.replace);
    if (!options.json.empty()) lolcats::try_writing(options.json);
  }
  communicator.barrier();  // the others read what lies there
  stop_on_signals();
  Job job = prepare(options, std::move(tasks), &communicator);
  fmt::print(stderr, "{} layers, width {}, {} rows to train on, {} to validate on, student {}, on {}{}\n", job.teacher->config().layers,
             job.teacher->config().hidden_size, job.train.size(), job.valid.size(), options.student, device_name(),
             communicator.size() > 1 ? fmt::format(" x {}", communicator.size()) : "");
  if (options.trains_blocks()) {
    const lolcats::StreamedResult result = train_blocks(job);
    if (communicator.leads()) print(result, options);
    return;
  }
  if (options.join) {
    if (!communicator.leads()) return;
    const std::vector<double> mse = join_blocks(job);
    fmt::print("Joined {} layers into {}\n", mse.size(), options.out);
    folder->finish();
    return;
  }
  Report report = linearize(job);
  if (!communicator.leads()) return;
  report.json["device"] = device_name();
  report.json["ranks"] = communicator.size();
  report.json["shard_base"] = options.shard_base;
  report.json["peak_bytes"] = peak_memory();
  report.json["tokens"] = {{"train", job.train.tokens()}, {"valid", job.valid.tokens()}};
  report.json["recipe"] = {{"length", options.length}, {"batch", options.batch}, {"micro_batch", options.micro_batch}, {"seed", options.seed},
                           {"block", options.block}, {"xent_factor", options.xent_factor}, {"train_maps", options.train_maps},
                           {"maps_learning_rate", options.maps_rate}, {"distill", options.distill}, {"temperature", options.temperature},
                           {"planted_rows", job.options.planted_rows}, {"recall_length", job.options.recall_length},
                           {"cache_places", options.cache_places}, {"cache_rest", options.cache_rest},
                           {"heads_by", options.heads_by}, {"gate_rows", options.gate_rows}, {"gate_sparsity", options.gate_sparsity},
                           {"keep_layers", options.keep_layers}, {"keep_by", options.keep_by},
                           {"transfer", recipe_json(options.transfer)}, {"finetune", recipe_json(options.finetune)}};
  print(report, job);
  if (!options.json.empty()) {
    lolcats::write_file_atomically(options.json, std::string_view(report.json.dump(2) + "\n"));
    fmt::print("Results: {}\n", options.json);
  }
  if (folder) folder->finish();
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("linearize", [&] {
    Options options = parse(argc, argv);
    if (options.explain) {
      fmt::print("{}", make_student(options.student, *load_teacher(options.model), options.seed)->explain(options.length));
      return;
    }
    lolcats::TaskSet tasks;
    if (!options.TaskCommandLine::options.tasks.empty()) tasks = options.TaskCommandLine::load();  // what is missing is told before any work
    run_on_ranks("linearize", options.gpus, [&](lolcats::Communicator& communicator) { run(options, std::move(tasks), communicator); });
  });
}
