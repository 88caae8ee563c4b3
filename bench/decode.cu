// Decoding with a whole Llama on a GPU: tokens per second and the size of the state, against batch and context.
//
// Random weights and prompts.  A step reads one token per sequence and chooses the most likely next ones, as `generate` does.
// The floor at batch 1 is one reading of the weights.  Prints a line of JSON per student, batch and context.
#include "support/cuda_model.cuh"
#include "support/program.hpp"
#include "support/shapes.hpp"

#include <lolcats/model/zoo.hpp>

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace {

using namespace bench;

// A window, the same bytes with a cache instead of most of it, and sums beside a cache or a delta rule.
using Students = lolcats::MethodList<lolcats::zoo::Hedgehog64Terraced64, lolcats::zoo::SoftmaxControl, lolcats::zoo::Sinks4Sliding508,
                                     lolcats::zoo::Sinks4Sliding124Kept384, lolcats::zoo::Hedgehog64Terraced64Kept512,
                                     lolcats::zoo::Hedgehog64Sinks4Terraced64Delta>;

struct Options {
  std::string shape = "llama3-8b";
  std::vector<std::string> students{"hedgehog64-terraced64"};
  std::vector<Index> batches{1, 64}, contexts{128};
  Index steps = 64, layers = 0, chunk = 2048;
  bool merge = false;
};

/// One token for each sequence.
lolcats::TokenLists lists(const std::vector<Index>& tokens) {
  lolcats::TokenLists result;
  for (const Index token : tokens) result.push_back({token});
  return result;
}

template <class Model>
void run(const char* student, Model& model, Index batch, Index context, const Options& o) {
  lolcats::Rng rng(1);
  lolcats::TokenLists tokens(static_cast<std::size_t>(batch));
  for (auto& list : tokens) {
    for (Index i = 0; i < context; ++i) list.push_back(static_cast<Index>(rng.below(static_cast<std::uint64_t>(model.config().vocab_size))));
  }
  lolcats::Reader<Model> reader(model, batch, o.chunk);
  const Instant start = Instant::now();
  tokens = lists(reader.read_greedily(tokens));
  const double prefill = (Instant::now() - start).wall;
  const auto step = [&] { tokens = lists(reader.read_greedily(tokens)); };
  const Samples samples = repeat(8, o.steps, step);
  {
    const Profiled profiled;
    step();
  }

  double weights = 0;
  for (const auto& [name, parameter] : model.base_parameters()) weights += 2.0 * static_cast<double>(parameter->size());
  Json line = gpu_line("decode", o.shape);
  line.update({{"student", student}, {"layers", model.layer_count()}, {"merged", o.merge}, {"batch", batch}, {"context", context}, {"chunk", o.chunk}});
  line.update(samples.json());
  line.update({{"tokens_per_second", static_cast<double>(batch) / samples.median()},
               {"prefill_tokens_per_second", static_cast<double>(batch * context) / prefill},
               {"state_mib", static_cast<double>(reader.state().bytes()) / (1 << 20)},
               {"weights_gib", weights / (1 << 30)},
               {"weight_terabytes_per_second", 1e-12 * weights / samples.median()}});
  print(line);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Times decoding steps of a Llama with random weights on a GPU; one line of JSON each.", "bench_decode"};
  app.add_option("--shape", o.shape, "llama3-8b, llama3.2-1b or tiny")->capture_default_str();
  app.add_option("--layers", o.layers, "instead of the shape's")->check(CLI::PositiveNumber);
  app.add_option("--student", o.students, fmt::format("{}; several", fmt::join(lolcats::student_names(Students{}), ", ")))->capture_default_str();
  app.add_option("--batch", o.batches, "sequences; several")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--context", o.contexts, "tokens read before the clock starts; several")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_flag("--merge", o.merge, "add the adapters to the weights first, as examples/generate does");
  app.add_option("--chunk", o.chunk, "tokens of a sequence that the prefill reads at once")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--steps", o.steps, "steps to take the median of")->check(CLI::PositiveNumber)->capture_default_str();
  return run_program(app, argc, argv, [&] {
    lolcats::LlamaConfig config = shape(o.shape);
    if (o.layers > 0) config.layers = o.layers;
    for (const auto& student : o.students) {
      lolcats::visit_student(student, [&](auto entry) {
        auto model = random_model<typename decltype(entry)::template Model<Gpu>>(config);
        if (o.merge) model.merge_adapters();
        for (const Index batch : o.batches) {
          for (const Index context : o.contexts) run(decltype(entry)::name.data(), model, batch, context, o);
        }
      }, Students{});
    }
  });
}
