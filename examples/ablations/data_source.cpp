// The text that a teacher is linearized on (Table 14): two corpora, each student evaluated on both.
//
// The paper, Llama 3 8B: linearized on Alpaca 74.2 zero-shot without MMLU and 52.8 on MMLU, on RedPajama 72.1 and 55.2;
// no corpus is the better one for everything.  Look for: each student is best on the text it was trained on.  The
// second corpus is the built-in one with its facts at most 40 tokens back instead of 400, or --other-train.
#include "support/study.hpp"

using namespace examples;

using Student = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>>;

int main(int argc, char** argv) {
  return run_study({.name = "data_source", .summary = "Table 14: two corpora to linearize on, each evaluated on both.", .seeds = 2}, argc, argv,
                   [](Study& study) {
    require<ConfigError>(study.other_train.size() > 0, "data_source: there is one corpus, expected a second, --other-train and --other-valid");
    const char* const names[] = {study.built_in() ? "facts up to 400 tokens back" : "first corpus",
                                 study.built_in() ? "facts up to 40 tokens back" : "second corpus"};
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      row.set(std::string("first_") + to_string(stage), perplexity(model, study.valid, study.batch).perplexity);
      row.set(std::string("second_") + to_string(stage), perplexity(model, study.other_valid, study.batch).perplexity);
    };
    const auto run = [&](const DataSet& train, const DataSet& valid, const char* name) {
      return ablate<Student>(study.teacher, train, valid, study.procedure, study.options(name), measure);
    };
    Ablation all = run(study.train, study.valid, names[0]);
    all.append(run(study.other_train, study.other_valid, names[1]));
    study.report(all, {{"first_swapped", "first, swapped", Best::none}, {"second_swapped", "second, swapped", Best::none},
                       {"first_transferred", "first, transferred", Best::none}, {"second_transferred", "second, transferred", Best::none},
                       {"first_finetuned", "first, finetuned", Best::none}, {"second_finetuned", "second, finetuned", Best::none}});
    study.print(fmt::format("The teacher: {} on the first, {} on the second.\n", significant(study.teacher_perplexity(), 4),
                            significant(perplexity(study.teacher, study.other_valid, study.batch).perplexity, 4)));

    const char* const numbers[] = {"first_finetuned", "second_finetuned"};
    study.judge(all, [&](const Ablation& part) {
      const auto mean = [&](int group, const char* number) { return part.mean<Student>(number, names[group]); };
      for (const int at : {0, 1}) {
        const double own = mean(at, numbers[at]), other = mean(1 - at, numbers[at]);
        study.claim_below(fmt::format("on the {} corpus its own student is the better one", at == 0 ? "first" : "second"),
                          own, other, false);
      }
      for (const int at : {0, 1}) {
        const double after = mean(at, numbers[1 - at]), before = mean(at, at == 0 ? "second_swapped" : "first_swapped");
        study.claim_below(fmt::format("trained on the {} corpus, a student learns for the other one, too", at == 0 ? "first" : "second"),
                          after, before);
      }
    });
    BarPlot plot{"Text to linearize on", "perplexity after finetuning", false, {"on the first corpus", "on the second"}, {}};
    for (const int from : {0, 1}) {
      BarSeries series{std::string("trained on ") + names[from]};
      for (const char* number : numbers) {
        const Statistic s = all.statistic<Student>(number, names[from]);
        series.values.push_back(s.mean);
        series.spread.push_back(s.spread);
      }
      plot.series.push_back(std::move(series));
    }
    study.draw(plot);
  });
}
