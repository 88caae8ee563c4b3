// Feature maps with and without attention transfer, no window (Table 1, Figure 3).
//
// The paper, Llama 3 8B, Alpaca perplexity: without transfer 1539 (T2R) and 2448 (Hedgehog) before finetuning, 16.05 and
// 9.02 after it; with transfer 79 and 61 before, 4.11 and 3.90 after.  Look for: transfer beats none for every map, at 0
// and at the end, at the same number of updates in both stages together; Hedgehog ends below T2R.
#include "support/palette.hpp"
#include "support/study.hpp"

using namespace examples;

template <FeatureMap... Maps>
struct MapList {};
using Maps = MapList<T2R<2 * rank>, Hedgehog<rank>, HedgehogExp<rank>, EluPlusOne<2 * rank>, Relu<2 * rank>>;

template <FeatureMap Map>
using Transferred = Variant<Linear<Map>>;
template <FeatureMap Map>
using Untransferred = Variant<Linear<Map>, Lora<8>, NoTransfer>;

template <FeatureMap... Map>
void study_maps(Study& study, MapList<Map...>) {
  const Ablation all = study.run<Transferred<Map>..., Untransferred<Map>...>([](Stage stage, auto&, AblationRow& row) {
    if (stage != Stage::finetuned) row.set("perplexity_at_0", row.number("perplexity"));
  });
  study.report(all, {{"perplexity_at_0", "before finetuning"}, {"perplexity", "after"}});

  LinePlot plot{.title = "Pure linear attention, with attention transfer and without", .x_label = "updates of both stages",
                .y_label = "validation perplexity", .log_y = true};
  // Finetuning after a transfer starts where that ended.
  const auto add = [&]<class V>(std::type_identity<V>, const std::string& label, Index transfer_updates) {
    plot.curves.push_back(curve_of(label, perplexity_band(all.band<V>("finetune_loss"), transfer_updates),
                                   style_of(V::Attention::name(), transfer_updates == 0)));
  };
  (add(std::type_identity<Transferred<Map>>{}, Map::name() + ", transfer", study.procedure.transfer.max_updates), ...);
  (add(std::type_identity<Untransferred<Map>>{}, Map::name() + ", none", 0), ...);
  study.draw(plot);

  study.judge(all, [&](const Ablation& part) {
    const auto claim = [&]<class M>(std::type_identity<M>) {
      const double with = part.mean<Transferred<M>>("perplexity_at_0"), without = part.mean<Untransferred<M>>("perplexity_at_0");
      study.claim_below(M::name() + ": transfer beats none before finetuning", with, without);
      const double end = part.mean<Transferred<M>>("perplexity"), none = part.mean<Untransferred<M>>("perplexity");
      study.claim_below(M::name() + ": and at the end, where all had as many updates in both stages together", end, none, false);
      // Without transfer, after as many updates of stage 2 as the variant with transfer has.
      const Ablation::Band losses = part.band<Untransferred<M>>("finetune_loss");
      double equal = std::numeric_limits<double>::quiet_NaN();
      for (std::size_t i = 0; i < losses.x.size(); ++i) {
        if (losses.x[i] <= static_cast<double>(study.procedure.finetune.max_updates)) equal = std::exp(losses.y[i]);
      }
      study.claim_below(M::name() + ": and after as many updates of stage 2", end, equal, false);
    };
    (claim(std::type_identity<Map>{}), ...);
    const double hedgehog = part.mean<Transferred<Hedgehog<rank>>>("perplexity"), t2r = part.mean<Transferred<T2R<2 * rank>>>("perplexity");
    study.claim_below("with transfer, Hedgehog ends below T2R", hedgehog, t2r, false);
  });
}

int main(int argc, char** argv) {
  return run_study({.name = "feature_maps", .summary = "Table 1 and Figure 3: feature maps with and without attention transfer."}, argc, argv,
                   [](Study& study) { study_maps(study, Maps{}); });
}
