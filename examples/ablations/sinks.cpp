// Attention sinks: how many keys at the start of a sequence stay near, beside a window alone, which forgets the rest, and beside
// one with a linear part.  Not in the paper.
//
// All students read at most 64 keys exactly: k sinks and the latest 64 - k.  Xiao et al. (arXiv:2309.17453) find that LLMs put
// much of their attention on the first keys, and that a window without them fails.
// Look for: how much of the teacher's attention a sink holds, whether a few sinks are worth more than as many keys of the window,
// above all before training, and whether a linear part stands in for them.
#include "support/study.hpp"

#include <lolcats/eval/window_mass.hpp>

using namespace examples;

inline constexpr Index near_keys = 64;

template <Index Count>
struct NearKeys {
  using Window = Sinks<Count, Sliding<near_keys - Count>>;
};
template <>
struct NearKeys<0> {
  using Window = Sliding<near_keys>;
};

template <Index Count>
using Bare = Variant<Softmax<typename NearKeys<Count>::Window>>;
template <Index Count>
using Summed = Variant<Hybrid<Hedgehog<rank>, typename NearKeys<Count>::Window>>;

template <Index... Counts>
void compare(Study& study) {
  Ablation all = study.run<Bare<Counts>..., Summed<Counts>...>();
  const auto add_mass = [&]<Index Count>() {
    const double mass = teacher_window_mass(study.teacher, first_rows(study.valid, 32), typename NearKeys<Count>::Window{}, study.batch).mean();
    for (AblationRow& row : all.rows) {
      if (row.variant == Bare<Count>::name() || row.variant == Summed<Count>::name()) row.set("near_mass", mass);
    }
  };
  (add_mass.template operator()<Counts>(), ...);
  study.report(all, {{"near_mass", "teacher's attention on near keys", Best::highest, 3}, {"perplexity_swapped", "swapped"},
                     {"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}});

  study.judge(all, [&](const Ablation& part) {
    const double none = part.mean<Bare<0>>("perplexity"), four = part.mean<Bare<4>>("perplexity"), sixteen = part.mean<Bare<16>>("perplexity");
    const double summed_none = part.mean<Summed<0>>("perplexity"), summed_four = part.mean<Summed<4>>("perplexity");
    study.claim_above("4 sinks hold more of the teacher's attention than the 4 keys at the window's end", part.mean<Bare<4>>("near_mass"), part.mean<Bare<0>>("near_mass"));
    study.claim_below("a window alone, untrained: 4 sinks are better than none", part.mean<Bare<4>>("perplexity_swapped"), part.mean<Bare<0>>("perplexity_swapped"));
    study.claim_below("a window alone, finetuned: 4 sinks are better than none", four, none, false);
    study.claim_above("a window alone, finetuned: 16 sinks are no better than 4", sixteen, four, false);
    study.claim_below("with sinks, too, attention transfer improves on the swap", part.mean<Summed<4>>("perplexity_transferred"), part.mean<Summed<4>>("perplexity_swapped"));
    study.claim_below("with a linear part, finetuned: 4 sinks are better than none", summed_four, summed_none, false);
    study.claim_below("with a linear part, 4 sinks matter less than without one", std::abs(std::log(summed_four / summed_none)), std::abs(std::log(four / none)), false);
  });

  study.draw(BarPlot{"Sinks among 64 near keys", "perplexity", false, {fmt::format("{} sinks", Counts)...},
                     {bars_of<Bare<Counts>...>("window, untrained", all, "perplexity_swapped"), bars_of<Bare<Counts>...>("window, finetuned", all),
                      bars_of<Summed<Counts>...>("Hedgehog + window, transferred", all, "perplexity_transferred"),
                      bars_of<Summed<Counts>...>("Hedgehog + window, finetuned", all)}});
}

int main(int argc, char** argv) {
  return run_study({.name = "sinks", .summary = "Attention sinks: how many, beside a window alone and beside one with a linear part."}, argc, argv,
                   compare<0, 1, 4, 16>);
}
