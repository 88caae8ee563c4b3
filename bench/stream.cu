// Stage 1 of a Llama of which a block of layers is on the GPU: tokens per second, memory, the share of time waiting for weights.
//
// Random weights, made from a seed: those of one block lie in host memory, as those of a checkpoint would, and every block has
// them.  Residuals lie in host memory.  Prints a line of JSON.  With --check the same is done with the whole model on the card, and
// a second line says by how much losses and maps differ.
#include "support/cuda_model.cuh"
#include "support/program.hpp"
#include "support/shapes.hpp"
#include "support/update.hpp"

#include <lolcats/model/zoo.hpp>
#include <lolcats/train/streamed_transfer.hpp>

#include <CLI/CLI.hpp>

#include <cmath>
#include <string>
#include <vector>

namespace {

using namespace bench;
using lolcats::bf16;

using Student = lolcats::zoo::Hedgehog64Terraced64::Model<Gpu>;

struct Options {
  std::string shape = "llama3-8b";
  Index layers = 0, block = 4, rows = 64, batch = 8, micro_batch = 0, length = 1024, epochs = 1;
  bool check = false;
};

double largest_difference(Student& a, Student& b, double& largest) {
  double difference = 0;
  for (std::size_t i = 0; i < a.transfer_parameters().size(); ++i) {
    const auto x = a.transfer_parameters()[i].parameter->value(), y = b.transfer_parameters()[i].parameter->value();
    std::vector<double> p(static_cast<std::size_t>(x.size())), q(p.size());
    Gpu{}.to_host(x.data, p.data(), x.size());
    Gpu{}.to_host(y.data, q.data(), y.size());
    for (std::size_t j = 0; j < p.size(); ++j) {
      difference = std::max(difference, std::abs(p[j] - q[j]));
      largest = std::max(largest, std::abs(p[j]));
    }
  }
  return difference;
}

Json line_of(const Options& o, const lolcats::LlamaConfig& config) {
  Json line = gpu_line("stream", o.shape);
  line.update({{"layers", config.layers}, {"block", o.block}, {"rows", o.rows}, {"length", o.length}, {"batch", o.batch},
               {"micro_batch", o.micro_batch}, {"epochs", o.epochs}});
  return line;
}

void run(const Options& o) {
  lolcats::LlamaConfig config = shape(o.shape);
  const Index all_layers = config.layers;
  if (o.layers > 0) config.layers = o.layers;
  auto student = lolcats::without_weights<Student>(config);
  HostWeights weights(o.block);
  for (const auto& [name, parameter] : student.base_parameters()) {  // so that no clock sees it
    if (name.starts_with("model.layers.") || name.starts_with("model.embed")) weights(name, parameter->shape());
  }
  const lolcats::DataSet data = random_rows(o.rows, o.length, config.vocab_size), none;

  lolcats::TransferRecipe<lolcats::Constant> recipe{.epochs = o.epochs, .batch = o.batch, .micro_batch = o.micro_batch};
  recipe.evaluate_every = 0;
  recipe.restore_best = false;
  recipe.block = o.block;
  const auto result = lolcats::transfer_blocks(student, std::ref(weights), data, none, recipe);
  const double training = result.transfer.seconds(), tokens = static_cast<double>(data.tokens() * o.epochs);
  const double share_of_layers = static_cast<double>(config.layers) / static_cast<double>(all_layers);
  Json line = line_of(o, config);
  line.update({{"seconds", result.seconds},
               {"seconds_training", training},
               {"seconds_between_blocks", result.seconds_streaming},
               {"seconds_waiting", result.seconds_waiting},
               {"share_of_waiting", result.seconds_waiting / result.seconds},
               {"tokens_per_second", tokens * share_of_layers / result.seconds},  // through all layers of the shape
               {"training_tokens_per_second", tokens * share_of_layers / training},
               {"tflops", 1e-12 * step_flops(student, Stage::transfer, o.length) * tokens / training},
               {"residual_gib", static_cast<double>(data.tokens() * config.hidden_size) * sizeof(bf16) / (1 << 30)},
               {"gpu_gib", static_cast<double>(gpu_bytes()) / (1 << 30)}});
  print(line);
  if (!o.check) return;

  const Gpu gpu;
  Student whole(config, [&](const std::string& name, const lolcats::Shape& wanted) { return lolcats::detail::to_backend(gpu, weights(name, wanted)); });
  const auto want = lolcats::transfer_attention(whole, data, none, recipe);
  double loss = 0, largest = 0;
  for (std::size_t block = 0; block < want.blocks.size(); ++block) {
    for (std::size_t update = 0; update < want.blocks[block].history.size(); ++update) {
      const double a = want.blocks[block].history[update].loss, b = result.transfer.blocks[block].history[update].loss;
      loss = std::max(loss, std::abs(a - b) / std::abs(a));
    }
  }
  const double maps = largest_difference(whole, student, largest);
  Json check = line_of(o, config);
  check.update({{"check", "unstreamed"}, {"largest_relative_difference_of_losses", loss}, {"largest_difference_of_maps", maps}, {"largest_map", largest}});
  print(check);
  lolcats::require<lolcats::Error>(loss < 1e-2, "the losses differ by {}, expected less than 1e-2", loss);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Times stage 1 of a Llama with random weights in host memory, a block of layers on the GPU at a time; a line of JSON.", "bench_stream"};
  app.add_option("--shape", o.shape, fmt::format("{}", fmt::join(shape_names, ", ")))->capture_default_str();
  app.add_option("--layers", o.layers, "instead of the shape's")->check(CLI::PositiveNumber);
  app.add_option("--block", o.block, "layers of a block")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--rows", o.rows, "to train on")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--epochs", o.epochs, "over them")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--batch", o.batch, "rows of an update")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--micro-batch", o.micro_batch, "rows of a forward pass; 0: all")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--length", o.length, "tokens per row")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_flag("--check", o.check, "compare with the whole model on the GPU");
  return run_program(app, argc, argv, [&] {
    run(o);
  });
}
