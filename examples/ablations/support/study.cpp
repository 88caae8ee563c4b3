// The parts of a study that no variant takes part in, compiled once for all programs.
#include "study.hpp"

#include "../../support/command_line.hpp"
#include "../../support/corpus.hpp"
#include "../../support/options.hpp"
#include "../../support/output_folder.hpp"
#include "../../support/program.hpp"

#include <lolcats/ablation/recipe_text.hpp>
#include <lolcats/ablation/row_folder.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/model/finite_weights.hpp>
#include <lolcats/model/load.hpp>

namespace examples {

namespace {

/// What the command line says.
struct Options : SourceOptions {
  std::string other_train, other_valid, out;
  Index seeds = 1, documents = 384, length = 512, batch = 8, rows = 0;
  double transfer_epochs = 2, finetune_epochs = 2, save_minutes = 5;
  bool quick = false;
};

Options parse(const StudyInfo& info, int argc, char** argv) {
  Options o;
  o.seeds = info.seeds;
  const Index quick_rows = 12 * info.quick_batch;  // few rows, but enough updates
  CLI::App app{info.summary};
  o.add_source_to(app);
  app.add_option("--other-train", o.other_train, "a second corpus, for studies that compare two (default: synthetic, facts at most 40 tokens back)");
  app.add_option("--other-valid", o.other_valid, "text of it to validate on");
  app.add_option("--seeds", o.seeds, "runs of each variant, with seeds 0, 1, ...")->capture_default_str()->check(positive);
  app.add_option("--out", o.out, fmt::format("folder for {0}.csv, .json, .svg and .png; an interrupted study goes on from there (default: {0})", info.name));
  app.add_flag("--quick", o.quick, "a few updates on short rows: shows the directions, not the sizes");
  app.add_option("--length", o.length, fmt::format("tokens per row (default: {}; with --quick {})", info.length, info.quick_length))->check(CLI::Range(2, 1 << 24));
  app.add_option("--batch", o.batch, fmt::format("rows per update (default: 8; with --quick {})", info.quick_batch))->check(positive);
  app.add_option("--documents", o.documents, fmt::format("documents of the synthetic corpus per epoch (default: {}; with --quick {})", info.documents, quick_rows))->check(positive);
  app.add_option("--rows", o.rows, fmt::format("most rows of --train per epoch (default: all; with --quick {})", quick_rows))->check(positive);
  app.add_option("--transfer-epochs", o.transfer_epochs, "epochs of stage 1")->capture_default_str()->check(non_negative);
  app.add_option("--finetune-epochs", o.finetune_epochs, "epochs of stage 2")->capture_default_str()->check(non_negative);
  app.add_option("--save-minutes", o.save_minutes, "minutes between saved states, besides the quarters of a training run")->capture_default_str()->check(non_negative);
  o.add_rates_to(app, positive);
  parse_or_exit(app, argc, argv);
  o.resolve();
  require<ConfigError>(o.other_train.empty() == o.other_valid.empty(), "--other-train and --other-valid go together");
  if (app["--length"]->count() == 0) o.length = o.quick ? info.quick_length : info.length;
  if (app["--documents"]->count() == 0) o.documents = o.quick ? quick_rows : info.documents;
  if (app["--seeds"]->count() == 0 && o.quick) o.seeds = 1;
  if (app["--batch"]->count() == 0 && o.quick) o.batch = info.quick_batch;
  if (o.quick && o.rows == 0) o.rows = quick_rows;
  if (o.out.empty()) o.out = info.name;
  return o;
}

Study prepare(const StudyInfo& info, const Options& o) {
  // A finished study is read back row by row, and may be extended.
  auto folder = std::make_shared<OutputFolder>(o.out, std::initializer_list<std::string_view>{}, true);
  remove_temporaries(std::filesystem::path(o.out) / "rows");
  for (const char* kind : {".json", ".csv"}) try_writing(std::filesystem::path(o.out) / (info.name + kind));
  stop_on_signals();
  Study study(load_llama<Device>(o.model));
  require_finite_weights(study.teacher, o.model);
  study.folder = std::move(folder);
  study.save_minutes = o.save_minutes;
  study.name = info.name;
  study.quick = o.quick;
  study.length = o.length;
  study.batch = o.batch;
  study.out = o.out;
  for (Index seed = 0; seed < o.seeds; ++seed) study.seeds.push_back(static_cast<std::uint64_t>(seed));
  const Index vocabulary = study.teacher.config().vocab_size;
  study.tokenizer = open_tokenizer(o.tokenizer);
  check_tokenizer(*study.tokenizer, o.tokenizer, vocabulary, o.model);
  const Index valid_rows = o.quick ? 8 : 64;
  if (o.built_in_corpus()) {
    SyntheticText text = synthetic_text({.length = o.length}, o.documents, valid_rows);
    study.train = std::move(text.train);
    study.valid = std::move(text.valid);
    study.documents = std::move(text.documents);
    SyntheticText near_facts = synthetic_text({.length = o.length, .longest = 40}, o.documents, valid_rows);
    study.other_train = std::move(near_facts.train);
    study.other_valid = std::move(near_facts.valid);
  } else {
    study.train = first_rows(o.rows_of(o.train, *study.tokenizer, o.length, true), o.rows);
    study.valid = first_rows(o.rows_of(o.valid, *study.tokenizer, o.length, false), o.quick ? valid_rows : 0);
  }
  if (!o.other_train.empty()) {
    study.other_train = study.rows_of(o.other_train, o.rows);
    study.other_valid = study.rows_of(o.other_valid, o.quick ? valid_rows : 0);
  }
  study.train.check_vocabulary(vocabulary);
  study.valid.check_vocabulary(vocabulary);

  const Index per_epoch = (study.train.size() + o.batch - 1) / o.batch;
  const auto updates = [&](double epochs) { return std::llround(epochs * static_cast<double>(per_epoch)); };
  auto& [transfers, finetunes, transfer, finetune] = study.procedure;
  transfers = o.transfer_epochs > 0;
  finetunes = o.finetune_epochs > 0;
  transfer.epochs = finetune.epochs = 0;
  transfer.max_updates = updates(o.transfer_epochs);
  finetune.max_updates = updates(o.finetune_epochs);
  transfer.batch = finetune.batch = o.batch;
  transfer.learning_rate = o.transfer_rate;
  finetune.learning_rate = o.finetune_rate;
  // A quick run looks once per stage, at its end.
  transfer.evaluate_every = std::max<Index>(1, o.quick ? transfer.max_updates : per_epoch / 4);
  finetune.evaluate_every = std::max<Index>(1, o.quick ? finetune.max_updates : per_epoch / 4);
  study.store = std::make_shared<RowFolder>(study.out / "rows");
  fmt::print(stderr, "{}: {} layers, width {}, {} rows of {} tokens to train on, {} to validate on, {} seeds, on {}\n",
             info.name, study.teacher.layer_count(), study.teacher.config().hidden_size, study.train.size(), o.length,
             study.valid.size(), o.seeds, Device::name());
  return study;
}

}  // namespace

double Study::teacher_perplexity() {
  if (teacher_perplexity_ == 0) teacher_perplexity_ = perplexity(teacher, valid, batch).perplexity;
  return teacher_perplexity_;
}

AblationOptions Study::options(const std::string& group) const {
  AblationOptions o;
  o.seeds = seeds;
  o.group = group;
  o.rows = batch;
  o.store = store;
  o.checkpoint_minutes = save_minutes;
  o.stop = stop_requested;
  o.progress = print_progress();
  o.on_row = [](const AblationRow& row, Index index, Index count) {
    const std::string result = row.done() ? "perplexity " + significant(row.number("perplexity"), 5) : row.status;
    fmt::print(stderr, "row {}/{}: {}{}, seed {}: {}\n", index, count, row.group.empty() ? "" : row.group + ", ",
               row.variant, row.seed, result);
  };
  return o;
}

std::string Study::inputs_fingerprint() const {
  return fmt::format("{} {} {} {}", Device::name(), fingerprint_of(teacher.backend(), teacher.base_parameters()), lolcats::detail::fingerprint_of_data(train),
                     lolcats::detail::fingerprint_of_data(valid));
}

DataSet Study::rows_of(const std::filesystem::path& path, Index most) const {
  DataSet data = first_rows(text_rows(path, *tokenizer, length), most);
  data.check_vocabulary(teacher.config().vocab_size);
  return data;
}

void Study::report(const Ablation& ablation, const std::vector<Column>& columns) {
  fmt::print("\n{}\n", table(ablation, columns));
  fmt::print("Teacher: perplexity {}.  * marks the best{}.\n", significant(teacher_perplexity(), 4),
             seeds.size() > 1 ? fmt::format("; mean ± deviation over {} seeds", seeds.size()) : "");
  std::fflush(stdout);
  rows_.append(ablation);
}

void Study::print(const std::string& text) { fmt::print("\n{}", text); }

void Study::claim(const std::string& text, bool holds, const std::string& numbers, bool sure) {
  if (!by_seed_) {
    claims_.push_back({text, numbers, holds, sure});
    return;
  }
  const auto known = std::ranges::find(claims_, text, &Claim::text);
  if (known == claims_.end()) return;
  ++known->seeds;
  known->holding += holds;
}

void Study::drawn(bool done) {
  if (!done && !std::exchange(said_no_gnuplot_, true)) {
    fmt::print(stderr, "{}: gnuplot not found, so there are no pictures; the data are in {}.json\n", name, name);
  }
}

bool Study::finish() {
  nlohmann::ordered_json json{{"study", name}, {"quick", quick}, {"backend", Device::name()},
                              {"teacher_perplexity", teacher_perplexity()}};
  bool fine = true;
  if (!claims_.empty()) fmt::print("\n");
  for (const Claim& claim : claims_) {
    fmt::print("{} {}{}{}\n", claim.holds ? "[holds]     " : "[does not]  ", claim.text, claim.numbers.empty() ? "" : ": " + claim.numbers,
               claim.seeds > 0 ? fmt::format(" ({} of {} seeds)", claim.holding, claim.seeds) : "");
    json["claims"].push_back({{"claim", claim.text}, {"holds", claim.holds}, {"numbers", claim.numbers}});
    if (claim.seeds > 0) json["claims"].back().update({{"seeds", claim.seeds}, {"seeds_holding", claim.holding}});
    if (quick && claim.sure && !claim.holds) fine = false;
  }
  json["rows"] = nlohmann::ordered_json::array();
  for (const AblationRow& row : rows_.rows) json["rows"].push_back(to_json(row));
  write_file_atomically(out / (name + ".json"), std::string_view(json.dump(1) + "\n"));
  write_file_atomically(out / (name + ".csv"), std::string_view(to_csv(rows_)));
  store->remove_states();
  fmt::print("\nResults: {0}.csv, {0}.json\n", (out / name).string());
  return fine;
}

int run_study(const StudyInfo& info, int argc, char** argv, const std::function<void(Study&)>& body) {
  bool fine = false;
  const int status = run_program(info.name, [&] {
    Study study = prepare(info, parse(info, argc, argv));
    body(study);
    fine = study.finish();
  });
  if (status == 0 && !fine) fmt::print(stderr, "{}: a direction that must show does not\n", info.name);
  return status != 0 ? status : fine ? 0 : 2;
}

}  // namespace examples
