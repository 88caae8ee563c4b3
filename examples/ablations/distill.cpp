// What the teacher's predictions add to the text in stage 2, and what trained maps add to both.  Not in the paper, which
// trains on the text alone.
//
// loss = (1 - share) cross-entropy + share T^2 KL from the softmax base, which is here the same model without its adapter.
// Look for: whether a share helps at all where the text is plenty, and whether maps that go on learning, at a tenth of the
// adapter's rate, help more than the teacher does.
#include "support/study.hpp"

#include <lolcats/eval/recall.hpp>

using namespace examples;

template <Ratio Share, Ratio Temperature = Ratio{1, 1}>
struct Distilled {
  static std::string name() { return fmt::format("share {} at T {}", Share.value(), Temperature.value()); }
  static void apply(Procedure& p) { p.finetune.distillation = {Share.value(), Temperature.value()}; }
};
/// Maps are trained on at this part of the adapter's rate.
template <Ratio Part>
struct MapsAt {
  static std::string name() { return fmt::format("maps at {} of the rate", Part.value()); }
  static void apply(Procedure& p) { p.finetune.maps_learning_rate = Part.value() * p.finetune.learning_rate; }
};

template <class... Changes>
using With = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>, Lora<8>, Changes...>;
using Text = With<>;
using Half = With<Distilled<Ratio{1, 2}>>;
using Warm = With<Distilled<Ratio{1, 2}, Ratio{2, 1}>>;
using Whole = With<Distilled<Ratio{1, 1}>>;
using Maps = With<MapsAt<Ratio{1, 10}>>;
using Both = With<Distilled<Ratio{1, 2}>, MapsAt<Ratio{1, 10}>>;

int main(int argc, char** argv) {
  return run_study({.name = "distill", .summary = "Stage 2 with the teacher's predictions, and with maps that go on learning."}, argc, argv,
                   [](Study& study) {
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      if (stage != Stage::finetuned || !study.built_in()) return;
      row.set("recall_far", recall_by_distance(model, study.documents, {10, 129}, study.batch).bins[1].accuracy());
    };
    const Ablation all = study.run<Text, Half, Warm, Whole, Maps, Both>(measure);
    std::vector<Column> columns{{"perplexity_transferred", "transferred", Best::none}, {"perplexity", "finetuned"}};
    if (study.built_in()) columns.push_back({"recall_far", "recall 129+", Best::highest, 3});
    columns.push_back({"finetune_seconds", "seconds of stage 2", Best::none, 3});
    study.report(all, columns);
    study.judge(all, [&](const Ablation& part) {
      const double text = part.mean<Text>("perplexity");
      study.claim_below("the teacher alone improves on attention transfer alone", part.mean<Whole>("perplexity"), part.mean<Whole>("perplexity_transferred"));
      study.claim_below("half of the loss from the teacher is better than the text alone", part.mean<Half>("perplexity"), text, false);
      study.claim_below("maps that go on learning are better than frozen ones", part.mean<Maps>("perplexity"), text, false);
      study.claim_below("both are better than either", part.mean<Both>("perplexity"), std::min(part.mean<Half>("perplexity"), part.mean<Maps>("perplexity")), false);
    });
    study.draw(BarPlot{"Distillation and trained maps in stage 2", "perplexity after finetuning", false,
                       {"text", "half, T 1", "half, T 2", "teacher", "maps", "half + maps"}, {bars_of<Text, Half, Warm, Whole, Maps, Both>("", all)}});
  });
}
