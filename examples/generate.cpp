// Generates text from a linearized checkpoint, or from a softmax model.
//
// Reads the checkpoint that `linearize --out` wrote, continues each prompt, streams the first one to the terminal, and
// prints tokens per second and the bytes of the decoding state: constant for linear and windowed attention, growing for softmax.
#include "models/any_model.hpp"
#include "support/command_line.hpp"
#include "support/model_options.hpp"
#include "support/program.hpp"
#include "support/spelling.hpp"

#include <lolcats/tokenizer/stream.hpp>

#include <chrono>

namespace {

using namespace examples;

struct Options : ModelOptions {
  std::vector<std::string> prompts{"now lena moro met nora"};
  Index max_tokens = 128;
  Index chunk = lolcats::GenerationOptions{}.chunk;
  bool special = false, any_length = false;
  lolcats::Sampler sampler;
};

void run(AnyModel& model, const lolcats::Tokenizer& tokenizer, const Options& o) {
  lolcats::TokenLists prompts;
  for (const std::string& prompt : o.prompts) {
    prompts.push_back(tokenizer.encode(prompt, o.bos(tokenizer), o.special));
    lolcats::require<lolcats::ConfigError>(!prompts.back().empty(), "--prompt is empty, and this model's texts begin with no token of their own");
    lolcats::require<lolcats::ConfigError>(o.any_length || static_cast<Index>(prompts.back().size()) <= model.config().max_position,
                                           "--prompt has {} tokens, but {} was trained for a context of {}; --any-length reads it all the same",
                                           prompts.back().size(), o.model, model.config().max_position);
  }
  lolcats::StreamDecoder stream(tokenizer, prompts[0].back(), o.special);
  fmt::print("{}", o.prompts[0]);
  const auto start = std::chrono::steady_clock::now();
  const auto result = model.generate(
      prompts, {.max_tokens = o.max_tokens, .stop = end_tokens(model.config(), tokenizer), .sampler = o.sampler, .chunk = o.chunk},
      [&](Index sequence, Index token) {
        if (sequence == 0) {
          fmt::print("{}", stream.push(token));
          std::fflush(stdout);
        }
        return true;
      });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}\n", stream.finish());
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    tokens += result.tokens[i].size();
    if (i > 0) fmt::print("\n{}{}\n", o.prompts[i], text_behind(tokenizer, prompts[i], result.tokens[i], o.special));
  }
  fmt::print(stderr, "\n{} tokens in {:.2f} s: {:.0f} tokens/s; decoding state {} KB\n", tokens, seconds,
             static_cast<double>(tokens) / seconds, result.state_bytes / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("generate", [&] {
    Options o;
    CLI::App app{"Generates text from a constant-size state."};
    o.add_model_to(app);
    app.add_option("--prompt", o.prompts, "one or more texts to continue")->capture_default_str();
    app.add_flag("--special", o.special, "special tokens spelled in a prompt, as <|im_start|>, are those tokens; they are printed, too");
    app.add_flag("--any-length", o.any_length, "prompts may be longer than the context that the model was trained for");
    app.add_option("--max-tokens", o.max_tokens, "new tokens per prompt")->capture_default_str()->check(non_negative);
    app.add_option("--temperature", o.sampler.temperature, "0: the most likely token")->capture_default_str()->check(non_negative);
    app.add_option("--top-k", o.sampler.top_k, "sample among the k most likely tokens; 0: all")->capture_default_str()->check(non_negative);
    app.add_option("--top-p", o.sampler.top_p, "sample among the most likely tokens that hold this mass")->capture_default_str()->check(share);
    app.add_option("--seed", o.sampler.seed, "of the sampling")->capture_default_str()->check(non_negative);
    app.add_option("--chunk", o.chunk, "tokens of a prompt that are read at once; 0: all")->capture_default_str()->check(non_negative);
    parse_or_exit(app, argc, argv);
    const LoadedModel loaded = o.load();
    loaded.model->merge_adapters();
    run(*loaded.model, *loaded.tokenizer, o);
  });
}
