// The error of attention after transfer: where it is, and what it costs (Figures 5, 6, 7).
//
// The paper: over a transfer, the error and the perplexity after finetuning fall together (Figure 5).  On Llama 3 8B the
// error of pure linear attention falls with the entropy of the softmax attention, from 0.0023 in the lowest of five bins to
// 0.0014 in the highest, a window lowers it in every bin (0.0015 to 0.0007), and it grows with the layer: 0.0075 in
// the last one, near 0 in the first four, with a window 0.0017 and less.  Look for: perplexity follows error, over all
// variants; the window removes error; the last layers have most of it.
#include "support/palette.hpp"
#include "support/study.hpp"

#include <lolcats/eval/attention_entropy.hpp>
#include <lolcats/eval/attention_error.hpp>

using namespace examples;

template <AttentionPolicy A>
struct Runs {
  using None = Variant<A, Lora<8>, TransferShare<0>>;
  using Some = Variant<A, Lora<8>, TransferShare<25>>;
  using All = Variant<A, Lora<8>, TransferShare<100>>;

  template <class Measure>
  static Ablation run(const Study& study, const Measure& measure) {
    return study.run<None, Some, All>(measure);
  }
  /// A point for each share and seed.
  static Curve points(const Ablation& all) {
    Curve curve{.label = A::name(), .style = style_of(A::name())};
    for (const std::string& name : {None::name(), Some::name(), All::name()}) {
      for (const AblationRow* row : all.of(name)) {
        curve.x.push_back(1000 * row->number("mse"));
        curve.y.push_back(row->number("perplexity"));
      }
    }
    return curve;
  }
  static void claims(Study& study, const Ablation& all) {
    const double before = all.mean<None>("mse"), after = all.mean<All>("mse");
    study.claim_below(A::name() + ": transfer lowers the error", after, before);
    const auto layers = all.band<All>("layers_transferred").y;
    if (layers.empty()) return;
    study.claim_above(A::name() + ": the last layer has more error than the first", layers.back(), layers.front(), false);
    study.claim(A::name() + ": and the most of all", layers.back() == std::ranges::max(layers),
                against(layers.back(), std::ranges::max(layers)), false);
    const auto bins = all.band<All>("entropy_transferred").y;
    study.claim_below(A::name() + ": there is less error where the attention is spread out", bins.back(), bins.front(), false);
  }
};

/// Pearson's, of logarithms: both errors and perplexities span decades.
double correlation(const std::vector<Curve>& curves) {
  std::vector<double> x, y;
  for (const Curve& curve : curves) {
    for (std::size_t i = 0; i < curve.x.size(); ++i) {
      x.push_back(std::log(curve.x[i]));
      y.push_back(std::log(curve.y[i]));
    }
  }
  const double mx = statistic_of(x).mean, my = statistic_of(y).mean;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
  }
  return xy / std::sqrt(xx * yy);
}

int main(int argc, char** argv) {
  return run_study({.name = "attention_error", .summary = "Figures 5, 6, 7: attention error by layer and entropy, and perplexity.",
                    .documents = 192}, argc, argv, [](Study& study) {
    using Pure = Runs<Linear<Hedgehog<rank>>>;
    using Blend = Runs<Hybrid<Hedgehog<rank>, Terraced<64>>>;
    using PureT2R = Runs<Linear<T2R<2 * rank>>>;
    using BlendT2R = Runs<Hybrid<T2R<2 * rank>, Terraced<64>>>;
    const std::vector<double> edges{0.25, 0.75, 1.5, 2.25, 3, 3.75, 4.5, 5.25};
    const DataSet few = first_rows(study.valid, 16);
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      if (stage == Stage::finetuned) return;
      const auto by_layer = attention_error(model, study.valid, study.batch);
      row.set("mse", by_layer.mean());
      row.series.push_back(by_index(std::string("layers_") + to_string(stage), by_layer.per_layer()));
      // Queries that a window leaves something to: the two tiles of the terrace are full.
      Series entropies{std::string("entropy_") + to_string(stage), {}, {}};
      for (const EntropyBin& bin : error_by_entropy(model, few, edges, 128, study.batch)) {
        if (bin.count < 100) continue;
        entropies.x.push_back((bin.low + bin.high) / 2);
        entropies.y.push_back(bin.mse);
      }
      row.series.push_back(std::move(entropies));
    };
    Ablation all = Pure::run(study, measure);
    all.append(Blend::run(study, measure));
    if (!study.quick) {
      all.append(PureT2R::run(study, measure));
      all.append(BlendT2R::run(study, measure));
    }
    study.report(all, {{"mse", "error of attention"}, {"perplexity", "perplexity, finetuned"}});

    LinePlot scatter{.title = "Attention error before finetuning, perplexity after it", .x_label = "mean squared error of attention x 1000",
                     .y_label = "perplexity", .log_x = true, .log_y = true, .markers_only = true};
    const auto points = [&](const Ablation& part) {
      std::vector<Curve> curves{Pure::points(part), Blend::points(part)};
      if (!study.quick) curves.insert(curves.end(), {PureT2R::points(part), BlendT2R::points(part)});
      return curves;
    };
    scatter.curves = points(all);
    study.draw(scatter);
    const auto plot = [&](const std::string& curve, const std::string& title, const std::string& x_label) {
      LinePlot lines{.title = title, .x_label = x_label, .y_label = "mean squared error"};
      const std::string pure = Pure::All::Attention::name(), blend = Blend::All::Attention::name();
      lines.curves = {curve_of("linear, untrained maps", all.band<Pure::None>(curve + "_swapped"), style_of(pure, true)),
                      curve_of("linear, transferred", all.band<Pure::All>(curve + "_transferred"), style_of(pure)),
                      curve_of("window and linear, untrained maps", all.band<Blend::None>(curve + "_swapped"), style_of(blend, true)),
                      curve_of("window and linear, transferred", all.band<Blend::All>(curve + "_transferred"), style_of(blend))};
      return lines;
    };
    study.draw(plot("layers", "Attention error by layer", "layer"), "layers");
    study.draw(plot("entropy", "Attention error by entropy of the softmax attention, queries from 128 on", "entropy, nats"), "entropy");

    study.judge(all, [&](const Ablation& part) {
      Pure::claims(study, part);
      Blend::claims(study, part);
      study.claim_below("a window lowers the error", part.mean<Blend::All>("mse"), part.mean<Pure::All>("mse"));
      const std::vector<Curve> curves = points(part);
      const double r = correlation(curves);
      study.claim("error and perplexity correlate over all variants", r > 0.5, fmt::format("r = {:.3f}", r));
      for (const Curve& curve : curves) {
        const double own = correlation({curve});
        study.claim(curve.label + ": and over its transfer", own > 0, fmt::format("r = {:.3f}", own), false);
      }
    });
  });
}
