// Golden fixtures of single operations.
#include "handlers.hpp"
#include "operations.hpp"

#include <lolcats/model/rope_frequencies.hpp>
#include <lolcats/nn/projection.hpp>

#include <doctest/doctest.h>

#include <algorithm>

namespace golden {

namespace {

/// x of any rank as a matrix, wanting its gradient.
template <class B>
struct Input {
  Array<B> values;
  Var<B> var;
  Input(Tape<B>& tape, const std::vector<double>& numbers, Index cols)
      : values(testing::array<B>(Shape{static_cast<Index>(numbers.size()) / cols, cols}, numbers)),
        var(tape.variable(View<const Scalar<B>>(values.view()))) {}
};

}  // namespace

void rms_norm(Fixture& f) {
  on_every_backend([&]<class B>(B) {
    Tape<B> tape;
    const Input<B> x(tape, f.numbers("in.x"), f.shape("in.x").cols());
    auto w = trained<B>(f, "param.weight");
    const auto y = lolcats::rms_norm<B>(tape, x.var, w, f.number("eps", 1e-5));
    check<B>(f, "out.y", y.value());
    pull<B>(tape, y, f.numbers("dout.y"));
    check<B>(f, "grad.x", x.var.gradient());
    check<B>(f, "grad.weight", w.gradient());
  });
}

void rope(Fixture& f) {
  const Shape shape = f.shape("in.x");  // (B, H, N, d)
  const auto positions = f.integers("in.positions");
  const auto frequencies = rope_frequencies(rope_config(f, "theta"), shape[3]);
  check<Cpu<double>>(f, "out.frequencies", frequencies);
  // Positions need not follow each other: each row is a sequence of its own.
  std::vector<Extent> extents;
  for (Index b = 0; b < shape[0]; ++b) {
    for (Index n = 0; n < shape[2]; ++n)
      extents.push_back({b * shape[2] + n, 1, positions[static_cast<std::size_t>(n)]});
  }
  const Sequences sequences(shape[0] * shape[2], extents);
  on_every_backend([&]<class B>(B) {
    const RopeTable<B> table(frequencies, *std::max_element(positions.begin(), positions.end()) + 1);
    const auto cos = numbers_of<B>(table.cos()), sin = numbers_of<B>(table.sin());
    std::vector<double> cosines, sines;  // (N, d): the planes twice
    for (const Index position : positions) {
      for (Index i = 0; i < shape[3]; ++i) {
        const Index at = position * (shape[3] / 2) + i % (shape[3] / 2);
        cosines.push_back(cos[static_cast<std::size_t>(at)]);
        sines.push_back(sin[static_cast<std::size_t>(at)]);
      }
    }
    check<B>(f, "out.cos", cosines);
    check<B>(f, "out.sin", sines);
    Tape<B> tape;
    const Input<B> x(tape, f.rows("in.x"), shape[1] * shape[3]);
    const auto y = lolcats::rope(tape, x.var, sequences, table);
    check_rows<B>(f, "out.y", y.value());
    pull<B>(tape, y, f.rows("dout.y"));
    check_rows<B>(f, "grad.x", x.var.gradient());
  });
}

void rope_frequencies_only(Fixture& f) {
  check<Cpu<double>>(f, "out.frequencies",
                     rope_frequencies(rope_config(f, "theta"), static_cast<Index>(f.number("head_dim", 0))));
}

void swiglu(Fixture& f) {
  on_every_backend([&]<class B>(B) {
    Tape<B> tape;
    const Input<B> x(tape, f.numbers("in.x"), f.shape("in.x").cols());
    auto gate = trained<B>(f, "param.gate"), up = trained<B>(f, "param.up"), down = trained<B>(f, "param.down");
    const auto inner = lolcats::swiglu(tape, linear<B>(tape, x.var, gate), linear<B>(tape, x.var, up));
    const auto y = linear<B>(tape, inner, down);
    check<B>(f, "out.y", y.value());
    pull<B>(tape, y, f.numbers("dout.y"));
    check<B>(f, "grad.x", x.var.gradient());
    check<B>(f, "grad.gate", gate.gradient());
    check<B>(f, "grad.up", up.gradient());
    check<B>(f, "grad.down", down.gradient());
  });
}

void cross_entropy(Fixture& f) {
  on_every_backend([&]<class B>(B) {
    // The operation takes hidden states and a head; with the identity for a head, the hidden states are the logits.
    const Index vocabulary = f.shape("in.logits").cols();
    std::vector<double> one(static_cast<std::size_t>(vocabulary * vocabulary));
    for (Index i = 0; i < vocabulary; ++i) one[static_cast<std::size_t>(i * vocabulary + i)] = 1;
    const Parameter<B> head(testing::array<B>(Shape{vocabulary, vocabulary}, one));
    const auto labels = f.integers("in.labels");
    const auto supervised =
        static_cast<double>(labels.size()) - static_cast<double>(std::count(labels.begin(), labels.end(), -100));
    Tape<B> tape;
    const Input<B> logits(tape, f.numbers("in.logits"), vocabulary);
    const auto loss = lolcats::cross_entropy<B>(tape, logits.var, head, labels, 1 / supervised);
    check_number<B>(f, "out.loss", item(tape, loss));
    tape.backward(loss);
    check<B>(f, "grad.logits", logits.var.gradient());
  });
}

void lora_linear(Fixture& f) {
  const double scale = f.number("alpha", 1) / f.number("rank", 1);
  on_every_backend([&]<class B>(B) {
    const Index cols = f.shape("in.x").cols();
    {
      Tape<B> tape;
      const Input<B> x(tape, f.numbers("in.x"), cols);
      auto w = trained<B>(f, "param.weight"), a = trained<B>(f, "param.lora_A"), b = trained<B>(f, "param.lora_B");
      const auto y = lolcats::lora_linear<B>(tape, x.var, w, a, b, scale, 0.0, 0);
      check<B>(f, "out.y", y.value());
      pull<B>(tape, y, f.numbers("dout.y"));
      check<B>(f, "grad.x", x.var.gradient());
      check<B>(f, "grad.weight", w.gradient());
      check<B>(f, "grad.lora_A", a.gradient());
      check<B>(f, "grad.lora_B", b.gradient());

      FileLora::rank = a.shape()[0];
      FileLora::alpha = f.number("alpha", 1);
      Projection<B, FileLora, Projections::q> projection(B{}, w.shape()[1], w.shape()[0], 0, 0);
      projection.visit_base("", [&](const std::string&, const Shape&, Parameter<B>& p) { p = w; });
      projection.visit_adapter("", [&](const std::string& name, const Shape&, Parameter<B>& p) {
        p = name.find("lora_A") != std::string::npos ? a : b;
      });
      projection.merge(B{});
      check<B>(f, "out.merged", projection.weight().value());
    }
    {
      // The mask is given, so the adapter's path is composed of operations on the masked input.
      std::vector<double> masked = f.numbers("in.x");
      const auto mask = f.numbers("in.mask");
      for (std::size_t i = 0; i < masked.size(); ++i) masked[i] *= mask[i];
      Tape<B> tape;
      const Input<B> x(tape, f.numbers("in.x"), cols), low(tape, masked, cols);
      auto w = trained<B>(f, "param.weight"), a = trained<B>(f, "param.lora_A"), b = trained<B>(f, "param.lora_B");
      const auto y = add(tape, linear<B>(tape, x.var, w),
                         lolcats::scale(tape, linear<B>(tape, linear<B>(tape, low.var, a), b), scale));
      check<B>(f, "out.y_dropout", y.value());
      pull<B>(tape, y, f.numbers("dout.y"));
      auto dx = numbers_of<B>(x.var.gradient());
      const auto dlow = numbers_of<B>(low.var.gradient());
      for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += mask[i] * dlow[i];
      check<B>(f, "grad.x.dropout", dx);
      check<B>(f, "grad.lora_A.dropout", a.gradient());
      check<B>(f, "grad.lora_B.dropout", b.gradient());
    }
  });
}

}  // namespace golden
