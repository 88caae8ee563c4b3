// Golden fixtures of optimisation and data.
#include "handlers.hpp"
#include "operations.hpp"

#include <lolcats/data/instructions.hpp>
#include <lolcats/data/packing.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/gradients.hpp>
#include <lolcats/train/schedule.hpp>

#include <doctest/doctest.h>

#include <cmath>

namespace golden {

void adamw(Fixture& f) {
  on_every_backend([&]<class B>(B) {
    const Index steps = f.shape("in.grads")[0], size = f.shape("param.x").size();
    const auto gradients = f.numbers("in.grads");
    for (const bool clipped : {false, true}) {
      auto x = trained<B>(f, "param.x");
      const Parameters<B> parameters{{"x", &x}};
      AdamW<B> optimizer(B{}, parameters,
                         {.beta1 = f.number("beta1", 0),
                          .beta2 = f.number("beta2", 0),
                          .epsilon = f.number("eps", 0),
                          .weight_decay = f.number("weight_decay", 0)});
      std::vector<double> trajectory, norms;
      for (Index t = 0; t < steps; ++t) {
        B{}.from_host(gradients.data() + t * size, x.gradient().data, size);
        if (clipped) norms.push_back(clip_by_global_norm(B{}, parameters, f.number("max_norm", 1)));
        optimizer.step(f.number("lr", 0));
        for (const double value : numbers_of<B>(x.value())) trajectory.push_back(value);
      }
      check<B>(f, clipped ? "out.x_clipped" : "out.x", trajectory);
      if (clipped) check<B>(f, "out.norms", norms);
    }
  });
}

void reduce_on_plateau(Fixture& f) {
  ReduceOnPlateau policy{.factor = f.number("factor", 0),
                         .patience = static_cast<int>(f.number("patience", 0)),
                         .floor = f.number("min_lr", 0),
                         .threshold = f.number("threshold", 0)};
  ReduceOnPlateau::State state(policy, f.number("lr", 0), 0);
  std::vector<double> rates;
  for (const double metric : f.numbers("in.metric")) {
    state.observe(metric);
    rates.push_back(state.rate(0));
  }
  check<Cpu<double>>(f, "out.lr", rates);
}

namespace {

/// One token per row, with a given loss: two classes with logits (0, x), the first one right, so log(1 + exp x).
template <class B>
struct ModelOfLosses {
  using Device = B;
  Array<B> x, table;

  explicit ModelOfLosses(const std::vector<double>& losses) {
    std::vector<double> logits;
    for (const double loss : losses) logits.push_back(std::log(std::expm1(loss)));
    x = testing::array<B>(Shape{static_cast<Index>(losses.size()), 1}, logits);
    table = testing::array<B>(Shape{2, 1}, {0, 1});
  }
  B backend() const { return {}; }
  Weight<B> head() const { return {table.view(), {}}; }
  Var<B> hidden(Tape<B>& tape, std::span<const Index> tokens, const Sequences&) const {
    // A token is its own row number.
    return tape.constant(View<const Scalar<B>>(x.view()).row_range(tokens.front(), static_cast<Index>(tokens.size())));
  }
};

struct OneTokenRows {
  Index count = 0;
  Index size() const { return count; }
  Batch batch(std::span<const Index> rows) const {
    return {{rows.begin(), rows.end()},
            std::vector<Index>(rows.size(), 0),
            Sequences::rectangular(static_cast<Index>(rows.size()), 1)};
  }
};

std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const auto from = text.find(before) + before.size();
  return text.substr(from, text.find(after, from) - from);
}

}  // namespace

void packing(Fixture& f) {
  const auto ids = f.integers("in.ids"), labels = f.integers("in.labels"), lengths = f.integers("in.lengths");
  std::vector<Sample> samples;
  auto id = ids.begin();
  auto label = labels.begin();
  for (const Index length : lengths) {
    samples.push_back({{id, id + length}, {label, label + length}});
    id += length;
    label += length;
  }
  std::vector<Index> packed_ids, packed_labels;
  for (const Row& row : pack(samples, static_cast<Index>(f.number("length", 0)))) {
    packed_ids.insert(packed_ids.end(), row.tokens.begin(), row.tokens.end());
    packed_labels.insert(packed_labels.end(), row.labels.begin(), row.labels.end());
  }
  f.check_integers("out.ids", packed_ids);
  f.check_integers("out.labels", packed_labels);

  const std::string plain = f.text("prompt_plain"), with_input = f.text("prompt_input");
  CHECK(alpaca_prompt(between(plain, "### Instruction:\n", "\n\n### Response")) == plain);
  CHECK(alpaca_prompt(between(with_input, "### Instruction:\n", "\n\n### Input"),
                      between(with_input, "### Input:\n", "\n\n### Response")) == with_input);

  on_every_backend([&]<class B>(B) {
    ModelOfLosses<B> model(f.numbers("in.losses"));
    const Perplexity p = perplexity(model, OneTokenRows{model.x.size()}, 3);
    check_number<B>(f, "out.perplexity", p.perplexity);
    check_number<B>(f, "out.perplexity_logged", p.mean_of_sequences);
  });
}

}  // namespace golden
