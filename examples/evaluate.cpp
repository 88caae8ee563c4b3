// Scores a model on benchmarks and texts, as EleutherAI's lm-evaluation-harness does.
//
// Takes a softmax model, a student without training, or the checkpoint that `linearize --out` wrote; prints a table of
// tasks, and with --json writes the harness's results layout.
#include "models/any_model.hpp"
#include "support/command_line.hpp"
#include "support/model_options.hpp"
#include "support/program.hpp"
#include "support/ranks.hpp"
#include "support/task_options.hpp"

#include <lolcats/eval/shared_language_model.hpp>

#include <filesystem>

namespace {

using namespace examples;

struct Options : ModelOptions, TaskCommandLine {
  std::string json;
  Index gpus = 1;
};

/// The work of a rank; rank 0 writes and prints.
void run(Options& o, const lolcats::TaskSet& tasks, lolcats::Communicator& communicator) {
  const LoadedModel loaded = o.ModelOptions::load();
  loaded.model->merge_adapters();
  lolcats::SharedLanguageModel shared(loaded.model->language(), communicator);
  lolcats::TaskReport report = lolcats::run_tasks(shared, *loaded.tokenizer, tasks, print_tasks());
  const auto name = [](const std::string& path) { return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string(); };
  report.config["model_path"] = name(o.model);
  if (!o.checkpoint.empty()) report.config["checkpoint"] = name(o.checkpoint);
  if (!o.student.empty()) report.config["student"] = o.student;
  if (o.cache_places) report.config["cache_places"] = *o.cache_places;
  if (!o.adapter.empty()) report.config["adapter"] = name(o.adapter);
  report.config["tokenizer_path"] = name(o.tokenizer);
  report.config["device"] = device_name();
  report.config["ranks"] = communicator.size();
  fmt::print(stderr, "{}, convention {}, {}\n", report.config["model"].get<std::string>(), o.options.convention,
             report.config["bos"].get<bool>() ? "with BOS" : "no BOS");
  if (o.json.empty() || !communicator.leads()) return;
  lolcats::write_file_atomically(o.json, std::string_view(report.json().dump(2) + "\n"));
  fmt::print("Results: {}\n", o.json);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("evaluate", [&] {
    Options o;
    CLI::App app{"Scores a model on benchmarks and texts."};
    o.add_model_to(app);
    o.add_tasks_to(app, "--length,--text-length");
    app.get_option("--tasks")->required();
    add_gpus_to(app, o.gpus, "evaluate", "the texts and questions");
    app.add_option("--json", o.json, "file for the results, in the layout of lm-evaluation-harness");
    parse_or_exit(app, argc, argv);
    if (o.no_bos) o.options.bos = false;
    const lolcats::TaskSet tasks = o.TaskCommandLine::load();  // what is missing is told before any work
    if (!o.json.empty()) lolcats::try_writing(o.json);
    run_on_ranks("evaluate", o.gpus, [&](lolcats::Communicator& communicator) { run(o, tasks, communicator); });
  });
}
