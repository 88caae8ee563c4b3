// Training steps of a whole Llama on a GPU: tokens per second, share of the product rate, peak memory.
//
// Random weights, made on the card.  What is timed are whole updates (support/update.hpp).  Prints a line of JSON per stage and
// student.  With --gpus N every GPU has --batch rows, and before the line for all comes one for each of them alone, at the same time.
// With --shard-base the GPUs share the base out (train/sharded_base.hpp): there is no line for one alone, and all layers have the same
// weights, which are made once.
#include "support/cuda_model.cuh"
#include "support/program.hpp"
#include "support/shapes.hpp"
#include "support/timed_communicator.cuh"
#include "support/update.hpp"

#include <lolcats/distributed/launch.hpp>
#include <lolcats/distributed/nccl.cuh>
#include <lolcats/model/zoo.hpp>
#include <lolcats/train/sharded_base.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace bench;

using Students = lolcats::MethodList<lolcats::zoo::Hedgehog64Terraced64, lolcats::zoo::SoftmaxControl>;

struct Options {
  std::string shape = "llama3-8b";
  std::vector<std::string> stages{"transfer", "finetune"}, students{"hedgehog64-terraced64"};
  Index batch = 8, length = 1024, warmup = 2, repeats = 5, layers = 0, gpus = 1;
  bool recompute = false, shard_base = false;
};

/// Times updates of this GPU, or of all ranks together beside what this one did alone (0: nothing) and what they share; returns tokens
/// per second.
template <class Student, class Model>
double measure(Model& model, const std::string& stage_name, const Options& o, double rate, lolcats::Communicator& communicator, double alone,
               const lolcats::ShardedBase<Gpu>* base = nullptr) {
  const Stage stage = stages.at(stage_name);
  const lolcats::LlamaConfig& config = model.config();
  lolcats::Alone one;
  TimedCommunicator timed(alone > 0 || base ? communicator : one);
  const Index gpus = timed.size();
  const lolcats::DataSet data = random_rows(gpus * o.batch, o.length, config.vocab_size);
  std::optional<Profiled> profiled;  // alive in the last update
  const auto times = time_updates(model, stage, data, {o.warmup, o.repeats, 1, o.recompute, &timed}, [&](Index update) {
    Gpu{}.synchronize();
    if (update == o.warmup + o.repeats) profiled.emplace();
  });
  profiled.reset();
  if (!times || times->samples.count() == 0) return 0;
  const Samples& samples = times->samples;
  const std::size_t held = gpu_bytes();

  const double flops = step_flops(model, stage, o.length), tokens = static_cast<double>(data.tokens());
  const double speed = tokens / samples.median();
  Json line = gpu_line("llama_step", o.shape);
  line.update({{"stage", stage_name}, {"student", Student::name}, {"layers", config.layers}, {"gpus", gpus}, {"batch", gpus * o.batch},
               {"length", o.length}, {"recompute", o.recompute || base}, {"shard_base", base != nullptr}});
  line.update(samples.json());
  line.update({{"tokens_per_second", speed},
               {"flops_per_token", flops},
               {"tflops", 1e-12 * flops * speed / static_cast<double>(gpus)},  // of each
               {"product_tflops", 1e-12 * rate},
               {"share_of_product_rate", flops * speed / static_cast<double>(gpus) / rate},
               {"peak_tape_gib", static_cast<double>(times->peak_bytes) / (1 << 30)},
               {"gpu_gib", static_cast<double>(held) / (1 << 30)}});
  if (alone > 0) line.update({{"speedup", speed / alone}, {"scaling_efficiency", speed / alone / static_cast<double>(gpus)}});
  if (base) {
    const double updates = static_cast<double>(o.warmup + o.repeats + 1), waiting = base->waiting_seconds() / updates;  // of an update, on average
    line.update({{"shard_gib", static_cast<double>(base->kept_bytes()) / (1 << 30)},
                 {"buffer_gib", static_cast<double>(base->buffer_bytes()) / (1 << 30)},
                 {"bytes_gathered", static_cast<double>(base->gathered_bytes()) / updates},
                 {"waiting_milliseconds", 1e3 * waiting},
                 {"share_of_waiting", waiting / samples.median()}});
  }
  if (gpus > 1) {
    line.update({{"bytes_sent", timed.bytes()},
                 {"communication_milliseconds", 1e3 * timed.seconds().median()},
                 {"share_of_communication", timed.seconds().median() / samples.median()}});
  }
  if (communicator.leads()) print(line);
  return speed;
}

