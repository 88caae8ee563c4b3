// The window of exact attention (Table 13, Figure 9): its width, sliding or in terraces.
//
// The paper, Llama 3 8B, zero-shot average without MMLU: sliding windows of 4, 16, 64 and 256 keys 73.3, 74.1, 74.3 and
// 73.6; terraces of 64 over two tiles (65 to 128 keys) 74.2.  Look for: wider is better up to 64, the most by the first
// steps, and both shapes of 64 are alike.  Terraces of one tile are what the paper's kernel describes.
#include "support/study.hpp"

using namespace examples;

template <Window W>
using With = Variant<Hybrid<Hedgehog<rank>, W>>;

/// Keys that a query reads exactly, on average.
template <Window W>
double near_keys(Index length) {
  double keys = 0;
  for (Index n = 0; n < length; ++n) keys += static_cast<double>(n + 1 - W{}.begin(n));
  return keys / static_cast<double>(length);
}

/// "sliding 4", "terraced 64, 1": as short as bars are narrow.
template <Window W>
std::string label() {
  std::string text = W::name();
  text.pop_back();
  return text.replace(text.find('<'), 1, " ");
}

template <Window... W>
void compare(Study& study) {
  Ablation all = study.run<With<W>...>();
  const auto count_keys = [&]<Window V>(std::type_identity<V>) {
    for (AblationRow& row : all.rows) {
      if (row.variant == With<V>::name()) row.set("near", near_keys<V>(study.length));
    }
  };
  (count_keys(std::type_identity<W>{}), ...);
  study.report(all, {{"near", "keys read exactly", Best::none, 3}, {"perplexity_swapped", "swapped"},
                     {"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}});

  study.judge(all, [&](const Ablation& part) {
    const double w4 = part.mean<With<Sliding<4>>>("perplexity"), w16 = part.mean<With<Sliding<16>>>("perplexity");
    const double w64 = part.mean<With<Sliding<64>>>("perplexity"), w256 = part.mean<With<Sliding<256>>>("perplexity");
    const double two = part.mean<With<Terraced<64>>>("perplexity"), one = part.mean<With<Terraced<64, 1>>>("perplexity");
    study.claim_below("sliding: 16 keys are better than 4", w16, w4, false);
    study.claim_below("sliding: 64 keys are better than 4", w64, w4);
    study.claim_below("sliding: 64 keys are better than 16", w64, w16, false);
    study.claim_above("sliding: 256 keys are worse than 64", w256, w64, false);
    study.claim("terraces of 64 over two tiles are within 3% of sliding 64", std::abs(two / w64 - 1) < 0.03, against(two, w64), false);
    study.claim_below("two tiles are better than one", two, one, false);
  });

  study.draw(BarPlot{"The window", "perplexity", false, {label<W>()...},
                     {bars_of<With<W>...>("after transfer", all, "perplexity_transferred"), bars_of<With<W>...>("after finetuning", all)}});
}

int main(int argc, char** argv) {
  return run_study({.name = "window", .summary = "Table 13: the window's width, sliding or in terraces.", .quick_length = 320}, argc, argv,
                   compare<Sliding<4>, Sliding<16>, Sliding<64>, Sliding<256>, Terraced<64>, Terraced<64, 1>>);
}
