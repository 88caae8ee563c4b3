// Linearizes a pretrained Llama: the main job.
//
// Loads a softmax model (by default the small one that comes with the sources), swaps its attention for the student's,
// trains the feature maps (attention transfer), then the adapter (low-rank finetuning), and prints the perplexity after
// each of these, the recall by distance on the built-in corpus, and a text that was generated from the constant-size state.
#include "../support/command_line.hpp"
#include "linearize.hpp"

#include <CLI/CLI.hpp>

namespace {

using namespace examples;

Options parse(int argc, char** argv) {
  Options o;
  bool list = false;
  CLI::App app{"Turns a pretrained softmax Llama into one with linear attention."};
  o.add_source_to(app);
  app.add_option("--student", o.student, "the new attention and adapter, see --list-students")->capture_default_str();
  app.add_option("--length", o.length, "tokens per row of text")->capture_default_str();
  app.add_option("--batch", o.batch, "rows per update")->capture_default_str();
  app.add_option("--transfer-epochs", o.transfer_epochs, "epochs of attention transfer (stage 1)")->capture_default_str();
  app.add_option("--finetune-epochs", o.finetune_epochs, "epochs of low-rank finetuning (stage 2)")->capture_default_str();
  o.add_rates_to(app);
  app.add_option("--documents", o.documents, "documents of the synthetic corpus per epoch")->capture_default_str();
  app.add_option("--seed", o.seed, "of shuffling and of fresh weights")->capture_default_str();
  app.add_option("--out", o.out, "folder for the linearized checkpoint; a run that was interrupted goes on from there");
  app.add_option("--json", o.json, "file for the results (default: linearize.json in --out)");
  app.add_flag("--list-students", list, "print the names of the students and end");
  parse_or_exit(app, argc, argv);
  if (list) {
    for (const auto& name : lolcats::student_names()) fmt::print("{}\n", name);
    std::exit(0);
  }
  if (o.json.empty() && !o.out.empty()) o.json = (std::filesystem::path(o.out) / "linearize.json").string();
  lolcats::visit_student(o.student, [](auto) {});  // an unknown name ends the program before any work
  o.resolve();
  return o;
}

Job prepare(const Options& o) {
  Job job{o, lolcats::load_llama<Device>(o.model), {}, {}, {}, {}};
  const Index vocabulary = job.teacher.config().vocab_size;
  job.tokenizer = std::make_unique<lolcats::Llama2cTokenizer>(lolcats::read_llama2c_tokenizer(o.tokenizer, vocabulary));
  if (o.built_in_corpus()) {
    SyntheticText text = synthetic_text({.length = o.length}, o.documents, 64);
    job.train = std::move(text.train);
    job.valid = std::move(text.valid);
    job.documents = std::move(text.documents);
  } else {
    job.train = text_rows(o.train, *job.tokenizer, o.length);
    job.valid = text_rows(o.valid, *job.tokenizer, o.length);
  }
  job.train.check_vocabulary(vocabulary);
  job.valid.check_vocabulary(vocabulary);
  return job;
}

void print(const Report& report, const Job& job) {
  fmt::print("\n{:<12} {:>10} {:>14}", "", "perplexity", "mean of rows");
  for (const auto& bin : report.stages.front().recall.bins) {
    fmt::print(" {:>14}", bin.last > job.options.length ? fmt::format("recall {}+", bin.first) : fmt::format("recall {}-{}", bin.first, bin.last));
  }
  fmt::print("\n");
  for (const Stage& stage : report.stages) {
    fmt::print("{:<12} {:>10.4f} {:>14.4f}", stage.name, stage.perplexity.perplexity, stage.perplexity.mean_of_sequences);
    for (const auto& bin : stage.recall.bins) fmt::print(" {:>13.1f}%", 100 * bin.accuracy());
    fmt::print("\n");
  }
  if (!job.documents.empty()) fmt::print("{:<12} {:>10.4f}\n", "entropy", std::exp(synthetic_entropy(job.documents)));
  fmt::print("\n{} [{}]\n", report.prompt, report.continuation);
  fmt::print("\nThe text in brackets was generated from a state of {} KB.\n", report.state_bytes / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("linearize", [&] {
    const Options options = parse(argc, argv);
    Job job = prepare(options);
    fmt::print(stderr, "{} layers, width {}, {} rows to train on, {} to validate on, student {}\n", job.teacher.layer_count(),
               job.teacher.config().hidden_size, job.train.size(), job.valid.size(), options.student);
    Report report;
    lolcats::visit_student(options.student, [&](auto entry) { report = linearize<decltype(entry)>(job); });
    report.json["peak_bytes"] = peak_memory();
    report.json["tokens"] = {{"train", job.train.tokens()}, {"valid", job.valid.tokens()}};
    report.json["recipe"] = {{"length", options.length}, {"batch", options.batch}, {"seed", options.seed},
                             {"transfer", {{"epochs", options.transfer_epochs}, {"learning_rate", options.transfer_rate}}},
                             {"finetune", {{"epochs", options.finetune_epochs}, {"learning_rate", options.finetune_rate}}}};
    print(report, job);
    if (!options.json.empty()) {
      lolcats::write_file_atomically(options.json, std::string_view(report.json.dump(2) + "\n"));
      fmt::print("Results: {}\n", options.json);
    }
  });
}
