// Options that our programs share: which model and text, and learning rates, whose defaults depend on the text.
//
// `app` is a CLI::App.  Its header takes seconds to compile, and most units that know the options do not parse them.
#pragma once

#include "corpus.hpp"

#include <lolcats/core/error.hpp>

#include <string>
#include <vector>

namespace examples {

/// Where no other is named: the teacher that comes with the sources, and its tokenizer; beside a model, the tokenizer that
/// lies with it.  Errors: ConfigError where the model has none.
inline void default_to_built_in(std::string& model, std::string& tokenizer) {
  if (model.empty()) {
    model = built_in_teacher().string();
    if (tokenizer.empty()) tokenizer = built_in_tokenizer().string();
  }
  if (tokenizer.empty()) tokenizer = lolcats::tokenizer_of_model(model).string();
}

/// A model to linearize, a text to do it on, and how fast the student learns.
struct SourceOptions {
  std::string model, tokenizer;           // empty before resolve(): the built-in teacher, and the model's own
  std::vector<std::string> train, valid;  // empty: the synthetic corpus
  bool bos = true;                        // where the tokenizer says so
  double transfer_rate = 0;               // 0 before resolve(): 1e-2, or 1e-1 on the synthetic corpus, whose 96 updates are few
  double finetune_rate = 0;               // 0 before resolve(): 1e-3, or 1e-2

  bool built_in_corpus() const { return train.empty(); }

  void add_source_to(auto& app) {
    app.add_option("--model", model, "Hugging Face folder, .gguf, .safetensors or llama2.c .bin file (default: the built-in teacher)");
    app.add_option("--tokenizer", tokenizer, "tokenizer.json, tokenizer.model, .gguf, llama2.c tokenizer.bin, or a folder (default: the model's own)");
    app.add_option("--train", train, "texts to train on: .txt with lines <|endoftext|> between documents, .jsonl or .json (default: the synthetic corpus)");
    app.add_option("--valid", valid, "texts to validate on");
  }
  void add_rates_to(auto& app) {
    app.add_option("--transfer-lr", transfer_rate, "learning rate of stage 1 (default: 0.01; 0.1 on the built-in corpus, which is small)");
    app.add_option("--finetune-lr", finetune_rate, "learning rate of stage 2 (default: 0.001; 0.01 on the built-in corpus)");
  }

  /// Fills in the defaults.  Errors: ConfigError for options that need another one.
  void resolve() {
    using lolcats::ConfigError, lolcats::require;
    require<ConfigError>(train.empty() == valid.empty(), "--train and --valid go together");
    require<ConfigError>(model.empty() || !train.empty(), "--model needs --train and --valid");
    default_to_built_in(model, tokenizer);
    if (transfer_rate == 0) transfer_rate = built_in_corpus() ? 1e-1 : 1e-2;
    if (finetune_rate == 0) finetune_rate = built_in_corpus() ? 1e-2 : 1e-3;
  }
};

}  // namespace examples
