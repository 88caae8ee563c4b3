// The whole method with a map of one's own, on a teacher of random weights.  The student is compiled elsewhere.
#include <study_students.hpp>

#include <fmt/core.h>

using namespace lolcats;

int main() {
  LlamaConfig config;
  config.vocab_size = 16;
  config.hidden_size = 16;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 24;
  config.max_position = 64;
  const auto teacher = random_llama<Llama<Cpu<float>>>(config, 0, 0.5);
  Rng rng(1);
  std::vector<Row> rows(8);
  for (Row& row : rows) {
    for (int i = 0; i < 32; ++i) row.tokens.push_back(static_cast<Index>(rng.bits() % 16));
    row.labels = row.tokens;
    row.starts = {0};
  }
  const DataSet text(std::move(rows));

  auto student = convert<downstream::CpuStudent>(teacher);
  fmt::print("{}", to_string(explain<downstream::CpuStudent>(config, 32)));
  const auto losses = transfer_attention(student, text, text, TransferRecipe<>{.epochs = 8, .learning_rate = 0.01}).blocks[0].history;
  finetune(student, text, text, FinetuneRecipe<>{.epochs = 8, .learning_rate = 0.01});
  fmt::print("attention error {:.4f} to {:.4f}, perplexity {:.3f}, {} tokens\n", losses.front().loss, losses.back().loss,
             perplexity(student, text).perplexity, generate(student, {{1, 2, 3}}, {.max_tokens = 8}).tokens[0].size());
  return losses.back().loss < losses.front().loss ? 0 : 1;
}
