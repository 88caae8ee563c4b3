// Decoding speed and memory against batch and context, beside the softmax teacher (Figure 8).
//
// The paper, Llama 3 8B on one H100 with 4096 new tokens: FlashAttention-2 runs out of memory beyond a batch of 32 at 1020
// tokens/s; the linearized model goes on to a batch of 2048 and 3020 tokens/s in about 30 GiB.  Look for: a state that
// does not grow with the context, a speed that does not fall with it, and how many sequences a budget holds.
//
// What the maps have learned changes neither, so nothing is trained.  Each point reads a context, then times single
// steps behind it.
#include "support/palette.hpp"
#include "support/study.hpp"

#include <lolcats/generate/generate.hpp>

using namespace examples;

/// Of decoding states.  A model whose states would not fit has run out of memory.
constexpr double megabytes = 256;
/// Tokens of a context that are read at once.  Room for them stays in the state, so a tile's worth is enough.
constexpr Index prefill_chunk = 64;

struct Point {
  Index batch, context;
  std::string text() const { return fmt::format("{} x {}", batch, context); }
};

/// Bytes of the states of one sequence after `context` tokens.
template <class Model>
double state_bytes(Model& model, const std::vector<Index>& text, Index context) {
  Reader<Model> reader(model, 1, prefill_chunk);
  reader.read_greedily({{text.begin(), text.begin() + static_cast<std::ptrdiff_t>(context)}});
  return static_cast<double>(reader.state().bytes());
}

template <class Model>
Ablation measure(const Study& study, const std::vector<Point>& points) {
  auto model = convert<Model>(study.teacher);
  std::vector<Index> text;  // long enough for the longest context
  for (Index row = 0; text.size() < 1 << 14; row = (row + 1) % study.valid.size()) {
    const auto tokens = study.valid[row].tokens;
    text.insert(text.end(), tokens.begin(), tokens.end());
  }
  Ablation all;
  for (const Point& point : points) {
    AblationRow row;
    row.group = point.text();
    row.variant = Model::Attention::name();
    row.recipe = {{"backend", std::string(Device::name())}, {"batch", fmt::format("{}", point.batch)},
                  {"context", fmt::format("{}", point.context)}, {"prefill_chunk", fmt::format("{}", prefill_chunk)},
                  {"budget_mebibytes", fmt::format("{}", megabytes)}, {"seconds", "median of up to 64 steps"}};
    const double one = state_bytes(model, text, point.context);
    row.set("state_bytes", one);
    row.set("most_sequences", std::floor(megabytes * 1024 * 1024 / one));
    row.set("total_megabytes", one * static_cast<double>(point.batch) / 1024 / 1024);
    if (row.number("total_megabytes") > megabytes) {
      row.status = fmt::format("out of memory: {} sequences of {} tokens take {:.0f} MiB of {}", point.batch, point.context,
                               row.number("total_megabytes"), megabytes);
    } else {
      Reader<Model> reader(model, point.batch, prefill_chunk);
      const std::vector<Index> prompt(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(point.context));
      auto next = reader.read_greedily(TokenLists(static_cast<std::size_t>(point.batch), prompt));
      std::vector<double> seconds;  // of steps; their median is that of an undisturbed machine
      for (double total = 0; seconds.size() < 64 && (seconds.size() < 5 || total < 2); total += seconds.back()) {
        TokenLists tokens;
        for (const Index token : next) tokens.push_back({token});
        const auto start = std::chrono::steady_clock::now();
        next = reader.read_greedily(tokens);
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      }
      std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
      row.set("tokens_per_second", static_cast<double>(point.batch) / seconds[seconds.size() / 2]);
    }
    fmt::print(stderr, "{}, {}: {}\n", row.variant, point.text(),
               row.done() ? significant(row.number("tokens_per_second"), 4) + " tokens/s" : row.status);
    all.rows.push_back(std::move(row));
  }
  return all;
}

