// Which branch of the hybrid works: the window or the linear part.  Not in the paper.
//
// Measures the share of attention on keys inside the window, per layer and head, and the perplexity of the finetuned
// student with one of its branches switched off (same maps, same adapter).  A student that never misses its linear part
// has learned to live in the window; dropping the window at random in training should force the maps to carry more.
// Look for: how little the linear part is missed, and what dropping the window changes about that.
#include "support/study.hpp"

#include <lolcats/eval/window_mass.hpp>

using namespace examples;

using Map = Hedgehog<rank>;
using Near = Terraced<64>;
template <class... Options>
using Student = Variant<Hybrid<Map, Near, Options...>>;
using Whole = Student<>;
using Tenth = Student<WindowDropout<Ratio{1, 10}>>;
using Half = Student<WindowDropout<Ratio{1, 2}>>;

/// The mass inside the window as one curve per layer, over heads.
void add_heads(AblationRow& row, const PerHead& mass) {
  for (std::size_t layer = 0; layer < mass.values.size(); ++layer) {
    row.series.push_back(by_index(fmt::format("window_mass_{}", layer), mass.values[layer]));
  }
}

HeatPanel panel_of(const Study& study, const std::string& title, const std::function<std::vector<double>(Index layer)>& line) {
  HeatPanel panel{title, study.teacher.layer_count(), study.teacher.config().heads, {}};
  for (Index layer = 0; layer < panel.rows; ++layer) {
    const auto values = line(layer);
    panel.values.insert(panel.values.end(), values.begin(), values.end());
  }
  return panel;
}

int main(int argc, char** argv) {
  return run_study({.name = "branch_use", .summary = "Window or linear part: what a hybrid's branches carry.", .seeds = 2, .quick_length = 256}, argc, argv,
                   [](Study& study) {
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      if (stage != Stage::finetuned) return;
      auto window_alone = convert<Llama<Device, Softmax<Near>, Lora<8>>>(model);
      auto linear_alone = convert<Llama<Device, Linear<Map>, Lora<8>>>(model);
      row.set("window_alone", perplexity(window_alone, study.valid, study.batch).perplexity);
      row.set("linear_alone", perplexity(linear_alone, study.valid, study.batch).perplexity);
      const PerHead mass = window_mass(model, study.valid, study.batch);
      row.set("window_mass", mass.mean());
      add_heads(row, mass);
    };
    const Ablation all = study.run<Whole, Tenth, Half>(measure);
    study.report(all, {{"perplexity", "both branches"}, {"window_alone", "window alone"}, {"linear_alone", "linear part alone"},
                       {"window_mass", "attention inside the window", Best::none, 3}});

    auto student = convert<Llama<Device, Hybrid<Map, Near>>>(study.teacher);
    const PerHead teacher = teacher_window_mass(student, study.valid, Near{}, study.batch);
    HeatPlot plot{.title = "Share of the attention on keys inside the window", .x_label = "head", .y_label = "layer", .value_label = "share", .columns = 2};
    plot.panels.push_back(panel_of(study, "softmax teacher", [&](Index layer) { return teacher.values[static_cast<std::size_t>(layer)]; }));
    const auto add = [&]<class V>(const std::string& title, std::type_identity<V>) {
      plot.panels.push_back(panel_of(study, title, [&](Index layer) { return all.band<V>(fmt::format("window_mass_{}", layer)).y; }));
    };
    add("student", std::type_identity<Whole>{});
    add("window dropped in 1 of 10 steps", std::type_identity<Tenth>{});
    add("window dropped in half of the steps", std::type_identity<Half>{});
    study.draw(plot);

    study.judge(all, [&](const Ablation& part) {
      const double both = part.mean<Whole>("perplexity"), window = part.mean<Whole>("window_alone"), linear = part.mean<Whole>("linear_alone");
      study.claim_below("the window alone is nearer to both than the linear part alone", window, linear);
      study.claim_above("the linear part is needed: the window alone is worse than both", window, both, false);
      const double dropped = part.mean<Half>("linear_alone");
      study.claim_below("dropping the window in training makes the linear part alone better", dropped, linear);
      study.claim("and the whole no worse", part.mean<Half>("perplexity") <= both, against(part.mean<Half>("perplexity"), both), false);
    });
  });
}
