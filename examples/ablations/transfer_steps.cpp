// How much attention transfer is enough (Table 16, Figures 11 and 12), in and out of distribution.
//
// The paper, Llama 3 8B, transferred for 0 to 1800 updates on Alpaca, then 2000 updates of LoRA: perplexity 3.21 without
// transfer, 2.80 after 200 updates and 2.78 after 1800; on RedPajama, which it was not trained on, 61.3, 10.5 and 9.4.
// Look for: the first updates of transfer bring nearly all of it, and most of it out of distribution.  Here the number
// of updates is given in percent of what the command line asks for; the other text has its facts nearer by, or is
// --other-valid.  A longer transfer goes on from a shorter one.
#include "support/study.hpp"

using namespace examples;

template <Index Percent>
using After = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>, Lora<8>, TransferShare<Percent>>;

template <Index... Percent>
void compare(Study& study) {
  const bool other = study.other_valid.size() > 0;
  const Ablation all = study.run<After<Percent>...>([&](Stage stage, auto& model, AblationRow& row) {
    if (other) row.set(std::string("other_") + to_string(stage), perplexity(model, study.other_valid, study.batch).perplexity);
  });
  std::vector<Column> columns{{"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}};
  if (other) columns.insert(columns.end(), {{"other_transferred", "other text, transferred"}, {"other_finetuned", "other text, finetuned"}});
  study.report(all, columns);

  study.judge(all, [&](const Ablation& part) {
    const auto gains = [&](const std::string& text, const char* number) {
      const double none = part.mean<After<0>>(number), some = part.mean<After<25>>(number), whole = part.mean<After<100>>(number);
      study.claim_below(text + "transfer before finetuning beats none", whole, none, false);
      study.claim(text + "the first quarter brings more than the other three", none - some > std::max(some - whole, 0.0),
                  against(none - some, some - whole), false);
      return none / whole;
    };
    const double brief = part.mean<After<12>>("perplexity_transferred"), lengthy = part.mean<After<200>>("perplexity_transferred");
    study.claim_below("a longer transfer makes a better student before finetuning", lengthy, brief);
    const double here = gains("", "perplexity");
    if (other) {
      const double there = gains("other text: ", "other_finetuned");
      study.claim_above("transfer matters more out of distribution (none / whole)", there, here, false);
    }
  });

  LinePlot curves{.title = "Finetuning after attention transfer", .x_label = "updates of both stages", .y_label = "perplexity"};
  const auto add = [&]<Index P>(std::integral_constant<Index, P>) {
    const Index before = TransferShare<P>::updates(study.procedure);
    curves.curves.push_back(curve_of(TransferShare<P>::name(), perplexity_band(all.band<After<P>>("finetune_loss"), before)));
  };
  (add(std::integral_constant<Index, Percent>{}), ...);
  study.draw(curves);

  LinePlot steps{.title = "Perplexity after both stages", .x_label = "updates of attention transfer", .y_label = "perplexity", .log_y = true};
  const std::vector<double> x{static_cast<double>(TransferShare<Percent>::updates(study.procedure))...};
  steps.curves.push_back({"the text trained on", x, {all.mean<After<Percent>>("perplexity")...}});
  if (other) steps.curves.push_back({"another text", x, {all.mean<After<Percent>>("other_finetuned")...}});
  study.draw(steps, "steps");
}

int main(int argc, char** argv) {
  return run_study({.name = "transfer_steps", .summary = "Table 16, Figures 11 and 12: updates of attention transfer before finetuning."},
                   argc, argv, compare<0, 12, 25, 50, 100, 200>);
}
