// One training step of a small Llama: tokens per second, memory, and the share of the machine's product rate.
//
// The model has the sizes of stories260K and random weights; what is timed are whole updates (support/update.hpp).  Prints a
// line of JSON for every stage, student and length.
#include "support/program.hpp"
#include "support/update.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace {

using namespace bench;

using Students = lolcats::MethodList<lolcats::zoo::Hedgehog8Terraced64, lolcats::zoo::Hedgehog8Sliding16,
                                     lolcats::zoo::Hedgehog8Linear, lolcats::zoo::SoftmaxControl>;

struct Options {
  std::vector<std::string> stages{"finetune"}, students{"hedgehog8-terraced64"};
  std::vector<Index> lengths{512};
  Index batch = 8;
  Index tokens = 0;
  Index warmup = 2;
  Index repeats = 20;

  Index rows(Index length) const { return tokens > 0 ? std::max<Index>(1, tokens / length) : batch; }
};

/// The sizes of stories260K.
lolcats::LlamaConfig model_sizes() {
  lolcats::LlamaConfig c;
  c.vocab_size = 512;
  c.hidden_size = 64;
  c.layers = 5;
  c.heads = 8;
  c.kv_heads = 4;
  c.head_dim = 8;
  c.intermediate_size = 172;
  c.max_position = 8192;
  c.tied_embeddings = true;
  return c;
}

/// The (in, out) of every product of the forward pass but the attention's.
std::vector<std::pair<Index, Index>> product_sizes(const lolcats::LlamaConfig& c) {
  const Index width = c.hidden_size, queries = c.heads * c.head_dim, keys = c.kv_heads * c.head_dim, inner = c.intermediate_size;
  return {{width, queries}, {width, keys}, {width, keys}, {queries, width}, {width, inner}, {width, inner}, {inner, width},
          {width, c.vocab_size}};
}

/// One line of the output.
template <class Student>
void run(const std::string& stage_name, Index length, const Options& o, double rate) {
  using Model = typename Student::template Model<Device>;
  const Stage stage = stages.at(stage_name);
  auto model = lolcats::random_llama<Model>(model_sizes());
  const lolcats::DataSet data = random_rows(o.rows(length), length, model.config().vocab_size);
  const Index tokens = data.tokens();
  const auto times = time_updates(model, stage, data, {o.warmup, o.repeats}, [](Index) {});
  if (!times) return;
  const Samples& samples = times->samples;
  const std::size_t peak = times->peak_bytes;

  const double flops = step_flops(model, stage, length), per_second = static_cast<double>(tokens) / samples.median();
  Json line{{"bench", "step"}, {"implementation", "lolcats"}, {"stage", stage_name}, {"student", Student::name},
            {"model", Model::name()}, {"batch", data.size()}, {"length", length}, {"threads", lolcats::max_threads()}};
  line.update(samples.json());
  line.update({{"tokens_per_second", per_second},
               {"peak_tape_bytes", peak},
               {"tape_bytes_per_token", static_cast<double>(peak) / static_cast<double>(tokens)},
               {"flops_per_token", flops},
               {"gflops", 1e-9 * flops * per_second},
               {"product_gflops", 1e-9 * rate},
               {"share_of_product_rate", flops * per_second / rate},
               {"floor_milliseconds", 1e3 * flops * static_cast<double>(tokens) / rate}});
  print(line);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Times training steps of a model with the sizes of stories260K; one line of JSON each.", "bench_step"};
  app.add_option("--stage", o.stages, "transfer, finetune (the adapter), pretrain (all base weights); several, or all")->capture_default_str();
  app.add_option("--student", o.students, "names of the zoo, several, or all")->capture_default_str();
  app.add_option("--length", o.lengths, "tokens per row; several")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_option("--batch", o.batch, "rows")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--tokens", o.tokens, "instead of --batch: as many rows as make so many tokens")->check(CLI::PositiveNumber);
  app.add_option("--warmup", o.warmup, "updates before the clock starts")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--repeats", o.repeats, "updates to take the median of")->check(CLI::PositiveNumber)->capture_default_str();
  return run_program(app, argc, argv, [&] {
    if (o.students == std::vector<std::string>{"all"}) o.students = lolcats::student_names(Students{});
    if (o.stages == std::vector<std::string>{"all"}) o.stages = {"transfer", "finetune", "pretrain"};
    for (const auto& stage : o.stages) {
      if (!stages.contains(stage)) throw CLI::ValidationError("--stage", stage + " is unknown");
    }
    const double rate = product_rate(product_sizes(model_sizes()), 4096);
    for (const auto& student : o.students) {
      for (const auto& stage : o.stages) {
        for (const Index length : o.lengths) {
          lolcats::visit_student(student, [&](auto entry) { run<decltype(entry)>(stage, length, o, rate); }, Students{});
        }
      }
    }
  });
}
