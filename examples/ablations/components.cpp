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
    BarSeries series{Map::name(), {}, {}};
    const auto add = [&]<class... V>(std::type_identity<V>...) {
      (series.values.push_back(all.statistic<V>("perplexity").mean), ...);
      (series.spread.push_back(all.statistic<V>("perplexity").spread), ...);
    };
    add(std::type_identity<Swap>{}, std::type_identity<Transfer>{}, std::type_identity<WindowTransfer>{}, std::type_identity<WindowOnly>{});
    return series;
  }

  static void claims(Study& study, const Ablation& all) {
    const double swap = all.mean<Swap>("perplexity"), transfer = all.mean<Transfer>("perplexity");
    const double both = all.mean<WindowTransfer>("perplexity"), window = all.mean<WindowOnly>("perplexity");
    study.claim(Map::name() + ": transfer beats none", transfer < swap, against(transfer, swap), false);
    study.claim(Map::name() + ": with a window, too", both < window, against(both, window), false);
    study.claim(Map::name() + ": window and transfer are the best of the four", both < std::min({swap, transfer, window}),
                against(both, std::min({swap, transfer, window})));
  }
};

int main(int argc, char** argv) {
  return run_study({.name = "components", .summary = "Table 6: feature map, attention transfer and window, one by one."}, argc, argv,
                   [](Study& study) {
    using H = Components<Hedgehog<rank>>;
    using T = Components<T2R<2 * rank>>;
    Ablation all = H::run(study);
    all.append(T::run(study));
    study.report(all, {{"perplexity_swapped", "swapped", Best::none}, {"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}});
    H::claims(study, all);
    T::claims(study, all);
    study.claim("without transfer, T2R with a window is worse than Hedgehog with one",
                all.mean<T::WindowOnly>("perplexity") > all.mean<H::WindowOnly>("perplexity"),
                against(all.mean<T::WindowOnly>("perplexity"), all.mean<H::WindowOnly>("perplexity")), false);
    study.draw(BarPlot{"Components of the method", "perplexity after finetuning", false,
                       {"swap", "+ transfer", "+ window, transfer", "+ window only"}, {H::bars(all), T::bars(all)}});
  });
}
