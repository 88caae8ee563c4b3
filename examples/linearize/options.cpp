// The command line of linearize.
#include "options.hpp"

#include "../support/ranks.hpp"

#include <lolcats/model/zoo.hpp>

#include <CLI/CLI.hpp>

#include <charconv>
#include <sstream>

namespace examples {

namespace {

/// Adds --NAME-epochs and so on.
void add_stage(CLI::App& app, const std::string& name, const std::string& what, StageOptions& o, const std::string& default_rate) {
  const auto option = [&](const char* field, auto& value, const std::string& text) {
    return app.add_option(fmt::format("--{}-{}", name, field), value, text)->group(what);
  };
  option("epochs", o.epochs, "passes over the rows; 0 leaves the stage out")->capture_default_str()->check(non_negative);
  option("updates", o.updates, "most updates; 0: as many as the epochs have")->capture_default_str()->check(non_negative);
  option("lr", o.rate, "learning rate (default: " + default_rate + ")")->check(positive);
  option("schedule", o.schedule, "of the learning rate: constant, cosine, or plateau (a tenth after ten evaluations without a new best)")
      ->capture_default_str()->check(CLI::IsMember({"constant", "cosine", "plateau"}));
  option("warmup", o.warmup, "cosine: updates of linear warmup")->capture_default_str()->check(non_negative);
  option("floor", o.floor, "cosine: share of the rate that is left at the end")->capture_default_str()->check(share);
  option("clip", o.clip, "limit of the gradient's norm; 0: none")->capture_default_str()->check(non_negative);
  option("decay", o.optimizer.weight_decay, "weight decay of AdamW")->capture_default_str()->check(non_negative);
  option("beta1", o.optimizer.beta1, "of AdamW")->capture_default_str()->check(share);
  option("beta2", o.optimizer.beta2, "of AdamW")->capture_default_str()->check(share);
  option("evaluate-every", o.evaluate_every, "updates between evaluations (default: an epoch)")->check(positive);
  option("patience", o.patience, "evaluations without a new best that end the stage; 0: never")->capture_default_str()->check(non_negative);
  app.add_flag(fmt::format("--{}-keep-last", name), o.keep_last, "end with the last parameters, not with those of the best evaluation")->group(what);
  app.add_flag(fmt::format("--{}-bf16-masters", name), o.optimizer.bf16_masters, "round masters to bf16 after every update")->group(what);
}

/// Reads "3:6".
bool read_blocks(const std::string& text, Index& first, Index& last) {
  const char* const end = text.data() + text.size();
  const auto colon = std::from_chars(text.data(), end, first);
  if (colon.ec != std::errc() || colon.ptr == end || *colon.ptr != ':') return false;
  const auto rest = std::from_chars(colon.ptr + 1, end, last);
  return rest.ec == std::errc() && rest.ptr == end && first >= 0 && first < last;
}

/// Reads "4" and "3,9" and "3,".
bool read_layers(const std::string& text, std::vector<Index>& layers) {
  layers.clear();
  std::stringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    const auto number = std::from_chars(item.data(), item.data() + item.size(), layers.emplace_back());
    if (number.ec != std::errc() || number.ptr != item.data() + item.size() || layers.back() < 0) return false;
  }
  return !layers.empty();
}

}  // namespace

lolcats::AnySchedule StageOptions::any_schedule() const {
  if (schedule == "cosine") return lolcats::Cosine{.warmup = warmup, .floor = floor};
  if (schedule == "constant") return lolcats::Constant{};
  return lolcats::ReduceOnPlateau{};
}

