// What the programs of this folder share: their command line, their data, and what they write.
#pragma once

#include "students.hpp"

#include <lolcats/ablation/ablate.hpp>
#include <lolcats/ablation/figure.hpp>
#include <lolcats/ablation/row_folder.hpp>
#include <lolcats/ablation/table.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/data/dataset.hpp>
#include <lolcats/data/synthetic.hpp>
#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>
#include <lolcats/train/recipe_fields.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace examples {

class OutputFolder;

using namespace lolcats;

/// What a program is, and its defaults on the built-in teacher.
struct StudyInfo {
  std::string name;     // of the program and of its files
  std::string summary;  // one line for --help
  Index seeds = 1;
  Index documents = 384;  // of the built-in corpus, per epoch
  Index length = 512;     // tokens per row
  Index quick_length = 256;  // the same with --quick
  Index quick_batch = 2;     // rows per update with --quick, and a 12th of its rows per epoch
};

/// Stage 1 takes this part of its time; 0 leaves it out, the maps as they start.
template <Index Percent>
struct TransferShare {
  static std::string name() { return fmt::format("{}% of the transfer", Percent); }
  static Index updates(const Procedure& p) {
    return Percent == 0 ? 0 : std::max<Index>(p.transfer.max_updates * Percent / 100, 1);
  }
  static void apply(Procedure& p) {
    p.transfers = Percent > 0;
    p.transfer.max_updates = updates(p);
  }
};

/// "1.23 against 4.56".
inline std::string against(double a, double b) {
  return significant(a, 4) + " against " + significant(b, 4);
}

/// The numbers in a list of named parameters, such as a model's `adapter_parameters()`.
double count_numbers(const auto& parameters) {
  Index count = 0;
  for (const auto& named : parameters) count += named.parameter->size();
  return static_cast<double>(count);
}

/// The first `most` rows; 0: all.
inline DataSet first_rows(const DataSet& data, Index most) {
  if (most == 0 || data.size() <= most) return data;
  return data.first(most);
}

/// Values by layer or by head: x is 0, 1, ...
inline Series by_index(std::string name, std::vector<double> values) {
  Series series{std::move(name), {}, std::move(values)};
  for (std::size_t i = 0; i < series.y.size(); ++i) series.x.push_back(static_cast<double>(i));
  return series;
}

/// One run of a program: a teacher, its data, a recipe, and the results.
class Study {
 public:
  std::string name;
  bool quick = false;  // --quick: a few seconds of work that shows the directions, not the sizes
  std::vector<std::uint64_t> seeds;
  Index length = 512, batch = 8;
  std::filesystem::path out;
  Teacher teacher;
  DataSet train, valid;
  DataSet other_train, other_valid;  // a second corpus: --other-train, or synthetic with near facts; else empty
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<SyntheticDocument> documents;  // of `valid`, if the corpus is the built-in one
  Procedure procedure;
  std::shared_ptr<RowFolder> store;
  std::shared_ptr<OutputFolder> folder;  // locked for this run
  double save_minutes = 5;

  explicit Study(Teacher model) : teacher(std::move(model)) {}

  bool built_in() const { return !documents.empty(); }
  /// Perplexity of the teacher on `valid`.
  double teacher_perplexity();

  /// Options of `ablate` as the command line has them.
  AblationOptions options(const std::string& group = {}) const;

  /// Trains the variants on this study's data.
  template <AblationVariant... Variants, class Measure = MeasureNothing>
  Ablation run(const Measure& measure = {}) const {
    return ablate<Variants...>(teacher, train, valid, procedure, options(), measure);
  }

