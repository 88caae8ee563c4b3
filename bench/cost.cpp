// What linearizing a model would cost: bytes on disk, in host memory and on a card, hours of both stages.
//
// A model (support/cost.hpp) of sizes and measured rates; docs/scale.md says where the rates come from and how near it is to
// what was measured.  Prints a line of JSON.
#include "support/cost.hpp"
#include "support/measure.hpp"
#include "support/program.hpp"
#include "support/shapes.hpp"

#include <CLI/CLI.hpp>

#include <string>

int main(int argc, char** argv) {
  using namespace bench;
  std::string name = "llama3-70b";
  Work work;
  Rates rates;
  CLI::App app{"What linearizing a model would cost, from its sizes and measured rates; a line of JSON.", "bench_cost"};
  app.add_option("--shape", name, fmt::format("{}", fmt::join(shape_names, ", ")))->capture_default_str();
  app.add_option("--gpus", work.gpus, "that share the work")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--block", work.block, "layers of a block of stage 1")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--tokens", work.tokens, "to train on")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--epochs", work.epochs, "of each stage")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--length", work.length, "tokens per row")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--micro-batch", work.micro_batch, "rows of a forward pass")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--transfer-rate", rates.transfer, "FLOP/s of stage 1")->capture_default_str();
  app.add_option("--forward-rate", rates.forward, "FLOP/s of the teacher alone")->capture_default_str();
  app.add_option("--finetune-rate", rates.finetune, "FLOP/s of stage 2")->capture_default_str();
  app.add_option("--stream-rate", rates.stream, "bytes/s of the teacher's stream, between host memory and the card")->capture_default_str();
  app.add_option("--upload-rate", rates.upload, "bytes/s from host memory to the card")->capture_default_str();
  app.add_option("--gather-rate", rates.gather, "bytes/s from other cards of the host")->capture_default_str();
  return run_program(app, argc, argv, [&] {
    const CostModel model(shape(name), rates);
    const auto json = [](const StageCost& cost) {
      return Json{{"hours", cost.seconds / 3600},        {"seconds", cost.seconds},       {"seconds_waiting", cost.waiting},
                  {"seconds_between_blocks", cost.between}, {"disk_gib", cost.disk / (1 << 30)}, {"host_gib", cost.host / (1 << 30)},
                  {"card_gib", cost.card / (1 << 30)}};
    };
    const Json line = {{"bench", "cost"}, {"model_shape", name}, {"gpus", work.gpus}, {"block", work.block}, {"tokens", work.tokens},
           {"weights", model.weights()}, {"transfer", json(model.transfer(work))}, {"finetune", json(model.finetune(work))}};
    print(line);
  });
}
