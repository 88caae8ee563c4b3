// Times attention on the GPU: LoLCATs students, softmax, and decoding over a key/value cache.
//
//   bench_attention_cuda [--op hybrid|students|softmax|sinks|delta|decode ...] [--head 128] [--window W] [--repeats 20]
//                        [sequences x tokens ...]
//
//   hybrid    Hedgehog 64 over terraces of 64: forward, with row statistics saved (as training does) and without; with the
//             backward pass of either stage
//   students  the same of five other pairs of map and window
//   softmax   forward and forward + backward, over everything or a sliding window
//   sinks     softmax over the last 124 keys, and hybrid, both without sinks and beside four of them
//   delta     the delta rule over 128 features, a state per query head and a state per key/value head: forward, with what training
//             keeps and without, and with the backward pass
//   decode    one query per sequence over `tokens` keys each
//
// 32 query and 8 key/value heads, bf16, fresh normal inputs, three sets in turn, the median between CUDA events after
// warming up.  Prints a line of JSON per measurement, named as bench/peers_cuda.py names the same in PyTorch;
// bench/gpu_table.py makes tables of both, and bench/profile_cuda.py runs this program under ncu.
//
// `floor` is the share of the time that the least arithmetic at 745 TFLOP/s, or the least traffic at 4.2 TB/s, would take:
// what an H200 reaches in large products and in copies.
#include "support/cuda_timing.cuh"
#include "support/program.hpp"

#include <lolcats/ops/attention/hopper/backward.cuh>
#include <lolcats/ops/attention/hopper/forward.cuh>
#include <lolcats/ops/attention/hopper/softmax_backward.cuh>
#include <lolcats/ops/attention/softmax_decode.cuh>
#include <lolcats/ops/delta_rule/cuda.cuh>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

using namespace lolcats;
using bench::milliseconds, bench::normal;

