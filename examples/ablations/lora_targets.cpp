// The projections that LoRA adapts in stage 2 (Table 12): all 15 subsets of q, k, v and o.
//
// The paper, Llama 3 8B, r 8, zero-shot average of five tasks: k 72.3, q 72.7, o 74.1, v 74.2 alone; with v or o in it
// every subset lies between 73.7 and 74.5.  (It has no row for q v o.)  Look for: v or o alone beats q or k alone, and
// what comes on top gains little.  All subsets share one attention transfer.
#include "support/study.hpp"

using namespace examples;

template <unsigned Bits>
using On = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>, Lora<8, Targets(Bits)>>;

constexpr unsigned bit(Projections projection) { return static_cast<unsigned>(projection); }

int main(int argc, char** argv) {
  return run_study({.name = "lora_targets", .summary = "Table 12: which of q, k, v, o LoRA adapts."}, argc, argv,
                   [](Study& study) { [&]<unsigned... I>(std::integer_sequence<unsigned, I...>) {
    const Ablation all = study.run<On<I + 1>...>();
    study.report(all, {{"perplexity_transferred", "transferred", Best::none}, {"perplexity", "finetuned"}});

    study.judge(all, [&](const Ablation& part) {
      const std::vector<double> means{0.0, part.mean<On<I + 1>>("perplexity")...};  // by bits; 0 is no subset
      using enum Projections;
      const double worst_of_vo = std::max(means[bit(v)], means[bit(o)]), best_of_qk = std::min(means[bit(q)], means[bit(k)]);
      study.claim_below("v or o alone beats q or k alone", worst_of_vo, best_of_qk, false);
      const double transferred = part.mean<On<1>>("perplexity_transferred"), every = means[qkvo.bits];
      study.claim_below("q k v o improves on attention transfer alone", every, transferred);
      const double best_single = std::min({means[bit(q)], means[bit(k)], means[bit(v)], means[bit(o)]});
      study.claim("q k v o is at least as good as the best single projection", every <= best_single, against(every, best_single), false);
      double without = 1e300, with = 0;  // v or o
      for (unsigned bits = 1; bits < means.size(); ++bits) {
        double& side = bits & (bit(v) | bit(o)) ? with : without;
        side = bits & (bit(v) | bit(o)) ? std::max(side, means[bits]) : std::min(side, means[bits]);
      }
      study.claim_below("every subset with v or o beats every subset without", with, without, false);
    });

    study.draw(BarPlot{"Targets of LoRA", "perplexity after finetuning", false, {to_string(Targets(I + 1))...}, {bars_of<On<I + 1>...>("", all)}});
  }(std::make_integer_sequence<unsigned, 15>()); });
}
