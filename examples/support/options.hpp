// Options that our programs share: which model and text, and learning rates, whose defaults depend on the text.
//
// `app` is a CLI::App.  Its header takes seconds to compile, and most units that know the options do not parse them.
#pragma once

#include "corpus.hpp"
#include "program.hpp"

#include <lolcats/core/error.hpp>
#include <lolcats/data/model_template.hpp>
#include <lolcats/data/open_text.hpp>
#include <lolcats/tokenizer/open.hpp>

#include <optional>
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

/// How texts become rows.
struct TextRowOptions {
  std::string chat_template, end_of_text = "auto", cache;
  std::optional<std::uint64_t> shuffle;
  bool mask_prompts = false, separate = false, lines = false;

  void add_text_to(auto& app) {
    const std::string group = "Texts";
    app.add_option("--template", chat_template, "layout of chats and instructions: alpaca, chatml, smollm2, qwen2, qwen2.5, llama2, llama3 or llama3.1 (default: the model's own; instructions as Alpaca has them)")->group(group);
    app.add_flag("--mask-prompts", mask_prompts, "only answers are learned, not what they answer")->group(group);
    app.add_option("--end-of-text", end_of_text, "a token between documents: always, never, or auto, where the tokenizer begins texts with no BOS")->capture_default_str()->group(group);
    app.add_flag("--separate", separate, "attention and positions start anew at each document of a row")->group(group);
    app.add_flag("--lines", lines, "every line of a plain text is a document")->group(group);
    app.add_option("--shuffle-documents", shuffle, "seed: the documents to train on in random order")->group(group);
    app.add_option("--cache", cache, "folder for the texts' tokens, which are mapped from there (default: kept in memory)")->group(group);
  }

  /// For a model's texts.  Throws ConfigError for names that are not known.
  lolcats::TextOptions resolved(const std::string& model, const lolcats::Tokenizer& spelling, Index length) const {
    using lolcats::EndOfText;
    lolcats::require<lolcats::ConfigError>(end_of_text == "auto" || end_of_text == "always" || end_of_text == "never",
                                           "--end-of-text is '{}', expected auto, always or never", end_of_text);
    lolcats::TextOptions text{.length = length};
    text.boundaries = separate ? lolcats::DocumentBoundaries::Separate : lolcats::DocumentBoundaries::Joined;
    text.end_of_text = end_of_text == "always" ? EndOfText::Always : end_of_text == "never" ? EndOfText::Never : EndOfText::Automatic;
    if (!chat_template.empty()) text.chat_template = lolcats::chat_template(chat_template);
    text.model_template = lolcats::chat_template_of_model(model, spelling);
    text.template_by_tokens = false;  // a template of the model's own that is not known makes chats an error
    text.mask_prompts = mask_prompts;
    text.line_documents = lines;
    if (!cache.empty()) text.cache = cache;
    return text;
  }
};

/// A model to linearize, a text to do it on, and how fast the student learns.
struct SourceOptions : TextRowOptions {
  std::string model, tokenizer;           // empty before resolve(): the built-in teacher, and the model's own
  std::vector<std::string> train, valid;  // empty: the synthetic corpus
  double transfer_rate = 0;               // 0 before resolve(): 1e-2, or 1e-1 on the synthetic corpus, whose 96 updates are few
  double finetune_rate = 0;               // 0 before resolve(): 1e-3, or 1e-2

  bool built_in_corpus() const { return train.empty(); }

  void add_source_to(auto& app) {
    app.add_option("--model", model, "Hugging Face folder, .gguf, .safetensors or llama2.c .bin file (default: the built-in teacher)");
    app.add_option("--tokenizer", tokenizer, "tokenizer.json, tokenizer.model, .gguf, llama2.c tokenizer.bin, or a folder (default: the model's own)");
    app.add_option("--train", train, "texts to train on: .txt with lines <|endoftext|> between documents, .jsonl or .json (default: the synthetic corpus)");
    app.add_option("--valid", valid, "texts to validate on (linearize holds out a twentieth of the rows to train on where there are none)");
    add_text_to(app);
  }
  void add_rates_to(auto& app, const auto& check) {
    app.add_option("--transfer-lr", transfer_rate, "learning rate of stage 1 (default: 0.01; 0.1 on the built-in corpus, which is small)")->check(check);
    app.add_option("--finetune-lr", finetune_rate, "learning rate of stage 2 (default: 0.001; 0.01 on the built-in corpus)")->check(check);
  }

  /// The rows of files; those to train on may be shuffled by their documents.
  lolcats::DataSet rows_of(const std::vector<std::string>& files, const lolcats::Tokenizer& spelling, Index length, bool training) const {
    lolcats::TextOptions text = resolved(model, spelling, length);
    if (training) text.shuffle = shuffle;
    return lolcats::open_text({files.begin(), files.end()}, spelling, text, print_text_progress());
  }

  /// Fills in the defaults.  Errors: ConfigError for options that need another one.
  void resolve(bool holds_out = false) {
    using lolcats::ConfigError, lolcats::require;
    require<ConfigError>(train.empty() ? valid.empty() : holds_out || !valid.empty(), "--train and --valid go together");
    require<ConfigError>(model.empty() || !train.empty(), "--model needs {}", holds_out ? "--train" : "--train and --valid");
    default_to_built_in(model, tokenizer);
    if (transfer_rate == 0) transfer_rate = built_in_corpus() ? 1e-1 : 1e-2;
    if (finetune_rate == 0) finetune_rate = built_in_corpus() ? 1e-2 : 1e-3;
  }
};

}  // namespace examples
