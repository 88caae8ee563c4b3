// Pretrains a small softmax Llama on the synthetic corpus: how the built-in teacher was made.
//
// Documents grow from 64 to 512 tokens over the run (data/synthetic_curriculum.hpp), every update reads 4096 tokens, and no
// document comes twice.  Prints the validation loss beside the corpus' entropy, which no model can beat, and recall by
// distance; writes a Hugging Face folder with its tokenizer.
#include "support/command_line.hpp"
#include "support/corpus.hpp"
#include "support/output_folder.hpp"
#include "support/program.hpp"
#include "support/training_log.hpp"

#include <lolcats/lolcats.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace {

using namespace examples;
using Device = lolcats::Cpu<float>;
using Model = lolcats::Llama<Device>;

/// The batches of a curriculum: row u is the batch of update u, made when it is asked for.
class Curriculum {
 public:
  Curriculum(Index updates, Index tokens_per_update, const lolcats::SyntheticConfig& full) : tokens_(tokens_per_update) {
    Index first = 0;
    for (const auto& stage : lolcats::recall_curriculum(full)) {
      first += static_cast<Index>(std::llround(stage.share * static_cast<double>(updates)));
      stages_.push_back({first, lolcats::SyntheticCorpus(stage.corpus)});
    }
    stages_.back().end = updates;
  }

  Index size() const { return stages_.back().end; }
  /// Documents are functions of the seed: it is enough to tell which.
  std::uint64_t fingerprint() const {
    lolcats::Fingerprint print;
    print.add(static_cast<std::uint64_t>(tokens_));
    for (const Stage& stage : stages_) {
      print.add(static_cast<std::uint64_t>(stage.end));
      print.add(static_cast<std::uint64_t>(stage.corpus.config().length));
      print.add(static_cast<std::uint64_t>(stage.corpus.config().longest));
    }
    return print.value();
  }

  lolcats::Batch batch(std::span<const Index> updates) const {
    std::vector<lolcats::SyntheticDocument> documents;
    for (const Index update : updates) {
      std::size_t stage = 0;
      while (update >= stages_[stage].end) ++stage;
      const auto& corpus = stages_[stage].corpus;
      const Index count = tokens_ / corpus.config().length;
      const auto more = synthetic_documents(corpus, SyntheticSeed::pretrain, update * count, count);
      documents.insert(documents.end(), more.begin(), more.end());
    }
    const lolcats::DataSet rows = synthetic_rows(documents);
    return rows.batch(0, rows.size());
  }

 private:
  struct Stage {
    Index end;  // the first update after it
    lolcats::SyntheticCorpus corpus;
  };
  Index tokens_;
  std::vector<Stage> stages_;
};

}  // namespace

