// How far keys are remembered, at equal bytes of decoding state: a window with sinks, which is the control, sums that do or do
// not forget, a memory that corrects what it wrote, and caches that keep some far keys as they are.  Not in the paper.
//
// The budget is what 128 keys and values take, a quarter of softmax at 512 tokens; a second one is twice that.  Sums, gates and
// scores are counted: on the built-in teacher the sums of Hedgehog take as much as 18 keys.
// Look for: what recalls facts from beyond the windows, and whether any of it costs perplexity.
#include "support/study.hpp"

#include <lolcats/eval/fit_scores.hpp>
#include <lolcats/eval/recall.hpp>
#include <lolcats/generate/generate.hpp>

using namespace examples;

template <Index Near>
using Control = Variant<Softmax<Sinks<4, Sliding<Near>>>>;
template <Index Near, Index Far>
using Cached = Variant<Softmax<Sinks<4, Sliding<Near>>, lolcats::Kept<Far, LearnedScore>>>;
template <Index Near, class... Memory>
using Summed = Variant<Hybrid<Hedgehog<rank>, Sinks<4, Sliding<Near>>, Memory...>>;

using Remembering = Cached<60, 56>;
using RememberingMore = Cached<60, 176>;
using Forgetting = Summed<98, Decay<HeadGate>>;
using Correcting = Summed<106, DeltaRule<>>;
using Both = Summed<56, lolcats::Kept<40, RecallError>>;

int main(int argc, char** argv) {
  return run_study({.name = "memory", .summary = "Memories at equal bytes of decoding state.", .quick_length = 384}, argc, argv, [](Study& study) {
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      using Student = std::remove_reference_t<decltype(model)>;
      if constexpr (projects_scores<MemoryOf<typename Student::Attention>>) {
        if (stage == Stage::swapped) fit_scores(model, first_rows(study.train, 96), {.rows = study.batch});
      }
      if (stage != Stage::finetuned) return;
      if (study.built_in()) {
        const auto recall = recall_by_distance(model, study.documents, {65, 129, 257}, study.batch);
        for (const RecallBin& bin : recall.bins) row.set(fmt::format("recall_{}", bin.first), bin.accuracy());
      }
      Reader reader(model, 1, 1);  // token by token: no room for a longer prompt is kept
      const auto& tokens = study.valid[0].tokens;
      reader.read({{tokens.begin(), tokens.end()}});
      row.set("state_bytes", static_cast<double>(reader.state().bytes()));
    };
    const Ablation all = study.run<Variant<Softmax<>>, Control<124>, Remembering, Summed<106>, Forgetting, Correcting, Both, Control<252>, RememberingMore>(measure);
    std::vector<Column> columns{{"state_bytes", "state, bytes", Best::none, 6}, {"perplexity", "perplexity"}};
    if (study.built_in()) {
      for (const auto& [number, title] : {std::pair{"recall_65", "recall 65-128"}, {"recall_129", "129-256"}, {"recall_257", "257+"}}) {
        columns.push_back({number, title, Best::highest, 3});
      }
    }
    study.report(all, columns);

    BarPlot plot{"Recall from 129 tokens and more", "share of facts recalled", false, {"softmax", "control", "kept", "sums", "decay", "delta", "sums, kept", "control x 2", "kept x 2"},
                 {bars_of<Variant<Softmax<>>, Control<124>, Remembering, Summed<106>, Forgetting, Correcting, Both, Control<252>, RememberingMore>("129 to 256", all, "recall_129"),
                  bars_of<Variant<Softmax<>>, Control<124>, Remembering, Summed<106>, Forgetting, Correcting, Both, Control<252>, RememberingMore>("257 and more", all, "recall_257")}};
    if (study.built_in()) study.draw(plot);
    study.judge(all, [&](const Ablation& part) {
      const double budget = part.mean<Control<124>>("state_bytes");
      for (const auto& [name, bytes] : {std::pair{"kept", part.mean<Remembering>("state_bytes")}, {"sums", part.mean<Summed<106>>("state_bytes")},
                                        {"decay", part.mean<Forgetting>("state_bytes")},
                                        {"delta", part.mean<Correcting>("state_bytes")}, {"sums, kept", part.mean<Both>("state_bytes")}}) {
        study.claim(fmt::format("{} takes no more than the control", name), bytes <= 1.01 * budget, against(bytes, budget));
      }
      if (!study.built_in()) return;
      study.claim_above("a cache recalls more from 129 to 256 tokens than a window of its bytes", part.mean<Remembering>("recall_129"), part.mean<Control<124>>("recall_129"), false);
      study.claim_above("and from 257 on, with twice the bytes", part.mean<RememberingMore>("recall_257"), part.mean<Control<252>>("recall_257"), false);
    });
  });
}
