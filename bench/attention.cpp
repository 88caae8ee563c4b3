// The attention operation alone: time and memory per token of its forward pass and of both kinds of backward pass.
//
// forward: nothing recorded.  inputs: forward, then the gradients of q, k and v, as finetuning needs them.
// learned: forward, then the gradients of maps and gamma, as attention transfer needs them.
// Prints a line of JSON for every policy, pass and length.
#include "support/flops.hpp"
#include "support/measure.hpp"
#include "support/program.hpp"

#include <lolcats/lolcats.hpp>

#include <CLI/CLI.hpp>

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using namespace bench;
using lolcats::Hedgehog, lolcats::Hybrid, lolcats::Linear, lolcats::Sliding, lolcats::Softmax, lolcats::T2R, lolcats::Terraced;

template <class... A>
struct Policies {};
using Small = Policies<Hybrid<Hedgehog<8>, Terraced<64>>, Hybrid<Hedgehog<8>, Sliding<16>>, Linear<Hedgehog<8>>,
                       Hybrid<T2R<16>, Terraced<64>>, Softmax<>>;
using Large = Policies<Hybrid<Hedgehog<64>, Terraced<64>>, Linear<Hedgehog<64>>, Softmax<>>;

struct Options {
  std::string shape = "small";
  std::vector<Index> lengths{512, 2048, 8192};
  Index tokens = 8192;
  Index warmup = 2;
  Index repeats = 15;

  lolcats::Heads heads() const { return shape == "small" ? lolcats::Heads{8, 4, 8} : lolcats::Heads{8, 2, 128}; }
};

lolcats::Array<Device> random_rows(Index rows, Index cols, std::uint64_t stream) {
  lolcats::Array<Device> x(lolcats::Shape{rows, cols});
  lolcats::Rng rng(1, stream);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(rng.normal());
  return x;
}

/// A line for each pass.
template <lolcats::AttentionPolicy A>
void run(Index length, const Options& o) {
  const lolcats::Heads heads = o.heads();
  const auto sequences = lolcats::Sequences::rectangular(std::max<Index>(1, o.tokens / length), length);
  const Index tokens = sequences.rows();
  const auto q = random_rows(tokens, heads.queries * heads.size, 0), k = random_rows(tokens, heads.keys * heads.size, 1),
             v = random_rows(tokens, heads.keys * heads.size, 2);
  lolcats::AttentionLayer<Device, A> layer(Device{}, heads, 0, 0, 0);
  std::vector<lolcats::Parameter<Device>*> learned;
  layer.visit_maps("", [&](const std::string&, const lolcats::Shape&, lolcats::Parameter<Device>& p) { learned.push_back(&p); });
  const AttentionFlops flops = attention_flops<A>(layer.window(), heads.queries, heads.size, length);

  const auto measure = [&](const char* pass, double flops_per_token, auto&& work) {
    lolcats::Tape<Device> tape;
    const Samples samples = repeat(o.warmup, o.repeats, [&] {
      const lolcats::Tape<Device>::Scope scope(tape);
      work(tape);
    });
    Json line{{"bench", "attention"}, {"policy", A::name()}, {"pass", pass}, {"heads", heads.queries}, {"kv_heads", heads.keys},
              {"head_size", heads.size}, {"batch", sequences.count()}, {"length", length}, {"threads", lolcats::max_threads()}};
    line.update(samples.json());
    const double seconds = samples.median(), count = static_cast<double>(tokens);
    line.update({{"nanoseconds_per_token", 1e9 * seconds / count},
                 {"tape_bytes_per_token", static_cast<double>(tape.peak_bytes()) / count},
                 {"flops_per_token", flops_per_token},
                 {"gflops", 1e-9 * flops_per_token * count / seconds}});
    print(line);
  };

  measure("forward", flops.forward, [&](lolcats::Tape<Device>& tape) {
    const lolcats::Tape<Device>::NoGradient quiet(tape);
    layer(tape, {tape.constant(q.view()), tape.constant(k.view()), tape.constant(v.view())}, sequences);
  });
  measure("inputs", flops.forward + flops.inputs, [&](lolcats::Tape<Device>& tape) {
    tape.backward(sum(tape, layer(tape, {tape.variable(q.view()), tape.variable(k.view()), tape.variable(v.view())}, sequences)));
  });
  if (learned.empty()) return;
  for (auto* p : learned) p->train(Device{});
  measure("learned", flops.forward + flops.learned, [&](lolcats::Tape<Device>& tape) {
    tape.backward(sum(tape, layer(tape, {tape.constant(q.view()), tape.constant(k.view()), tape.constant(v.view())}, sequences)));
  });
}

template <class... A>
void run_all(const Options& o, Policies<A...>) {
  const auto lengths = [&]<class One>(std::type_identity<One>) {
    for (const Index length : o.lengths) run<One>(length, o);
  };
  (lengths(std::type_identity<A>{}), ...);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Times the attention operation alone; one line of JSON for every policy, pass and length.", "bench_attention"};
  app.add_option("--shape", o.shape, "small: 8 query heads, 4 key/value heads of 8; large: 8 and 2 of 128")
      ->check(CLI::IsMember({"small", "large"}))->capture_default_str();
  app.add_option("--length", o.lengths, "tokens per sequence; several")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_option("--tokens", o.tokens, "tokens per call, over all sequences")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--warmup", o.warmup, "calls before the clock starts")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--repeats", o.repeats, "calls to take the median of")->check(CLI::PositiveNumber)->capture_default_str();
  return run_program(app, argc, argv, [&] {
    if (o.shape == "small") run_all(o, Small{});
    else run_all(o, Large{});
  });
}