template <class Student>
void run(const std::string& stage_name, const Options& o, double rate, lolcats::Communicator& communicator) {
  using Model = typename Student::template Model<Gpu>;
  lolcats::LlamaConfig config = shape(o.shape);
  if (o.layers > 0) config.layers = o.layers;
  if (o.shard_base) {
    auto model = lolcats::without_weights<Model>(config);
    HostWeights weights(1);
    const Instant start = Instant::now();
    const auto base = lolcats::shard_base(model, std::ref(weights), communicator);
    if (communicator.leads()) fmt::print(stderr, "shared the base out in {:.1f} s\n", (Instant::now() - start).wall);
    measure<Student>(model, stage_name, o, rate, communicator, 0, base.get());
    return;
  }
  auto model = random_model<Model>(config);
  // Each does the same, so that they have the same parameters afterwards.
  const double alone = measure<Student>(model, stage_name, o, rate, communicator, 0);
  if (communicator.size() == 1 || alone == 0) return;
  communicator.barrier();
  measure<Student>(model, stage_name, o, rate, communicator, alone);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Times training steps of a Llama with random weights on a GPU; one line of JSON each.", "bench_llama_step"};
  app.add_option("--shape", o.shape, fmt::format("{}", fmt::join(shape_names, ", ")))->capture_default_str();
  app.add_option("--layers", o.layers, "instead of the shape's")->check(CLI::PositiveNumber);
  app.add_option("--stage", o.stages, "transfer, finetune, pretrain; several")->check(CLI::IsMember(stages))->capture_default_str();
  app.add_option("--student", o.students, "hedgehog64-terraced64, softmax; several")->capture_default_str();
  app.add_option("--gpus", o.gpus, "GPUs of this host, a process each")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--batch", o.batch, "rows of each GPU")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--length", o.length, "tokens per row")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_flag("--recompute", o.recompute, "run every layer again in the backward pass instead of keeping its activations");
  app.add_flag("--shard-base", o.shard_base, "share the base out between the GPUs; layers are run again in the backward pass");
  app.add_option("--warmup", o.warmup, "updates before the clock starts")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--repeats", o.repeats, "updates to take the median of")->check(CLI::PositiveNumber)->capture_default_str();
  return run_program(app, argc, argv, [&] {
    const auto place = lolcats::place_from_environment();
    if (o.gpus > 1 && !place) {
      return lolcats::launch_ranks(o.gpus, [](Index rank, int status) { fmt::print(stderr, "bench_llama_step: rank {} ended with status {}\n", rank, status); });
    }
    std::unique_ptr<lolcats::Communicator> communicator = std::make_unique<lolcats::Alone>();
#ifdef LOLCATS_WITH_NCCL
    if (place) communicator = std::make_unique<lolcats::Nccl>(*place);
#endif
    lolcats::require<lolcats::ConfigError>(!place || place->size == communicator->size(), "--gpus is {}, but this program was built without NCCL", o.gpus);
    const double rate = product_rate_on_gpu();
    for (const auto& student : o.students) {
      for (const auto& stage : o.stages) {
        lolcats::visit_student(student, [&](auto entry) { run<decltype(entry)>(stage, o, rate, *communicator); }, Students{});
      }
    }
    return 0;
  });
}
