// Which part of the method does what (Table 6).
//
// The paper, Llama 3 8B, zero-shot average: swapping the attention and finetuning gives 44.2 with Hedgehog and 38.8 with
// T2R; attention transfer before that 55.3 and 54.8; transfer with a window 70.7 and 68.3; the window without transfer
// 68.8 and 39.5.  Look for: window and transfer together are the best of the four; without transfer T2R needs more than
// a window.
#include "support/study.hpp"

using namespace examples;

template <FeatureMap Map>
struct Components {
  using Swap = Variant<Linear<Map>, Lora<8>, NoTransfer>;
  using Transfer = Variant<Linear<Map>>;
  using WindowTransfer = Variant<Hybrid<Map, Terraced<64>>>;
  using WindowOnly = Variant<Hybrid<Map, Terraced<64>>, Lora<8>, NoTransfer>;

  static Ablation run(const Study& study) { return study.run<Swap, Transfer, WindowTransfer, WindowOnly>(); }

  static BarSeries bars(const Ablation& all) {
    return bars_of<Swap, Transfer, WindowTransfer, WindowOnly>(Map::name(), all);
  }

  static void claims(Study& study, const Ablation& all) {
    const double swap = all.mean<Swap>("perplexity"), transfer = all.mean<Transfer>("perplexity");
    const double both = all.mean<WindowTransfer>("perplexity"), window = all.mean<WindowOnly>("perplexity");
    study.claim_below(Map::name() + ": transfer beats none", transfer, swap, false);
    study.claim_below(Map::name() + ": with a window, too", both, window, false);
    study.claim_below(Map::name() + ": window and transfer are the best of the four", both, std::min({swap, transfer, window}));
  }
};

int main(int argc, char** argv) {
  return run_study({.name = "components", .summary = "Table 6: feature map, attention transfer and window, one by one.", .quick_batch = 4}, argc, argv,
                   [](Study& study) {
    using H = Components<Hedgehog<rank>>;
    using T = Components<T2R<2 * rank>>;
    Ablation all = H::run(study);
    all.append(T::run(study));
    study.report(all, {{"perplexity_swapped", "swapped", Best::none}, {"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}});
    study.judge(all, [&](const Ablation& part) {
      H::claims(study, part);
      T::claims(study, part);
      study.claim_above("without transfer, T2R with a window is worse than Hedgehog with one",
                        part.mean<T::WindowOnly>("perplexity"), part.mean<H::WindowOnly>("perplexity"), false);
    });
    study.draw(BarPlot{"Components of the method", "perplexity after finetuning", false,
                       {"swap", "+ transfer", "+ window, transfer", "+ window only"}, {H::bars(all), T::bars(all)}});
  });
}
