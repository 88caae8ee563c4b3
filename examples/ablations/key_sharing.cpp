// Key maps per query head or per key/value head (grouped-query attention).  Not in the paper, whose code repeats keys.
//
// With one key map per key/value head, all query heads of a group read one state: it is as many times smaller as a group
// has heads.  Sharing one map between queries and keys halves what is learned, not the state.  Look for: what each costs
// in perplexity.
#include "support/study.hpp"

#include <lolcats/generate/generate.hpp>

using namespace examples;

template <class... Options>
using WithWindow = Variant<Hybrid<Hedgehog<rank>, Terraced<64>, Options...>>;
template <class... Options>
using Pure = Variant<Linear<Hedgehog<rank>, Options...>>;

int main(int argc, char** argv) {
  return run_study({.name = "key_sharing", .summary = "Key maps per query head, per group, or shared with the queries.", .seeds = 2}, argc, argv,
                   [](Study& study) {
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      if (stage != Stage::finetuned) return;
      row.set("map_parameters", count_numbers(model.transfer_parameters()));
      Reader reader(model, 1, 1);  // token by token: no room for a longer prompt is kept
      const auto& tokens = study.valid[0].tokens;
      reader.read({{tokens.begin(), tokens.end()}});
      row.set("state_bytes", static_cast<double>(reader.state().bytes()));
    };
    const Ablation all = study.run<WithWindow<>, WithWindow<KeyMapsPerGroup>, WithWindow<SharedMaps>, Pure<>, Pure<KeyMapsPerGroup>, Pure<SharedMaps>>(measure);
    study.report(all, {{"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}, {"map_parameters", "parameters of maps", Best::none, 6}, {"state_bytes", "state, bytes", Best::none, 6}});
    study.judge(all, [&](const Ablation& part) {
      if constexpr (in_host_memory<Device>) {  // the GPU keeps one state per query head either way
        const double heads = part.mean<Pure<>>("state_bytes"), groups = part.mean<Pure<KeyMapsPerGroup>>("state_bytes");
        study.claim_below("a state per group is smaller", groups, heads);
      }
      const auto cost = [&]<class One, class Other>(const std::string& text, std::type_identity<One>, std::type_identity<Other>) {
        const double one = part.mean<One>("perplexity"), other = part.mean<Other>("perplexity");
        study.claim(text, std::abs(one / other - 1) < 0.02, against(one, other), false);
      };
      cost("with a window, key maps per group cost less than 2% of perplexity", std::type_identity<WithWindow<KeyMapsPerGroup>>{}, std::type_identity<WithWindow<>>{});
      cost("without one, too", std::type_identity<Pure<KeyMapsPerGroup>>{}, std::type_identity<Pure<>>{});
    });

    BarPlot plot{"Who shares a map", "perplexity after finetuning", false, {"per query head", "keys per group", "queries and keys"},
                 {bars_of<WithWindow<>, WithWindow<KeyMapsPerGroup>, WithWindow<SharedMaps>>("terraced window", all),
                  bars_of<Pure<>, Pure<KeyMapsPerGroup>, Pure<SharedMaps>>("no window", all)}};
    study.draw(plot);
  });
}