int main(int argc, char** argv) {
  return run_program("pretrain", [&] {
    lolcats::LlamaConfig config;
    config.hidden_size = 64;
    config.layers = 4;
    config.heads = 8;
    config.kv_heads = 4;
    config.head_dim = 8;
    config.intermediate_size = 172;
    config.rope.theta = 1e6;
    config.max_position = 512;
    config.tied_embeddings = true;
    config.bos_token = lolcats::SyntheticVocabulary::bos;
    config.eos_tokens = {lolcats::SyntheticVocabulary::eos};
    lolcats::PretrainRecipe<> recipe;
    recipe.max_updates = 3000;
    recipe.batch = 1;  // a batch of the curriculum
    recipe.shuffle = false;
    recipe.learning_rate = 4.8e-3;
    recipe.schedule = {.warmup = 100, .floor = 0.05};
    recipe.optimizer = {.beta2 = 0.95, .weight_decay = 0.01};
    recipe.checkpoint_every = 200;
    recipe.evaluate_every = 500;
    recipe.restore_best = false;
    double deviation = 0.1;
    Index tokens = 4096;
    std::string out;
    bool replace = false;
    recipe.checkpoint_minutes = 5;

    CLI::App app{"Pretrains a small softmax Llama on the synthetic corpus."};
    app.add_option("--out", out, "folder for the model; a run that was interrupted goes on from there")->required();
    app.add_option("--layers", config.layers)->capture_default_str()->check(positive);
    app.add_option("--width", config.hidden_size)->capture_default_str()->check(positive);
    app.add_option("--heads", config.heads, "query heads")->capture_default_str()->check(positive);
    app.add_option("--kv-heads", config.kv_heads, "key/value heads")->capture_default_str()->check(positive);
    app.add_option("--head-dim", config.head_dim)->capture_default_str()->check(positive);
    app.add_option("--hidden", config.intermediate_size, "width of the feed-forward part")->capture_default_str()->check(positive);
    app.add_option("--rope-theta", config.rope.theta)->capture_default_str()->check(positive);
    app.add_option("--length", config.max_position, "tokens of the longest documents")->capture_default_str()->check(positive);
    app.add_option("--tokens", tokens, "tokens per update")->capture_default_str()->check(positive);
    app.add_option("--updates", recipe.max_updates)->capture_default_str()->check(positive);
    app.add_option("--lr", recipe.learning_rate, "the highest learning rate")->capture_default_str()->check(positive);
    app.add_option("--deviation", deviation, "of the normal start")->capture_default_str()->check(non_negative);
    app.add_option("--seed", recipe.seed)->capture_default_str()->check(non_negative);
    app.add_option("--save-minutes", recipe.checkpoint_minutes, "minutes between saved states, besides every 200 updates")->capture_default_str()->check(non_negative);
    app.add_flag("--replace", replace, "--out may hold a finished model, which is replaced");
    parse_or_exit(app, argc, argv);
    lolcats::require<lolcats::ConfigError>(tokens >= config.max_position, "--tokens is {}, expected at least one document of --length {}", tokens, config.max_position);
    const std::filesystem::path folder = out;
    const OutputFolder lock(folder, {"pretrain.json", "config.json"}, replace);
    lolcats::try_writing(folder / "pretrain.json");
    stop_on_signals();

    lolcats::SyntheticConfig full;
    full.length = config.max_position;
    const lolcats::SyntheticCorpus corpus(full);
    config.vocab_size = corpus.vocabulary().size();
    const Curriculum train(recipe.max_updates, tokens, full);
    const auto documents = synthetic_documents(corpus, SyntheticSeed::validation, 0, 64);
    const auto valid = synthetic_rows(documents);

    const double residual = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
    auto model = lolcats::random_llama<Model>(config, recipe.seed, deviation, {}, residual);
    recipe.stop = stop_requested;
    recipe.log = json_lines(folder / "training.jsonl");
    recipe.inputs = {{"tokens", fmt::format("{}", tokens)}, {"deviation", fmt::format("{}", deviation)},
                     {"weights", fmt::format("{} layers, width {}, hidden {}", config.layers, config.hidden_size, config.intermediate_size)}};
    recipe.checkpoint = folder / "pretrain.state";
    const auto result = lolcats::pretrain(model, train, valid, recipe, print_progress());

    lolcats::save_llama(model, folder, lolcats::DType::BF16);
    lolcats::write_llama2c_tokenizer(
        folder / "tokenizer.bin", {corpus.vocabulary().pieces(), corpus.vocabulary().scores(), "the synthetic vocabulary"});

    // What was written is what is judged: BF16 weights.
    auto written = lolcats::load_llama<Device>(folder);
    const auto perplexity = lolcats::perplexity(written, valid);
    const auto recall = lolcats::recall_by_distance(written, documents, {10, 26, 51, 101, 201});
    nlohmann::ordered_json json{{"updates", result.updates}, {"tokens", result.updates * tokens}, {"loss", perplexity.loss},
                                {"entropy", synthetic_entropy(documents)}, {"tokens_per_second", result.tokens_per_second()}};
    fmt::print("\n{} updates of {} tokens\nloss     {:.4f} nats per token\nentropy  {:.4f}\n\ndistance   recall\n", result.updates,
               tokens, perplexity.loss, synthetic_entropy(documents));
    for (const auto& bin : recall.bins) {
      const std::string range = bin.last > full.length ? fmt::format("{}+", bin.first) : fmt::format("{}-{}", bin.first, bin.last);
      fmt::print("{:<10} {:.2f}%  of {}\n", range, 100 * bin.accuracy(), bin.total);
      json["recall"].push_back({{"from", bin.first}, {"accuracy", bin.accuracy()}, {"targets", bin.total}});
    }
    lolcats::write_file_atomically(folder / "pretrain.json", std::string_view(json.dump(2) + "\n"));
    lock.finish();
  });
}
