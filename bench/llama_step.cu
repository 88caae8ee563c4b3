// Training steps of a whole Llama on a GPU: tokens per second, share of the product rate, peak memory.
//
// Random weights, made on the card.  What is timed are whole updates (support/update.hpp).  Prints a line of JSON per stage and
// student.
#include "support/cuda_model.cuh"
#include "support/shapes.hpp"
#include "support/update.hpp"

#include <lolcats/model/zoo.hpp>

#include <CLI/CLI.hpp>

#include <optional>
#include <string>
#include <vector>

namespace {

using namespace bench;

using Students = lolcats::MethodList<lolcats::zoo::Hedgehog64Terraced64, lolcats::zoo::SoftmaxControl>;

struct Options {
  std::string shape = "llama3-8b";
  std::vector<std::string> stages{"transfer", "finetune"}, students{"hedgehog64-terraced64"};
  Index batch = 8, length = 1024, warmup = 2, repeats = 5, layers = 0;
  bool recompute = false;
};

template <class Student>
void run(const std::string& stage_name, const Options& o, double rate) {
  using Model = typename Student::template Model<Gpu>;
  const Stage stage = stages.at(stage_name);
  lolcats::LlamaConfig config = shape(o.shape);
  if (o.layers > 0) config.layers = o.layers;
  auto model = random_model<Model>(config);
  const lolcats::DataSet data = random_rows(o.batch, o.length, config.vocab_size);
  std::optional<Profiled> profiled;  // alive in the last update
  const auto times = time_updates(model, stage, data, {o.warmup, o.repeats, 1, o.recompute}, [&](Index update) {
    Gpu{}.synchronize();
    if (update == o.warmup + o.repeats) profiled.emplace();
  });
  profiled.reset();
  if (!times) return;
  const Samples& samples = times->samples;
  const std::size_t held = gpu_bytes();

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
               {"peak_tape_gib", static_cast<double>(times->peak_bytes) / (1 << 30)},
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
