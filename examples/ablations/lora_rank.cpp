// The rank of LoRA in stage 2 (Table 11).
//
// The paper, Llama 3 8B, q k v o, alpha = 2 r: the zero-shot average without MMLU falls from 74.5 at rank 4 to 72.7 at
// 256, with 74.2 at the default 8.  Look for: a small rank is enough, and a large one gains nothing.  All ranks share one
// attention transfer.
#include "support/study.hpp"

using namespace examples;

template <Index R>
using Rank = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>, Lora<R>>;

template <Index... R>
Ablation run(const Study& study, std::integer_sequence<Index, R...>) {
  return study.run<Rank<R>...>([](Stage stage, auto& model, AblationRow& row) {
    if (stage == Stage::finetuned) row.set("parameters", count_numbers(model.adapter_parameters()));
  });
}

template <Index... R>
Curve curve(const Ablation& all, std::integer_sequence<Index, R...>) {
  Curve c{"after finetuning"};
  for (const auto& [r, s] : {std::pair{R, all.statistic<Rank<R>>("perplexity")}...}) {
    c.x.push_back(static_cast<double>(r));
    c.y.push_back(s.mean);
    if (s.count < 2) continue;
    c.low.push_back(s.mean - s.spread);
    c.high.push_back(s.mean + s.spread);
  }
  return c;
}

int main(int argc, char** argv) {
  return run_study({.name = "lora_rank", .summary = "Table 11: the rank of LoRA, with alpha = 2 r."}, argc, argv, [](Study& study) {
    constexpr std::integer_sequence<Index, 4, 8, 16, 32, 64, 128, 256> ranks{};
    const Ablation all = run(study, ranks);
    study.report(all, {{"parameters", "LoRA parameters", Best::none}, {"perplexity_transferred", "transferred", Best::none}, {"perplexity", "finetuned"}});

    study.judge(all, [&](const Ablation& part) {
      const std::vector<double> y = curve(part, ranks).y;
      const double before = part.mean<Rank<8>>("perplexity_transferred"), lowest = std::ranges::min(y), highest = std::ranges::max(y);
      study.claim_below("rank 8 improves on attention transfer alone", y[1], before);
      study.claim_below("every rank does", highest, before, false);
      const double small = std::min(y[0], y[1]), large = std::min(y[5], y[6]);
      study.claim("ranks 128 and 256 gain nothing over 4 and 8", large >= small, against(large, small), false);
      study.claim("all ranks lie within 5% of perplexity", highest < 1.05 * lowest, against(highest, lowest), false);
    });
    study.draw(LinePlot{.title = "Rank of LoRA", .x_label = "rank", .y_label = "perplexity", .log_x = true, .curves = {curve(all, ranks)}});
  });
}
