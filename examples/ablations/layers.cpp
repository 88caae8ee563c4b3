// How many layers keep the teacher's softmax, and which: by what the swap of each alone costs, by spacing, at random.  Not in the
// paper.
//
// All share one attention transfer of all layers; then the chosen layers get their softmax back and stage 2 trains the adapter.
// Look for: how fast the gap to softmax closes with the number of layers kept, and whether it matters which they are.
#include "support/study.hpp"

#include <lolcats/eval/layer_sensitivity.hpp>
#include <lolcats/eval/recall.hpp>

using namespace examples;

using Student = Llama<Device, PerLayer<Softmax<>, Hybrid<Hedgehog<rank>, Terraced<64>>>, Lora<8>>;

/// A choice of layers, by its rule.
struct Choice {
  std::string by;
  std::vector<Index> kept;
  std::string text() const { return kept.empty() ? "none kept" : fmt::format("{} kept, {}", kept.size(), by); }
};

std::vector<Choice> choices(const LayerSensitivity& sensitivity, std::uint64_t seed, bool quick) {
  const auto layers = static_cast<Index>(sensitivity.swapped.size());
  std::vector<Choice> all{{"", {}}};
  for (Index count = 1; count < layers; count *= 2) {
    all.push_back({"by sensitivity", most_sensitive_layers(sensitivity, count)});
    if (quick && count > 1) continue;
    all.push_back({"by spacing", spaced_layers(layers, count)});
    all.push_back({"at random", random_layers(layers, count, seed)});
  }
  all.push_back({"all", spaced_layers(layers, layers)});
  return all;
}

int main(int argc, char** argv) {
  return run_study({.name = "layers", .summary = "Layers that keep their softmax: how many, and which.", .seeds = 2}, argc, argv, [](Study& study) {
    const Index layers = study.teacher.layer_count();
    Ablation all;
    LinePlot plot{.title = "What the swap of one layer costs", .x_label = "layer", .y_label = "divergence from the teacher, nats per token", .log_y = true};
    for (const std::uint64_t seed : study.seeds) {
      auto transferred = convert<Student>(study.teacher, seed);
      TransferRecipe<> first = study.procedure.transfer;
      FinetuneRecipe<> second = study.procedure.finetune;
      first.seed = second.seed = seed;
      study.keep_state(first, Student::Attention::name());
      const AblationOptions options = study.options();
      transfer_attention(transferred, study.train, study.valid, first, options.progress);
      const LayerSensitivity sensitivity = layer_sensitivity(transferred, first_rows(study.valid, 32), {.rows = study.batch, .kept = true});
      for (const auto& [label, swaps] : {std::pair{"student in this layer alone", &sensitivity.swapped}, {"softmax in this layer alone", &sensitivity.kept}}) {
        Curve curve{fmt::format("{}, seed {}", label, seed)};
        for (Index i = 0; i < layers; ++i) {
          curve.x.push_back(static_cast<double>(i));
          curve.y.push_back((*swaps)[static_cast<std::size_t>(i)].divergence);
        }
        plot.curves.push_back(std::move(curve));
      }
      for (const Choice& choice : choices(sensitivity, seed, study.quick)) {
        auto model = convert<Student>(transferred, seed, keeping_layers(layers, choice.kept));
        AblationRow row;
        row.variant = choice.text();
        row.seed = seed;
        row.recipe = {{"attention", Student::Attention::name()}, {"kept", fmt::format("{}", fmt::join(choice.kept, " "))},
                      {"transfer.learning_rate", fmt::format("{}", first.learning_rate)},
                      {"finetune.learning_rate", fmt::format("{}", second.learning_rate)}};
        row.set("perplexity_transferred", perplexity(model, study.valid, study.batch).perplexity);
        study.keep_state(second, fmt::format("{} kept {}", first.checkpoint.stem().string(), fmt::join(choice.kept, " ")));
        finetune(model, study.train, study.valid, second, options.progress);
        row.set("perplexity", perplexity(model, study.valid, study.batch).perplexity);
        if (study.built_in()) row.set("recall_far", recall_by_distance(model, study.documents, {10, 129}, study.batch).bins[1].accuracy());
        fmt::print(stderr, "{} ({}): perplexity {:.4f}\n", row.variant, fmt::join(choice.kept, ", "), row.number("perplexity"));
        all.rows.push_back(std::move(row));
      }
    }
    std::vector<Column> columns{{"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}};
    if (study.built_in()) columns.push_back({"recall_far", "recall 129+", Best::highest, 3});
    study.report(all, columns);
    study.draw(plot);
    study.judge(all, [&](const Ablation& part) {
      const auto mean = [&](const std::string& variant, const char* number = "perplexity") { return part.statistic(variant, number).mean; };
      const std::string every = fmt::format("{} kept, all", layers), most = "1 kept, by sensitivity";
      study.claim_below("softmax in all layers is better than in none, before stage 2", mean(every, "perplexity_transferred"), mean("none kept", "perplexity_transferred"));
      study.claim_below("one layer kept by sensitivity is better than none", mean(most), mean("none kept"), false);
      study.claim_below("one layer kept by sensitivity is better than one by spacing", mean(most), mean("1 kept, by spacing"), false);
      study.claim_below("one layer kept by sensitivity is better than one at random", mean(most), mean("1 kept, at random"), false);
    });
  });
}