namespace {

using B = bench::Gpu;
constexpr double flops_per_second = 745e12, bytes_per_second = 4.2e12;

struct Shape2 {
  Index sequences, tokens;
};

/// One line; `more` are further fields, each with a comma before it.
void report(const std::string& op, const Shape2& shape, double ms, const std::string& more) {
  fmt::print(
      "{{\"op\": \"{}\", \"shape\": \"{}x{}\", \"implementation\": \"lolcats\", \"ms\": {:.4f}, \"device\": "
      "\"{}\"{}}}\n",
      op, shape.sequences, shape.tokens, ms, cuda::device().name, more);
  std::fflush(stdout);
}
std::string field(const char* name, double value) { return fmt::format(", \"{}\": {:.3f}", name, value); }

std::vector<Array<B>> sets_of(const Shape& shape, double deviation = 1) {
  std::vector<Array<B>> sets;
  for (int i = 0; i < bench::input_sets; ++i) sets.push_back(normal(shape, deviation));
  return sets;
}

template <class Map, class W>
void measure_hybrid(const Shape2& shape, int repeats) {
  constexpr Index H = 32, G = 8, D = 128, f = Map::projected, F = Map::count * f;
  const Index M = shape.sequences * shape.tokens;
  const Sequences batch = Sequences::rectangular(shape.sequences, shape.tokens);
  const double deviation = 1.4 / std::sqrt(static_cast<double>(D));
  const auto q = sets_of({M, H * D}), k = sets_of({M, G * D}), v = sets_of({M, G * D}), dy = sets_of({M, H * D}),
             query_map = sets_of({H, D, f}, deviation), key_map = sets_of({H, D, f}, deviation), bias = sets_of({H, f}),
             factors = sets_of({H});
  auto y = sets_of({M, H * D});
  Array<B, float> largest({M, H}), inverse({M, H});
  Array<B, std::int32_t> largest_at({M, H});

  // Per token and query head: two maps, the state's update and its use, scores and values of whole tiles of 64 keys.
  const double keys = W::has_near ? 64.0 * (1 + hopper::forward_pass::WindowTiles<W>::lag) : 64.0;
  const double flops = static_cast<double>(M * H) * (4.0 * D * f + 4.0 * F * D + 4.0 * D * keys);
  const double bytes = 2.0 * static_cast<double>(M * D * (2 * H + 2 * G));
  const double floor = 1e3 * std::max(flops / flops_per_second, bytes / bytes_per_second);
  const std::string student =
      std::is_same_v<Map, Hedgehog<64>> && std::is_same_v<W, Terraced<64>> ? "hybrid" : Map::name() + ", " + W::name();
  const auto print = [&](const std::string& what, double ms) { report(student + " " + what, shape, ms, ""); };
  const auto print_forward = [&](const std::string& what, double ms) {
    report(student + " " + what, shape, ms,
           field("tflops", flops / ms * 1e-9) + field("terabytes_per_second", bytes / ms * 1e-9) +
               field("floor", floor / ms));
  };

  const auto problem_of = [&](int i) {
    AttentionProblem<B, W> problem{{H, G, D}, &batch, {}, false, q[i].view(), k[i].view(), v[i].view(), {}};
    problem.weights.query_map.value = query_map[i].view();
    problem.weights.key_map.value = key_map[i].view();
    problem.weights.query_bias.value = problem.weights.key_bias.value = bias[i].view();
    if (W::has_near) problem.weights.window_factors.value = factors[i].view();
    return problem;
  };
  const AttentionStatistics<B> statistics{largest.view(), inverse.view(), largest_at.view()};
  const auto forward = [&](int i, const AttentionStatistics<B>& saved) {
    hopper::forward<Map>(B{}, problem_of(i), y[i].view(), saved);
  };
  print_forward("forward", milliseconds(repeats, [&](int i) { forward(i, {}); }));
  print_forward("forward, saving", milliseconds(repeats, [&](int i) { forward(i, statistics); }));

  Tape<B> tape;
  {
    Array<B> dq({M, H * D}), dk({M, G * D}), dv({M, G * D});
    print("forward+backward of q, k, v", milliseconds(repeats, [&](int i) {
            forward(i, statistics);
            hopper::backward<Map>(tape, problem_of(i), y[i].view(), dy[i].view(), statistics,
                                  {{dq.view()}, {dk.view()}, {dv.view()}, {}, {}});
          }));
  }
  Array<B, float> dquery_map({H, D, f}), dkey_map({H, D, f}), dbias({H, f}), dfactors({H});
  const auto learn = [&](int i) {
    auto problem = problem_of(i);
    problem.weights.query_map.gradient = dquery_map.view();
    problem.weights.key_map.gradient = dkey_map.view();
    if (Map::bias != Bias::none) problem.weights.query_bias.gradient = problem.weights.key_bias.gradient = dbias.view();
    if (W::has_near) problem.weights.window_factors.gradient = dfactors.view();
    hopper::backward<Map>(tape, problem, y[i].view(), dy[i].view(), statistics, {});
  };
  for (int i = 0; i < bench::input_sets; ++i) forward(i, {});  // y of all sets: dy.y means something
  print("forward+backward of maps, gamma", milliseconds(repeats, [&](int i) {
          forward(i, statistics);
          learn(i);
        }));
  print("backward of maps, gamma", milliseconds(repeats, learn));
}

template <class W>
void measure_softmax(const Heads& heads, const Shape2& shape, W window, int repeats, const std::string& name = "softmax") {
  const Index M = shape.sequences * shape.tokens;
  const Shape query{M, heads.queries * heads.size}, key{M, heads.keys * heads.size}, rows{M, heads.queries};
  const auto q = sets_of(query), dy = sets_of(query), k = sets_of(key), v = sets_of(key);
  auto y = sets_of(query), dq = sets_of(query), dk = sets_of(key), dv = sets_of(key);
  Array<B, float> largest(rows), inverse(rows);
  const AttentionStatistics<B> statistics{largest.view(), inverse.view(), {}};
  const Sequences batch = Sequences::rectangular(shape.sequences, shape.tokens);
  const auto problem = [&](int i) {
    return AttentionProblem<B, W>{heads, &batch, window, false, q[i].view(), k[i].view(), v[i].view(), {}};
  };
  double pairs = 0;  // of a query and a key it sees
  for (Index n = 0; n < shape.tokens; ++n) {
    pairs += static_cast<double>(n + 1 - window.begin(n) + std::min(sinks_of<W>, window.begin(n)));
  }
  const double flops = 4 * pairs * static_cast<double>(shape.sequences * heads.queries * heads.size);

  const auto forward = [&](int i) { hopper::softmax_forward(B{}, problem(i), y[i].view(), statistics); };
  double ms = milliseconds(repeats, forward);
  report(name + " forward", shape, ms, field("tflops", flops / ms * 1e-9));
  Tape<B> tape;
  ms = milliseconds(repeats, [&](int i) {
    forward(i);
    hopper::softmax_backward(tape, problem(i), y[i].view(), dy[i].view(), statistics,
                             {{dq[i].view()}, {dk[i].view()}, {dv[i].view()}, {}, {}});
  });
  report(name + " forward+backward", shape, ms, field("tflops", 3.5 * flops / ms * 1e-9));
}

void measure_delta(const Heads& heads, Index states, const Shape2& shape, int repeats) {
  using Kernel = DeltaRuleKernel<B, ProjectedGate>;
  constexpr Index F = 128;
  const Index M = shape.sequences * shape.tokens, H = heads.queries, G = heads.keys, D = heads.size, N = states;
  const auto q = sets_of({M, H * F}), k = sets_of({M, N * F}), v = sets_of({M, G * D}), gate = sets_of({M, N}), dy = sets_of({M, H * D});
  const auto bias = normal({N});
  auto y = sets_of({M, H * D}), dq = sets_of({M, H * F}), dk = sets_of({M, N * F}), dv = sets_of({M, G * D}), dgate = sets_of({M, N});
  Array<B, float> errors({M, N * D}), last({shape.sequences, N * F * D}), dbias({N});
  const Sequences batch = Sequences::rectangular(shape.sequences, shape.tokens);
  const auto problem = [&](int i) {
    return DeltaRuleProblem<B>{heads, N, F, &batch, q[i].view(), k[i].view(), v[i].view(), gate[i].view(), bias.view()};
  };
  const DeltaRuleRecord<B> record{errors.view(), last.view()};
  const double bytes = 2.0 * static_cast<double>(M * (H * F + N * F + G * D + H * D + N));  // each input once, and the output
  const auto print = [&](const std::string& what, double ms, double least) {
    report(fmt::format("delta rule, {} states, {}", N, what), shape, ms, field("floor", 1e3 * least / bytes_per_second / ms));
  };
  print("forward", milliseconds(repeats, [&](int i) { Kernel::forward(B{}, problem(i), {}, {}, y[i].view()); }), bytes);
  print("forward, saving", milliseconds(repeats, [&](int i) { Kernel::forward(B{}, problem(i), {}, record, y[i].view()); }),
        bytes + 4.0 * static_cast<double>(errors.size()));
  print("forward+backward", milliseconds(repeats, [&](int i) {
          Kernel::forward(B{}, problem(i), {}, record, y[i].view());
          Kernel::backward(B{}, problem(i), record, dy[i].view(), {{dq[i].view()}, {dk[i].view()}, {dv[i].view()}, {dgate[i].view()}, dbias.view()});
        }),
        3 * bytes + 8.0 * static_cast<double>(errors.size()));
}

void measure_decode(const Heads& heads, const Shape2& shape, int repeats) {
  const Index tokens = shape.tokens;
  const Shape query{shape.sequences, heads.queries * heads.size},
      key{shape.sequences * tokens, heads.keys * heads.size};
  const auto q = sets_of(query), k = sets_of(key), v = sets_of(key);
  auto y = sets_of(query);
  const double ms = milliseconds(repeats, [&](int i) {
    std::vector<cuda::DecodeSlot<bf16>> slots;
    for (Index n = 0; n < shape.sequences; ++n) {
      const Index at = n * tokens * key.cols();
      slots.push_back({k[i].data() + at, v[i].data() + at, static_cast<int>(tokens), static_cast<int>(n)});
    }
    cuda::softmax_decode<bf16>(B{}.stream(), heads, slots, q[i].data(), y[i].data());
  });
  report("softmax decode", shape, ms, field("terabytes_per_second", 4.0 * static_cast<double>(key.size()) / ms * 1e-9));
}

/// "8x1024"; throws ConfigError.
std::vector<Shape2> parse(const std::vector<std::string>& texts) {
  std::vector<Shape2> shapes;
  for (const std::string& text : texts) {
    long sequences = 0, tokens = 0;
    require<ConfigError>(std::sscanf(text.c_str(), "%ldx%ld", &sequences, &tokens) == 2 && sequences > 0 && tokens > 0,
                         "shape is '{}', expected sequences x tokens as 8x1024", text);
    shapes.push_back({sequences, tokens});
  }
  return shapes;
}

void run(const std::vector<std::string>& ops, const std::vector<Shape2>& given, Index head, Index window, int repeats) {
  const Heads heads{32, 8, head};
  for (const std::string& op : ops) {
    const bool decode = op == "decode";
    const auto shapes = !given.empty() ? given
                        : decode       ? std::vector<Shape2>{{1, 32768}, {64, 1024}, {64, 8192}}
                                       : std::vector<Shape2>{{8, 1024}, {2, 4096}, {1, 8192}, {1, 32768}};
    for (const Shape2& shape : shapes) {
      if (decode) {
        measure_decode(heads, shape, repeats);
      } else if (op == "delta") {
        measure_delta(heads, heads.queries, shape, repeats);
        measure_delta(heads, heads.keys, shape, repeats);
      } else if (op == "sinks") {
        using W = Sliding<124>;
        measure_softmax(heads, shape, W{}, repeats, Softmax<W>::name());
        measure_softmax(heads, shape, Sinks<4, W>{}, repeats, Softmax<Sinks<4, W>>::name());
        measure_hybrid<Hedgehog<64>, Terraced<64>>(shape, repeats);
        measure_hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>>(shape, repeats);
      } else if (op == "softmax" && window > 0) {
        measure_softmax(heads, shape, Sliding<>(window), repeats);
      } else if (op == "softmax") {
        measure_softmax(heads, shape, Everything{}, repeats);
      } else if (op == "hybrid") {
        measure_hybrid<Hedgehog<64>, Terraced<64>>(shape, repeats);
      } else {
        measure_hybrid<Hedgehog<64>, Terraced<64, 1>>(shape, repeats);
        measure_hybrid<Hedgehog<64>, Sliding<64>>(shape, repeats);
        measure_hybrid<Hedgehog<64>, Nothing>(shape, repeats);
        measure_hybrid<T2R<128>, Terraced<64>>(shape, repeats);
        measure_hybrid<T2R<128>, Nothing>(shape, repeats);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> ops{"hybrid", "students", "softmax"}, shapes;
  Index head = 128, window = 0;
  int repeats = 20;
  CLI::App app{"Times attention on the GPU", "bench_attention_cuda"};
  app.add_option("--op", ops, "what to time")
      ->check(CLI::IsMember({"hybrid", "students", "softmax", "sinks", "delta", "decode"}))
      ->capture_default_str();
  app.add_option("--head", head, "head size of softmax, delta and decode")->capture_default_str();
  app.add_option("--window", window, "keys that softmax sees; 0: all")->capture_default_str();
  app.add_option("--repeats", repeats)->capture_default_str();
  app.add_option("shapes", shapes, "sequences x tokens, as 8x1024");
  return bench::run_program(app, argc, argv, [&] { run(ops, parse(shapes), head, window, repeats); });
}
