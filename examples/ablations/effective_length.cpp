// How far back the teacher's attention reads, by text, and training on the texts where it reads farthest (Equation 9,
// Figure 10, Table 15).
//
// The paper, Llama 3 8B: 200 to 300 tokens on Alpaca, 270 to 400 on RedPajama, 320 to 430 on its top rows; linearizing on
// those instead of all of RedPajama raises 5-shot MMLU, whose prompts are long (55.2 to 56.5), and lowers the zero-shot
// average (72.1 to 70.9).  Look for: the distribution follows the text; what training on the top half does to rows of
// long and of short attention, and to recall from afar.
//
// The built-in corpora differ in how far back their facts lie: up to 400 tokens, or up to 40.  Each half of the training
// rows has as many updates as the other, and so has a half that does not choose.  --other-train names a second text.
#include "support/study.hpp"

#include <lolcats/eval/effective_length.hpp>
#include <lolcats/eval/recall.hpp>

using namespace examples;

using Student = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>>;

/// The effective length of each row: sum_j (n - j) a_nj, averaged over queries, heads and layers.
template <class Model>
std::vector<double> lengths_of(Model& model, const DataSet& data) {
  std::vector<double> lengths;
  for (const Row& row : data.rows()) lengths.push_back(teacher_effective_length(model, DataSet({row})).mean());
  return lengths;
}

/// The rows with the largest or smallest values, half of them.
DataSet half_of(const DataSet& data, const std::vector<double>& values, bool largest) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return largest ? values[a] > values[b] : values[a] < values[b]; });
  std::vector<Row> rows;
  for (std::size_t i = 0; i < (order.size() + 1) / 2; ++i) rows.push_back(data.rows()[order[i]]);
  return DataSet(std::move(rows));
}

/// The share of rows per bin of values.
Curve histogram(const std::string& label, const std::vector<double>& values, double low, double width) {
  Curve curve{label};
  for (int bin = 0; bin < 16; ++bin) {
    const double from = low + width * bin;
    curve.x.push_back(from + width / 2);
    curve.y.push_back(static_cast<double>(std::ranges::count_if(values, [&](double v) { return v >= from && v < from + width; })) /
                      static_cast<double>(values.size()));
  }
  return curve;
}

int main(int argc, char** argv) {
  return run_study({.name = "effective_length", .summary = "Equation 9, Figure 10, Table 15: effective sequence length, and training on long ones.",
                    .seeds = 2}, argc, argv, [](Study& study) {
    auto probe = convert<Llama<Device, Student::Attention, Lora<8>>>(study.teacher);
    const std::vector<double> lengths = lengths_of(probe, study.train), valid_lengths = lengths_of(probe, study.valid);
    std::vector<std::pair<std::string, std::vector<double>>> corpora{{"corpus", lengths}};
    const DataSet top = half_of(study.train, lengths, true), rest = half_of(study.train, lengths, false);
    if (study.built_in()) corpora[0].first = "facts up to 400 tokens back";
    if (study.other_train.size() > 0) {
      corpora.emplace_back(study.built_in() ? "facts up to 40 tokens back" : "other corpus", lengths_of(probe, study.other_train));
    }
    corpora.emplace_back("top half of the training rows", lengths_of(probe, top));
    LinePlot plot{.title = "Effective length of the softmax attention", .x_label = "tokens back per query, mean of a row", .y_label = "share of rows"};
    double low = std::ranges::min(lengths), high = std::ranges::max(lengths);
    for (const auto& [name, values] : corpora) {
      low = std::min(low, std::ranges::min(values));
      high = std::max(high, std::ranges::max(values));
    }
    std::string text;
    for (const auto& [name, values] : corpora) {
      plot.curves.push_back(histogram(name, values, low, (high - low) / 15.9));
      const Statistic s = statistic_of(values);
      text += fmt::format("{:<32} {} ± {} tokens back, {} to {}\n", name, significant(s.mean, 4), significant(s.spread, 2),
                          significant(std::ranges::min(values), 4), significant(std::ranges::max(values), 4));
    }
    study.print(text);
    study.draw(plot);

    const DataSet far_rows = half_of(study.valid, valid_lengths, true), near_rows = half_of(study.valid, valid_lengths, false);
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      if (stage != Stage::finetuned) return;
      row.set("perplexity_long", perplexity(model, far_rows, study.batch).perplexity);
      row.set("perplexity_short", perplexity(model, near_rows, study.batch).perplexity);
      if (study.built_in()) {
        const Recall recall = recall_by_distance(model, study.documents, {10, 129}, study.batch);
        row.set("recall_near", recall.bins[0].accuracy());
        row.set("recall_far", recall.bins[1].accuracy());
      }
    };
    const auto run = [&](const DataSet& rows, const char* group) {
      return ablate<Student>(study.teacher, rows, study.valid, study.procedure, study.options(group), measure);
    };
    const DataSet any = first_rows(study.train, top.size());
    Ablation all = run(any, "any half");
    all.append(run(top, "top half"));
    all.append(run(rest, "other half"));
    std::vector<Column> columns{{"perplexity", "perplexity"}, {"perplexity_long", "on long rows"}, {"perplexity_short", "on short rows"}};
    if (study.built_in()) columns.insert(columns.end(), {{"recall_near", "recall 10-128", Best::highest, 3}, {"recall_far", "recall 129+", Best::highest, 3}});
    study.report(all, columns);

    study.judge(all, [&](const Ablation& part) {
      // A difference of means counts if it is larger than both spreads over the seeds.
      const auto claim = [&](const std::string& effect, const char* number, bool higher) {
        const Statistic top_half = part.statistic<Student>(number, "top half"), any_half = part.statistic<Student>(number, "any half");
        const double gap = (higher ? 1 : -1) * (top_half.mean - any_half.mean);
        study.claim("training on the top half " + effect, gap > std::max(top_half.spread, any_half.spread), against(top_half.mean, any_half.mean), false);
      };
      claim("is better on long rows", "perplexity_long", false);
      claim("is worse on short rows", "perplexity_short", true);
      if (study.built_in()) claim("recalls more from afar", "recall_far", true);
    });
    if (!study.built_in()) return;
    const double far = statistic_of(corpora[0].second).mean, near = statistic_of(corpora[1].second).mean;
    study.claim_above("attention reads farther back where facts lie farther back", far, near);
  });
}
