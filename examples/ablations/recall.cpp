// What the linear part really carries: recall by distance, for every window and map.  Not in the paper.
//
// On the built-in corpus a fact returns 10 to 400 tokens after it was last said, so the accuracy of its value, by
// distance, shows what a student remembers.  On other texts the targets are tokens that end a repetition of five tokens.
// Look for: near perfect recall inside the window, and how fast it falls beyond.
#include "support/palette.hpp"
#include "support/study.hpp"

#include <lolcats/eval/recall.hpp>

using namespace examples;

template <AttentionPolicy... A>
struct AttentionList {};
using Attentions = AttentionList<Softmax<>, Hybrid<Hedgehog<rank>, Terraced<64>>, Hybrid<T2R<2 * rank>, Terraced<64>>,
                                 Hybrid<Hedgehog<rank>, Sliding<16>>, Hybrid<T2R<2 * rank>, Sliding<16>>,
                                 Linear<Hedgehog<rank>>, Linear<T2R<2 * rank>>, Softmax<Terraced<64>>>;

/// Tokens that a text repeats: where the last five tokens were there before, the distance to the latest such place.
std::vector<SyntheticDocument> repetitions(const DataSet& data) {
  constexpr std::size_t context = 4;
  std::vector<SyntheticDocument> documents;
  for (const Row& row : data.rows()) {
    SyntheticDocument document{row.tokens, {}, {}, std::vector<Index>(row.tokens.size(), 0)};
    std::map<std::vector<Index>, std::size_t> seen;  // the latest place behind a context
    for (std::size_t i = context; i < row.tokens.size(); ++i) {
      const std::vector<Index> before(row.tokens.begin() + static_cast<std::ptrdiff_t>(i - context), row.tokens.begin() + static_cast<std::ptrdiff_t>(i));
      const auto found = seen.find(before);
      if (found != seen.end() && row.tokens[found->second] == row.tokens[i]) document.distance[i] = static_cast<Index>(i - found->second);
      seen[before] = i;
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

template <AttentionPolicy... A>
void study_recall(Study& study, AttentionList<A...>) {
  const std::vector<SyntheticDocument> documents = study.built_in() ? study.documents : repetitions(study.valid);
  const std::vector<Index> edges{1, 17, 33, 65, 129, 257};
  const auto measure = [&](auto& model, AblationRow& row) {
    Series series{"recall", {}, {}};
    for (const RecallBin& bin : recall_by_distance(model, documents, edges, study.batch).bins) {
      if (bin.total == 0) continue;
      series.x.push_back(static_cast<double>(bin.first));
      series.y.push_back(bin.accuracy());
      row.set(fmt::format("recall_{}", bin.first), bin.accuracy());
    }
    row.series.push_back(std::move(series));
  };
  const Ablation all = study.run<Variant<A>...>([&](Stage stage, auto& model, AblationRow& row) {
    if (stage == Stage::finetuned) measure(model, row);
  });
  std::vector<Column> columns{{"perplexity", "perplexity"}};
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const std::string last = i + 1 < edges.size() ? fmt::format("-{}", edges[i + 1] - 1) : "+";
    columns.push_back({fmt::format("recall_{}", edges[i]), fmt::format("recall {}{}", edges[i], last), Best::highest, 3});
  }
  study.report(all, columns);

  AblationRow teacher;
  measure(study.teacher, teacher);
  LinePlot plot{.title = "Recall by distance", .x_label = "tokens since the fact was last said (lower end of the bin)",
                .y_label = "share of facts recalled", .log_x = true};
  plot.curves.push_back({"teacher", teacher.series[0].x, teacher.series[0].y, {}, {}, style_of(Softmax<>::name(), true)});
  (plot.curves.push_back(curve_of(A::name(), all.band<Variant<A>>("recall"), style_of(A::name()))), ...);
  study.draw(plot);

  using Window = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>>;
  using Small = Variant<Hybrid<Hedgehog<rank>, Sliding<16>>>;
  using NoLinear = Variant<Softmax<Terraced<64>>>;
  study.judge(all, [&](const Ablation& part) {
    const double inside = part.mean<Window>("recall_33"), beyond = part.mean<Window>("recall_129");
    study.claim_above("terraced<64> recalls inside its window and not beyond it", inside, beyond);
    const double small = part.mean<Small>("recall_33");
    study.claim_above("a larger window recalls more at 33 to 64 tokens", inside, small, false);
    const double none = part.mean<NoLinear>("recall_129");
    study.claim_above("beyond the window, the linear part recalls more than no linear part", beyond, none, false);
  });
}

int main(int argc, char** argv) {
  return run_study({.name = "recall", .summary = "Recall by distance, for every window and feature map.", .quick_length = 384}, argc, argv,
                   [](Study& study) { study_recall(study, Attentions{}); });
}
