// Training steps of a whole Llama on a GPU: tokens per second, share of the product rate, peak memory.
//
// Random weights, made on the card.  What is timed is an update of the training loop: collecting the batch, forward,
// backward, clipping, AdamW.  Prints a line of JSON per stage and student.
#include "support/cuda_model.cuh"
#include "support/flops.hpp"
#include "support/shapes.hpp"

#include <lolcats/model/zoo.hpp>

#include <CLI/CLI.hpp>

#include <map>
#include <string>
#include <vector>

namespace {

using namespace bench;

using Students = lolcats::MethodList<lolcats::zoo::Hedgehog64Terraced64, lolcats::zoo::SoftmaxControl>;

const std::map<std::string, Stage> stages{
    {"transfer", Stage::transfer}, {"finetune", Stage::finetune}, {"pretrain", Stage::pretrain}};

struct Options {
  std::string shape = "llama3-8b";
  std::vector<std::string> stages{"transfer", "finetune"}, students{"hedgehog64-terraced64"};
  Index batch = 8, length = 1024, warmup = 2, repeats = 5, layers = 0;
  bool recompute = false;
};

template <class Data, class Task>
Samples time_updates(const lolcats::Parameters<Gpu>& parameters, const Data& data, Task& task, const Options& o) {
  lolcats::Recipe<lolcats::Constant> recipe;
  recipe.max_updates = o.warmup + o.repeats;
  recipe.batch = data.size();
  recipe.learning_rate = 1e-4;
  recipe.clip = 1.0;
  recipe.restore_best = false;
  Samples samples;
  Instant last = Instant::now();
  lolcats::train(Gpu{}, parameters, data, task, recipe, [&](const lolcats::Progress& at) {
    Gpu{}.synchronize();
    const Instant now = Instant::now();
    if (at.update > o.warmup) samples.add(now - last);
    last = now;
  });
  return samples;
}

template <class Student>
void run(const std::string& stage_name, const Options& o, double rate) {
  using Model = typename Student::template Model<Gpu>;
  const Stage stage = stages.at(stage_name);
  lolcats::LlamaConfig config = shape(o.shape);
  if (o.layers > 0) config.layers = o.layers;
  auto model = random_model<Model>(config);
  lolcats::Rng rng(1);
  std::vector<lolcats::Row> rows(static_cast<std::size_t>(o.batch));
  for (auto& row : rows) {
    for (Index i = 0; i < o.length; ++i) row.tokens.push_back(static_cast<Index>(rng.below(static_cast<std::uint64_t>(config.vocab_size))));
    row.labels = row.tokens;
    row.starts = {0};
  }
  const lolcats::DataSet data(std::move(rows)), none;

  Samples samples;
  std::size_t tape = 0, held = 0;
  const auto measure = [&](const auto& parameters, const auto& set, auto&& task) {
    samples = time_updates(parameters, set, task, o);
    tape = task.peak_bytes();
    held = gpu_bytes();
  };
  if (stage == Stage::transfer) {
    if constexpr (lolcats::has_maps<typename Model::Attention>) {
      const lolcats::TrainedScope<Model> trained(model, model.transfer_parameters(), "transfer");
      measure(trained.parameters(), lolcats::detail::TransferData<lolcats::DataSet>{data},
              lolcats::detail::TransferTask<Model, lolcats::DataSet>(
                  model, none, {.first = 0, .last = model.layer_count(), .rows = data.size()}, {}));
    } else {
      return;  // softmax has nothing to transfer
    }
  } else {
    model.use_adapters(stage == Stage::finetune);
    const lolcats::TrainedScope<Model> trained(
        model, stage == Stage::finetune ? model.adapter_parameters() : model.base_parameters(), stage_name.c_str());
    measure(trained.parameters(), data, lolcats::NextTokenTask<Model, lolcats::DataSet>(model, none, data.size(), o.recompute));
  }

  const double flops = step_flops(model, stage, o.length), tokens = static_cast<double>(data.tokens());
  Json line = gpu_line("llama_step", o.shape);
  line.update({{"stage", stage_name}, {"student", Student::name}, {"layers", config.layers}, {"batch", o.batch},
               {"length", o.length}, {"recompute", o.recompute}});
  line.update(samples.json());
  line.update({{"tokens_per_second", tokens / samples.median()},
               {"flops_per_token", flops},
               {"tflops", 1e-12 * flops * tokens / samples.median()},
               {"product_tflops", 1e-12 * rate},
               {"share_of_product_rate", flops * tokens / samples.median() / rate},
               {"peak_tape_gib", static_cast<double>(tape) / (1 << 30)},
               {"gpu_gib", static_cast<double>(held) / (1 << 30)}});
  print(line);
}

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{"Times training steps of a Llama with random weights on a GPU; one line of JSON each."};
  app.add_option("--shape", o.shape, "llama3-8b, llama3.2-1b or tiny")->capture_default_str();
  app.add_option("--layers", o.layers, "instead of the shape's")->check(CLI::PositiveNumber);
  app.add_option("--stage", o.stages, "transfer, finetune, pretrain; several")->check(CLI::IsMember(stages))->capture_default_str();
  app.add_option("--student", o.students, "hedgehog64-terraced64, softmax; several")->capture_default_str();
  app.add_option("--batch", o.batch, "rows")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--length", o.length, "tokens per row")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_flag("--recompute", o.recompute, "run every layer again in the backward pass instead of keeping its activations");
  app.add_option("--warmup", o.warmup, "updates before the clock starts")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--repeats", o.repeats, "updates to take the median of")->check(CLI::PositiveNumber)->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  try {
    const double rate = product_rate_on_gpu();
    for (const auto& student : o.students) {
      for (const auto& stage : o.stages) {
        lolcats::visit_student(student, [&](auto entry) { run<decltype(entry)>(stage, o, rate); }, Students{});
      }
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_llama_step: {}\n", error.what());
    return 1;
  }
}
