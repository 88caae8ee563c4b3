// Pictures of attention weights: softmax, what learned to imitate it, and what did not (Figures 13 to 20).
//
// The paper shows such pictures of Llama 3 8B and Mistral 7B, heads 0 to 3 of five layers, and gives no numbers.  Look for:
// the diagonal, columns (keys that all queries read), and how empty the rest is; untrained maps spread their weight over
// all keys, transferred ones choose, and pure linear attention misses the diagonal.
//
// One picture for each of three layers: a row for each head, a column for each attention.  Hybrids are transferred by the
// error of outputs (MSE) and by the cross-entropy of weights (XENT), pure Hedgehog by the former.  The numbers are
// distances from the softmax weights, sum_j |a_nj - b_nj| / 2, of queries with keys beyond the window: 0 is the same, 1
// has nothing in common.  The window has 16 tokens here, so that the maps have something to do within the picture.
#include "support/study.hpp"

#include <lolcats/eval/attention_map.hpp>

using namespace examples;

constexpr Index window = 16, tokens = 96;
using Blend = Hybrid<Hedgehog<rank>, Terraced<window>>;
using ByOutput = Variant<Blend, Lora<8>, NoFinetune>;
using ByWeights = Variant<Blend, Lora<8>, WeightCrossEntropy, NoFinetune>;
using Pure = Variant<Linear<Hedgehog<rank>>, Lora<8>, NoFinetune>;

std::string series_name(Stage stage, const LayerHead& at) {
  return fmt::format("{}, layer {}, head {}", to_string(stage), at.layer, at.head);
}

/// The mean distance between two maps, of queries that have keys beyond the window.
double distance(const AttentionMap& a, const AttentionMap& b) {
  double sum = 0;
  for (Index n = 2 * window; n < a.size; ++n) {
    for (Index j = 0; j <= n; ++j) {
      const auto at = static_cast<std::size_t>(n * a.size + j);
      sum += 0.5 * std::abs(a.weights[at] - b.weights[at]);
    }
  }
  return sum / static_cast<double>(a.size - 2 * window);
}

/// A map as a curve of its rows' past, rounded to what a picture shows; and back.
Series flat(const std::string& name, const AttentionMap& map) {
  Series series{name, {}, {}};
  for (Index n = 0; n < map.size; ++n) {
    for (Index j = 0; j <= n; ++j) {
      series.y.push_back(std::round(1e5 * map.weights[static_cast<std::size_t>(n * map.size + j)]) / 1e5);
    }
  }
  return series;
}
HeatPanel panel(const std::string& title, const std::vector<double>& past) {
  HeatPanel heat{title, tokens, tokens, std::vector<double>(tokens * tokens, 0.0)};
  auto next = past.begin();
  for (Index n = 0; n < tokens; ++n) {
    for (Index j = 0; j <= n && next != past.end(); ++j) heat.values[static_cast<std::size_t>(n * tokens + j)] = *next++;
  }
  return heat;
}

int main(int argc, char** argv) {
  return run_study({.name = "attention_maps", .summary = "Figures 13 to 20: pictures of attention weights.", .quick_batch = 4}, argc, argv,
                   [](Study& study) {
    auto text = study.valid[0].tokens;
    text.resize(static_cast<std::size_t>(tokens));
    const Index last = study.teacher.layer_count() - 1, heads = std::min<Index>(4, study.teacher.config().heads);
    std::vector<Index> layers{0, last / 2, last};
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    std::vector<LayerHead> chosen;
    for (const Index layer : layers) {
      for (Index head = 0; head < heads; ++head) chosen.push_back({layer, head});
    }
    auto untrained = convert<Llama<Device, Blend, Lora<8>>>(study.teacher);
    const auto teacher = teacher_attention_maps(untrained, text, chosen);

    const Ablation all = study.run<ByOutput, ByWeights, Pure>([&](Stage stage, auto& model, AblationRow& row) {
      const auto maps = attention_maps(model, text, chosen);
      double sum = 0;
      for (std::size_t i = 0; i < maps.size(); ++i) {
        row.series.push_back(flat(series_name(stage, chosen[i]), maps[i]));
        sum += distance(maps[i], teacher[i]);
      }
      row.set(std::string("distance_") + to_string(stage), sum / static_cast<double>(maps.size()));
    });
    study.report(all, {{"distance_swapped", "distance, untrained", Best::none}, {"distance_transferred", "after transfer"},
                       {"perplexity_swapped", "perplexity, untrained", Best::none}, {"perplexity_transferred", "after transfer"}});

    for (const Index layer : layers) {
      HeatPlot plot{.title = fmt::format("Attention weights, layer {}", layer), .x_label = "key", .y_label = "query",
                    .value_label = "weight", .columns = 5, .log_color = true};
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        const LayerHead& at = chosen[i];
        if (at.layer != layer) continue;
        const auto add = [&]<class V>(std::type_identity<V>, Stage stage, const char* title) {
          const auto rows = all.of(V::name());
          const Series* past = rows.empty() ? nullptr : rows.front()->curve(series_name(stage, at));
          plot.panels.push_back(panel(fmt::format("{}, head {}", title, at.head), past ? past->y : std::vector<double>{}));
        };
        plot.panels.push_back(panel(fmt::format("softmax, head {}", at.head), flat("", teacher[i]).y));
        add(std::type_identity<ByOutput>{}, Stage::transferred, "MSE");
        add(std::type_identity<ByWeights>{}, Stage::transferred, "XENT");
        add(std::type_identity<Pure>{}, Stage::transferred, "linear");
        add(std::type_identity<ByOutput>{}, Stage::swapped, "untrained");
      }
      // Below a thousandth is white: a logarithmic scale would spend its colours on it.
      for (HeatPanel& heat : plot.panels) {
        for (double& value : heat.values) value = value > 0 ? std::max(value, 1e-3) : 0;
      }
      study.draw(plot, fmt::format("layer{}", layer));
    }

    study.judge(all, [&](const Ablation& part) {
      const double start = part.mean<ByOutput>("distance_swapped"), output = part.mean<ByOutput>("distance_transferred");
      const double weights = part.mean<ByWeights>("distance_transferred"), pure = part.mean<Pure>("distance_transferred");
      study.claim_below("weights of the hybrid are nearer to softmax after transfer than before", output, start, false);
      study.claim_below("by cross-entropy of the weights, too", weights, start);
      study.claim_below("and nearer than by the error of outputs", weights, output, false);
      study.claim_above("pure linear attention is farther from softmax than the hybrid", pure, output);
    });
  });
}