int main(int argc, char** argv) {
  return run_study({.name = "generation", .summary = "Figure 8: decoding speed and memory against batch and context.",
                    .documents = 8}, argc, argv, [](Study& study) {
    using Hedgehogs = Hybrid<Hedgehog<rank>, Terraced<64>>;
    using Pure = Linear<Hedgehog<rank>>;
    const std::vector<Index> batches = study.quick ? std::vector<Index>{1, 16} : std::vector<Index>{1, 4, 16, 64, 256};
    const std::vector<Index> contexts = study.quick ? std::vector<Index>{256, 1024} : std::vector<Index>{256, 1024, 4096, 16384};
    const Index context = study.quick ? 1024 : 4096, batch = 4;
    std::vector<Point> points;
    for (const Index n : contexts) points.push_back({batch, n});
    for (const Index n : batches) {
      if (n != batch) points.push_back({n, context});
    }
    Ablation all = measure<Llama<Device>>(study, points);
    all.append(measure<Llama<Device, Hedgehogs>>(study, points));
    all.append(measure<Llama<Device, Pure>>(study, points));
    study.report(all, {{"tokens_per_second", "tokens/s", Best::highest}, {"state_bytes", "bytes per sequence"},
                       {"total_megabytes", "MiB in all"}, {"most_sequences", fmt::format("sequences in {} MiB", megabytes), Best::highest}});

    const std::vector<std::string> names{Softmax<>::name(), Hedgehogs::name(), Pure::name()};
    const auto curve = [&](const std::string& name, const std::vector<Index>& xs, bool by_batch, const char* number) {
      Curve line{.label = name, .style = style_of(name)};
      for (const Index x : xs) {
        line.x.push_back(static_cast<double>(x));
        line.y.push_back(all.statistic(name, number, by_batch ? Point{x, context}.text() : Point{batch, x}.text()).mean);
      }
      return line;
    };
    const auto plot = [&](bool by_batch, const char* number, const std::string& y_label, const char* suffix) {
      LinePlot lines{.title = by_batch ? fmt::format("Decoding behind {} tokens", context) : fmt::format("Decoding {} sequences", batch),
                     .x_label = by_batch ? "sequences decoded at once" : "tokens of context", .y_label = y_label, .log_x = true, .log_y = true};
      for (const std::string& name : names) lines.curves.push_back(curve(name, by_batch ? batches : contexts, by_batch, number));
      study.draw(lines, suffix);
    };
    plot(true, "tokens_per_second", fmt::format("tokens/s, up to {} MiB of states", megabytes), "");
    plot(false, "tokens_per_second", "tokens/s", "context");
    plot(false, "state_bytes", "bytes of state per sequence", "state");

    const auto at = [&](const std::string& name, const char* number, Index n) {
      return all.statistic(name, number, Point{batch, n}.text()).mean;
    };
    const Index near = contexts.front(), far = contexts.back();
    for (const std::string& name : {Hedgehogs::name(), Pure::name()}) {
      study.claim(name + ": the state does not grow with the context", at(name, "state_bytes", near) == at(name, "state_bytes", far),
                  against(at(name, "state_bytes", near), at(name, "state_bytes", far)) + " bytes");
      const double speed = at(name, "tokens_per_second", far), teacher = at(Softmax<>::name(), "tokens_per_second", far);
      study.claim(fmt::format("{}: decodes faster than softmax behind {} tokens", name, far), !(teacher >= speed), against(speed, teacher), false);
      study.claim(name + ": the speed does not fall with the context", speed > 0.7 * at(name, "tokens_per_second", near),
                  against(speed, at(name, "tokens_per_second", near)), false);
    }
    const double more = at(Hedgehogs::name(), "most_sequences", far), fewer = at(Softmax<>::name(), "most_sequences", far);
    study.claim_above(fmt::format("a budget holds more sequences of {} tokens", far), more, fewer);
  });
}