  /// For a training outside of `run`, which `training` tells from others: its state is kept as theirs are, and an interrupted study goes on from it.
  template <class StageRecipe>
  void keep_state(StageRecipe& recipe, const std::string& training) const {
    recipe.identity = training + " " + inputs_fingerprint();
    Fingerprint key;
    key.add(recipe.identity);
    describe_fields(recipe, recipe.max_updates, [&](std::string_view field, const std::string& value) {
      key.add(field);
      key.add(value);
    });
    recipe.checkpoint = store->state(key.text(), recipe.max_updates);
    recipe.checkpoint_every = std::max<Index>(1, recipe.max_updates / 4);
    recipe.checkpoint_minutes = save_minutes;
    recipe.stop = options().stop;
  }

  /// The first `most` rows of another text (0: all), for another part of the same study.
  DataSet rows_of(const std::filesystem::path& path, Index most) const;

  /// Prints the table and adds the rows to the JSON and CSV.
  void report(const Ablation& ablation, const std::vector<Column>& columns);
  /// Text below the table, such as a table of another kind.
  void print(const std::string& text);
  /// A direction that the paper found, and whether it shows here.  With --quick, a `sure` one that does not show is an
  /// error.
  void claim(const std::string& text, bool holds, const std::string& numbers = {}, bool sure = true);
  /// Makes the claims that `claims(Ablation)` makes, about the means over the seeds, and finds out in how many of the
  /// seeds each of them holds alone.
  template <class F>
  void judge(const Ablation& all, const F& claims) {
    claims(all);
    if (seeds.size() < 2) return;
    by_seed_ = true;
    for (const std::uint64_t seed : seeds) claims(all.of_seed(seed));
    by_seed_ = false;
  }
  /// That a < b, or a > b.
  void claim_below(const std::string& text, double a, double b, bool sure = true) { claim(text, a < b, against(a, b), sure); }
  void claim_above(const std::string& text, double a, double b, bool sure = true) { claim(text, a > b, against(a, b), sure); }
  /// Draws NAME.svg and NAME.png, or NAME-suffix; says once that there is no gnuplot.
  template <class Plot>
  void draw(const Plot& plot, const std::string& suffix = {}) {
    drawn(lolcats::draw(plot, out / (suffix.empty() ? name : name + "-" + suffix)));
  }

  /// Writes NAME.json and NAME.csv.  True unless a sure claim failed in a quick run.
  bool finish();

 private:
  void drawn(bool done);
  std::string inputs_fingerprint() const;  // of the teacher and its texts

  struct Claim {
    std::string text, numbers;
    bool holds, sure;
    Index seeds = 0, holding = 0;  // judged one by one, and those of them in which it holds
  };
  Ablation rows_;
  std::vector<Claim> claims_;
  bool by_seed_ = false;
  double teacher_perplexity_ = 0;
  bool said_no_gnuplot_ = false;
};

/// Reads the command line, prepares the study, runs it, and writes what it found.  The exit status of the program.
int run_study(const StudyInfo& info, int argc, char** argv, const std::function<void(Study&)>& body);

/// Validation losses of stage 2 as perplexities, over the updates of both stages: `before` is how many stage 1 took.
inline Ablation::Band perplexity_band(Ablation::Band losses, Index before) {
  for (double& x : losses.x) x += static_cast<double>(before);
  for (auto* values : {&losses.y, &losses.low, &losses.high}) {
    for (double& value : *values) value = std::exp(value);
  }
  return losses;
}

/// Bars of a plot: the mean of each variant, with the spread over the seeds.
template <AblationVariant... V>
BarSeries bars_of(std::string label, const Ablation& all, const char* number = "perplexity") {
  return {std::move(label), {all.mean<V>(number)...}, {all.statistic<V>(number).spread...}};
}

/// A curve of a plot: mean over seeds, and a band from the lowest to the highest.
inline Curve curve_of(std::string label, const Ablation::Band& band, std::optional<std::size_t> style = {}) {
  const bool several = band.low != band.high;
  return {std::move(label), band.x, band.y, several ? band.low : std::vector<double>{}, several ? band.high : std::vector<double>{}, style};
}

}  // namespace examples