Options parse(int argc, char** argv) {
  Options o;
  bool list = false;
  std::string blocks;
  CLI::App app{"Turns a pretrained softmax Llama into one with linear attention."};
  o.add_source_to(app);
  app.add_option("--student", o.student, "the new attention and adapter, see --list-students")->capture_default_str();
  app.add_flag("--list-students", list, "print the names of the students and end");
  app.add_flag("--explain", o.explain, "print which kernels compute the student and why, its state after --length tokens and the numbers it trains, and end");
  app.add_option("--length", o.length, "tokens per row of text")->capture_default_str()->check(CLI::Range(2, 1 << 24));
  app.add_option("--batch", o.batch, "rows per update")->capture_default_str()->check(positive);
  app.add_option("--micro-batch", o.micro_batch, "rows per forward pass; 0: all of the batch")->capture_default_str()->check(non_negative);
  add_gpus_to(app, o.gpus, "linearize", "every batch");
  app.add_flag("--shard-base", o.shard_base, "the processes share the base out: each keeps its part of every layer's weights, which are whole only while the layer computes");
  app.add_option("--documents", o.documents, "documents of the synthetic corpus per epoch")->capture_default_str()->check(positive);
  app.add_option("--seed", o.seed, "of shuffling and of fresh weights")->capture_default_str()->check(non_negative);
  add_stage(app, "transfer", "Stage 1: attention transfer", o.transfer, "0.01; 0.1 on the built-in corpus, which is small");
  const std::string stage1 = "Stage 1: attention transfer", stage2 = "Stage 2: low-rank finetuning";
  app.add_option("--block", o.block, "layers that are trained at a time; 0: all")->capture_default_str()->check(non_negative)->group(stage1);
  app.add_option("--residuals", o.residuals, "scratch file for what enters a block, instead of running the layers below (with --blocks: instead of host memory)")->group(stage1);
  app.add_option("--blocks", blocks, "train only these blocks of stage 1, 3:6 for blocks 3, 4 and 5 of --block layers, with no more than a block of the model in memory; other calls, on other machines, may train the others into the same --out, and one without --blocks joins them and goes on")
      ->check(CLI::Validator([](std::string& text) {
        Index first = 0, last = 0;
        return read_blocks(text, first, last) ? "" : "is not a range of blocks such as 3:6";
      }, "FIRST:LAST"))->group(stage1);
  app.add_flag("--join", o.join, "only make a checkpoint of the finished blocks in --out, without the model in memory and without stage 2")->group(stage1);
  app.add_option("--xent", o.xent_factor, "factor of the cross-entropy of attention weights (the error of outputs has 1000)")
      ->capture_default_str()->check(non_negative)->group(stage1);
  app.add_option("--keep-layers", o.keep_layers, "after stage 1, layers that keep the teacher's softmax: how many (4), or which (3,9 or 3,), with a student named ...-or-softmax")
      ->check(CLI::Validator([](std::string& text) {
        std::vector<Index> layers;
        return read_layers(text, layers) ? "" : "is neither a number nor a list such as 3,9";
      }, "COUNT or LIST"));
  app.add_option("--keep-by", o.keep_by, "how so many layers are chosen: by what the swap of each alone costs on plain text, or on rows that ask for planted facts, by spacing, or at random")
      ->capture_default_str()->check(CLI::IsMember({"sensitivity", "recall", "spacing", "random"}));
  const std::string caches = "Caches: students named ...-keptN", planted = "--planted-rows", recall = "--recall-length", places = "--cache-places", rest = "--cache-rest",
                    heads_by = "--heads-by", gate_rows = "--gate-rows", gate_sparsity = "--gate-sparsity";
  app.add_option(planted, o.planted_rows, "rows with planted facts that scores are fitted on, beside half as many plain ones (default: 160; 0, rows of the text alone, on the built-in corpus, which has facts of its own)")
      ->check(non_negative)->group(caches);
  app.add_option(recall, o.recall_length, "tokens of each, and of those of --keep-by recall (default: 2048, or as many as the model reads)")->check(CLI::Range(2, 1 << 24))->group(caches);
  app.add_option(places, o.cache_places, "places per key/value head on average: the heads that recall planted facts get N, the others --cache-rest (default: all get N)")
      ->check(positive)->group(caches);
  app.add_option(rest, o.cache_rest, "places of the heads that matter less; what is left over widens it")->capture_default_str()->check(non_negative)->group(caches);
  app.add_option(heads_by, o.heads_by, "which heads get N: by what a small cache of each alone costs, or by gates that learn which heads need far keys")
      ->capture_default_str()->check(CLI::IsMember({"sensitivity", "gates"}))->group(caches);
  app.add_option(gate_rows, o.gate_rows, "rows that gates learn on, two per update")->capture_default_str()->check(positive)->group(caches);
  app.add_option(gate_sparsity, o.gate_sparsity, "penalty of each open gate, beside the divergence in nats")->capture_default_str()->check(non_negative)->group(caches);
  add_stage(app, "finetune", stage2, o.finetune, "0.001; 0.01 on the built-in corpus");
  app.add_flag("--recompute", o.recompute, "run layers again in the backward pass instead of keeping activations")->group(stage2);
  app.add_flag("--train-maps", o.train_maps, "train the feature maps, too")->group(stage2);
  app.add_option("--maps-lr", o.maps_rate, "train the feature maps, too, at this learning rate")->check(positive)->group(stage2);
  app.add_option("--distill", o.distill, "share of the teacher's predictions in the loss, beside the text's")->capture_default_str()->check(share)->group(stage2);
  app.add_option("--temperature", o.temperature, "of these predictions")->capture_default_str()->check(positive)->group(stage2);
  const std::string results = "Results";
  app.add_option("--out", o.out, "folder for the linearized checkpoint; a run that was interrupted goes on from there")->group(results);
  app.add_option("--json", o.json, "file for the results (default: linearize.json in --out)")->group(results);
  app.add_option("--save-every", o.save_every, "updates between saved states (default: an epoch)")->check(positive)->group(results);
  app.add_option("--save-minutes", o.save_minutes, "minutes between saved states, besides; 0: by updates only")->capture_default_str()->check(non_negative)->group(results);
  app.add_flag("--replace", o.replace, "--out may hold the results of a finished run, which are replaced")->group(results);
  app.add_option("--prompt", o.prompts, "texts that teacher and student continue at the end (default: the beginning of the validation text)")->group(results);
  app.add_option("--max-tokens", o.max_tokens, "new tokens of each")->capture_default_str()->check(positive)->group(results);
  o.add_tasks_to(app);
  parse_or_exit(app, argc, argv);
  if (list) {
    for (const auto& name : lolcats::student_names()) fmt::print("{}\n", name);
    std::exit(0);
  }
  read_layers(o.keep_layers, o.layer_numbers);
  lolcats::require<lolcats::ConfigError>(app.count("--keep-by") == 0 || (!o.keep_layers.empty() && !o.lists_layers()),
                                         "--keep-by is {}, but --keep-layers {}", o.keep_by,
                                         o.keep_layers.empty() ? "is not given" : fmt::format("is {}, which says which layers", o.keep_layers));
  if (!blocks.empty()) read_blocks(blocks, o.first_block, o.last_block);
  if (o.streams()) {
    const char* const option = o.join ? "--join" : "--blocks";
    lolcats::require<lolcats::ConfigError>(!o.join || !o.trains_blocks(), "--join and --blocks exclude each other: blocks are trained first");
    lolcats::require<lolcats::ConfigError>(!o.shard_base, "{} and --shard-base exclude each other: no more than a block is in memory", option);
    lolcats::require<lolcats::ConfigError>(o.cache_places == 0, "{} and {} exclude each other: sizes of caches are found on the whole model", option, places);
    lolcats::require<lolcats::ConfigError>(!o.out.empty(), "{} needs --out, the folder of all blocks", option);
    lolcats::require<lolcats::ConfigError>(o.block > 0, "{} needs --block, the layers of each", option);
    lolcats::require<lolcats::ConfigError>(o.transfer.epochs > 0, "{} needs --transfer-epochs of 1 or more", option);
  } else if (o.json.empty() && !o.out.empty()) {
    o.json = (std::filesystem::path(o.out) / "linearize.json").string();
  }
  lolcats::visit_student(o.student, [&](auto entry) {  // an unknown name ends the program before any work
    lolcats::require<lolcats::ConfigError>(o.keep_layers.empty() || lolcats::PerLayerPolicy<typename decltype(entry)::Attention>,
                                           "--keep-layers is {}, but all layers of --student {} have the same attention", o.keep_layers, o.student);
    lolcats::require<lolcats::ConfigError>(!o.streams() || lolcats::any_maps<typename decltype(entry)::Attention>,
                                           "--blocks or --join is given, but --student {} has no feature maps to train", o.student);
    constexpr Index most = lolcats::cache_places<typename decltype(entry)::Attention>;
    for (const std::string& option : {places, rest, heads_by, gate_rows, gate_sparsity}) {
      lolcats::require<lolcats::ConfigError>(most > 0 || app.count(option) == 0, "{} is given, but --student {} has no cache", option, o.student);
    }
    if constexpr (most > 0) o.plants_facts = o.cache_places > 0 || lolcats::projects_scores<lolcats::MemoryOf<typename decltype(entry)::Attention>>;
    else o.plants_facts = o.keep_by == "recall";
    for (const std::string& option : {planted, recall}) {
      lolcats::require<lolcats::ConfigError>(o.plants_facts || app.count(option) == 0, "{} is given, but nothing of --student {} is fitted on rows with facts",
                                             option, o.student);
    }
    for (const std::string& option : {rest, heads_by}) {
      lolcats::require<lolcats::ConfigError>(app.count(option) == 0 || o.cache_places > 0, "{} needs {}", option, places);
    }
    for (const std::string& option : {gate_rows, gate_sparsity}) {
      lolcats::require<lolcats::ConfigError>(app.count(option) == 0 || o.heads_by == "gates", "{} needs {} gates", option, heads_by);
    }
    lolcats::require<lolcats::ConfigError>(o.cache_places <= most && (o.cache_places == 0 || o.cache_rest <= o.cache_places),
                                           "{} is {} and {} is {}, expected at most {}, and the rest no more than the mean", places, o.cache_places,
                                           rest, o.cache_rest, most);
  });
  if (o.explain) {  // needs no texts
    default_to_built_in(o.model, o.tokenizer);
    return o;
  }
  o.resolve(true);
  if (o.planted_rows < 0) o.planted_rows = o.built_in_corpus() ? 0 : 160;
  lolcats::require<lolcats::ConfigError>(o.planted_rows > 0 || app.count(recall) == 0, "{} is given, but {} is 0, so no facts are planted", recall, planted);
  if (o.transfer.rate == 0) o.transfer.rate = o.transfer_rate;
  if (o.finetune.rate == 0) o.finetune.rate = o.finetune_rate;
  return o;
}

}  // namespace examples
