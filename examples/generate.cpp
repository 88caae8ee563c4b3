// Generates text from a linearized checkpoint, or from a softmax model.
//
// Reads the checkpoint that `linearize --out` wrote, continues each prompt, streams the first one to the terminal, and
// prints tokens per second and the bytes of the decoding state: constant for linear and windowed attention, growing for softmax.
#include "support/command_line.hpp"
#include "support/corpus.hpp"
#include "support/device.hpp"
#include "support/options.hpp"
#include "support/program.hpp"

#include <CLI/CLI.hpp>

namespace {

using namespace examples;

struct Options {
  std::string model, tokenizer, checkpoint;
  std::vector<std::string> prompts{"now lena moro met nora"};
  Index max_tokens = 128;
  Index chunk = lolcats::GenerationOptions{}.chunk;
  lolcats::Sampler sampler;
};

template <class Model>
void run(Model& model, const lolcats::Tokenizer& tokenizer, const Options& options) {
  lolcats::TokenLists prompts;
  for (const std::string& prompt : options.prompts) prompts.push_back(tokenizer.encode(prompt, true));
  Index previous = prompts[0].back();
  fmt::print("{}", options.prompts[0]);
  const auto start = std::chrono::steady_clock::now();
  const auto result = lolcats::generate(
      model, prompts,
      {.max_tokens = options.max_tokens, .stop = {*tokenizer.eos()}, .sampler = options.sampler, .chunk = options.chunk},
      [&](Index sequence, Index token) {
        if (sequence == 0) {
          fmt::print("{}", tokenizer.decode_piece(previous, token));
          std::fflush(stdout);
          previous = token;
        }
        return true;
      });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("\n");
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    tokens += result.tokens[i].size();
    if (i > 0) fmt::print("\n{}{}\n", options.prompts[i], tokenizer.decode(result.tokens[i]));
  }
  fmt::print(stderr, "\n{} tokens in {:.2f} s: {:.0f} tokens/s; decoding state {} KB\n", tokens, seconds,
             static_cast<double>(tokens) / seconds, result.state_bytes / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("generate", [&] {
    Options o;
    CLI::App app{"Generates text from a constant-size state."};
    app.add_option("--checkpoint", o.checkpoint, "folder that linearize wrote (default: the softmax model itself)");
    app.add_option("--model", o.model, "the base model (default: the one the checkpoint names, or the built-in teacher)");
    app.add_option("--tokenizer", o.tokenizer, "llama2.c tokenizer.bin (default: the one the checkpoint names, or the built-in teacher's)");
    app.add_option("--prompt", o.prompts, "one or more texts to continue")->capture_default_str();
    app.add_option("--max-tokens", o.max_tokens, "new tokens per prompt")->capture_default_str();
    app.add_option("--temperature", o.sampler.temperature, "0: the most likely token")->capture_default_str();
    app.add_option("--top-k", o.sampler.top_k, "sample among the k most likely tokens; 0: all")->capture_default_str();
    app.add_option("--top-p", o.sampler.top_p, "sample among the most likely tokens that hold this mass")->capture_default_str();
    app.add_option("--seed", o.sampler.seed, "of the sampling")->capture_default_str();
    app.add_option("--chunk", o.chunk, "tokens of a prompt that are read at once; 0: all")->capture_default_str();
    parse_or_exit(app, argc, argv);
    std::string student;
    if (!o.checkpoint.empty()) {
      const auto recipe = lolcats::stored_recipe(o.checkpoint);
      lolcats::require<lolcats::FormatError>(recipe.contains("student") && recipe["student"].is_string() && recipe.contains("base_model"),
                                             "{}: lolcats.json names no student and base_model, as linearize writes them", o.checkpoint);
      student = recipe["student"];
      if (o.model.empty()) o.model = recipe["base_model"];
      if (o.tokenizer.empty() && recipe.contains("tokenizer")) o.tokenizer = recipe["tokenizer"];
    }
    default_to_built_in(o.model, o.tokenizer);
    auto base = lolcats::load_llama<Device>(o.model);
    const auto tokenizer = lolcats::read_llama2c_tokenizer(o.tokenizer, base.config().vocab_size);
    if (student.empty()) return run(base, tokenizer, o);
    lolcats::visit_student(student, [&](auto entry) {
      using Student = typename decltype(entry)::template Model<Device>;
      auto model = lolcats::load_linearized<Student>(base, o.checkpoint);
      model.merge_adapters();
      run(model, tokenizer, o);
    });
  });
}
