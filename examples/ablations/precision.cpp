// States, normalizers and masters in fp32 or in bf16.  Not in the paper, whose code trains in bf16 with fp32 attention.
//
// Decodes the validation text token by token and rounds the state S, the normalizer z or both to bf16 behind every
// token; and trains with parameters rounded to bf16 behind every update.  A sum in bf16 stops growing when its terms are
// below 1/256 of it, so look for: errors that grow with the distance from the start, worst without a window; and small
// updates that get lost.
#include "support/study.hpp"

#include <lolcats/generate/generate.hpp>

using namespace examples;

template <class... Changes>
using Pure = Variant<Linear<Hedgehog<rank>>, Lora<8>, Changes...>;
template <class... Changes>
using WithWindow = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>, Lora<8>, Changes...>;

struct Fp32 {
  static constexpr bool rounds = false;
};
struct Bf16 {
  static constexpr bool rounds = true;
};

template <Backend B>
void round_to_bf16(const B& backend, Array<B, Real<B>>& array) {
  if (!array) return;
  std::vector<Real<B>> values(static_cast<std::size_t>(array.size()));
  download(backend, array.data(), values.data(), array.size());
  for (auto& value : values) value = static_cast<float>(bf16(static_cast<float>(value)));
  upload(backend, values.data(), array.data(), array.size());
}

/// The loss at every position (mean over rows), and all normalizers at the end of the first row.
struct Decoded {
  std::vector<double> losses, normalizers;
};

/// Reads token by token with S and z kept in the given precisions.
template <class States, class Normalizers, class Model>
Decoded decode(Model& model, const DataSet& data, Index rows) {
  const Index count = std::min(rows, data.size());
  std::vector<std::vector<Index>> texts;
  for (Index row = 0; row < count; ++row) texts.push_back(data[row].tokens);
  const std::size_t length = texts[0].size();
  Reader reader(model, count);
  std::vector<double> losses(length - 1, 0.0);
  for (std::size_t at = 0; at + 1 < length; ++at) {
    TokenLists next;
    for (const auto& text : texts) next.push_back({text[at]});
    const auto logits = reader.read(next);
    for (Index row = 0; row < count; ++row) {
      const auto& scores = logits[static_cast<std::size_t>(row)];
      const double largest = *std::ranges::max_element(scores);
      double sum = 0;
      for (const double score : scores) sum += std::exp(score - largest);
      const double score = scores[static_cast<std::size_t>(texts[static_cast<std::size_t>(row)][at + 1])];
      losses[at] += (largest + std::log(sum) - score) / static_cast<double>(count);
    }
    for (Index layer = 0; layer < model.layer_count(); ++layer) {
      for (auto& slot : reader.state().layer(layer).slots) {
        if constexpr (States::rounds) round_to_bf16(model.backend(), slot.sums);
        if constexpr (Normalizers::rounds) round_to_bf16(model.backend(), slot.normalizer);
      }
    }
  }
  std::vector<double> normalizers;
  for (Index layer = 0; layer < model.layer_count(); ++layer) {
    auto& z = reader.state().layer(layer).slots[0].normalizer;
    std::vector<Real<Device>> values(static_cast<std::size_t>(z.size()));
    download(model.backend(), z.data(), values.data(), z.size());
    normalizers.insert(normalizers.end(), values.begin(), values.end());
  }
  return {losses, normalizers};
}

/// ||got - want|| / ||want||.
double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(difference / norm);
}

int main(int argc, char** argv) {
  return run_study({.name = "precision", .summary = "States, normalizers and masters in fp32 or bf16.", .quick_length = 192}, argc, argv,
                   [](Study& study) {
    const Index rows = 4;
    const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
      if (stage != Stage::finetuned || row.variant.ends_with(Bf16Masters::name())) return;
      std::vector<double> exact;
      const auto read = [&]<class States, class Normalizers>(const std::string& name, States, Normalizers) {
        const Decoded decoded = decode<States, Normalizers>(model, study.valid, rows);
        const auto& losses = decoded.losses;
        row.set("perplexity_" + name, std::exp(statistic_of(losses).mean));
        if (exact.empty()) exact = decoded.normalizers;
        row.set("normalizer_error_" + name, relative_error(decoded.normalizers, exact));
        // Over positions, in steps that smooth the noise of single tokens.
        Series series{"loss_" + name, {}, {}};
        const std::size_t step = std::max<std::size_t>(losses.size() / 16, 1);
        for (std::size_t at = 0; at + step <= losses.size(); at += step) {
          const auto first = losses.begin() + static_cast<std::ptrdiff_t>(at);
          series.x.push_back(static_cast<double>(at + step / 2));
          series.y.push_back(statistic_of({first, first + static_cast<std::ptrdiff_t>(step)}).mean);
        }
        row.series.push_back(std::move(series));
      };
      read("fp32", Fp32{}, Fp32{});
      read("bf16_states", Bf16{}, Fp32{});
      read("bf16_normalizers", Fp32{}, Bf16{});
      read("bf16_both", Bf16{}, Bf16{});
    };
    const Ablation all = study.run<Pure<>, Pure<Bf16Masters>, WithWindow<>, WithWindow<Bf16Masters>>(measure);
    study.report(all, {{"perplexity", "whole text"}, {"perplexity_fp32", "decoded, fp32"}, {"perplexity_bf16_states", "S in bf16"},
                       {"perplexity_bf16_normalizers", "z in bf16"}, {"perplexity_bf16_both", "both"},
                       {"normalizer_error_bf16_normalizers", "error of z", Best::none, 2}});

    LinePlot plot{.title = "Decoding with states in bf16, linear attention", .x_label = "tokens read", .y_label = "nats per token above fp32"};
    const Ablation::Band exact = all.band<Pure<>>("loss_fp32");
    for (const auto& [name, label] : {std::pair{"bf16_states", "S in bf16"}, {"bf16_normalizers", "z in bf16"}, {"bf16_both", "both in bf16"}}) {
      Ablation::Band band = all.band<Pure<>>(std::string("loss_") + name);
      for (std::size_t i = 0; i < band.y.size(); ++i) band.y[i] -= exact.y[i];
      plot.curves.push_back({label, band.x, band.y, {}, {}});
    }
    study.draw(plot);

    study.judge(all, [&](const Ablation& part) {
      const double fp32 = part.mean<Pure<>>("perplexity_fp32"), normalizers = part.mean<Pure<>>("perplexity_bf16_normalizers");
      study.claim("normalizers in bf16 cost more than 1% of perplexity", normalizers > 1.01 * fp32, against(normalizers, fp32), false);
      const double error = part.mean<Pure<>>("normalizer_error_bf16_normalizers");
      study.claim("normalizers in bf16 are off by more than 0.1% at the end of a row", error > 1e-3, significant(error, 2));
      const double both = part.mean<Pure<>>("perplexity_bf16_both");
      study.claim_above("states and normalizers in bf16 are worse than in fp32", both, fp32, false);
      const double masters = part.mean<Pure<Bf16Masters>>("perplexity"), whole = part.mean<Pure<>>("perplexity");
      study.claim_above("bf16 masters end worse than fp32 masters", masters, whole, false);
      const double decoded = part.mean<WithWindow<>>("perplexity_fp32");
      study.claim("decoding works at all", std::isfinite(decoded) && decoded < 100, significant(decoded, 4));
    });
  });
}
