// The whole method with nothing but the library and a model: quickstart examples/teacher
//
// Prints what the student is, perplexities on text that the teacher makes up, and what the student says.
#include <lolcats/core.hpp>
#include <lolcats/model/load.hpp>

using namespace lolcats;
using Student = Llama<Cpu<float>, Hybrid<Hedgehog<8>, Terraced<64>>, Lora<8>>;  // the method is a type

int main(int argc, char** argv) {
  if (argc != 2) return fmt::print(stderr, "quickstart MODEL\n"), 2;
  auto teacher = load_llama<Cpu<float>>(argv[1]);
  const auto text = [&](std::uint64_t seed, std::size_t rows) {  // from the first token on
    const Generation said = generate(teacher, TokenLists(rows, {1}), {.max_tokens = 256, .sampler = {.temperature = 1, .seed = seed}});
    std::vector<Row> all;
    for (const auto& tokens : said.tokens) all.push_back({tokens, tokens, {0}});
    return DataSet(std::move(all));
  };
  const DataSet train = text(1, 32), valid = text(2, 8);

  auto student = convert<Student>(teacher);  // same weights, new attention
  fmt::print("{}\nteacher      {:.3f}\nswapped      {:.3f}\n", to_string(explain<Student>(teacher.config())),
             perplexity(teacher, valid).perplexity, perplexity(student, valid).perplexity);
  transfer_attention(student, train, valid, TransferRecipe<>{.epochs = 4, .learning_rate = 0.1});
  fmt::print("transferred  {:.3f}\n", perplexity(student, valid).perplexity);
  finetune(student, train, valid, FinetuneRecipe<>{.epochs = 2, .learning_rate = 0.01});
  fmt::print("finetuned    {:.3f}\n", perplexity(student, valid).perplexity);

  student.merge_adapters();
  fmt::print("tokens       {}\n", fmt::join(generate(student, {{1}}, {.max_tokens = 16}).tokens[0], " "));
}
