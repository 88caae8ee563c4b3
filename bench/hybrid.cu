// Times the fused attention of LoLCATs on the GPU: forward, and with the backward pass of either stage.
//
//   bench_hybrid [--repeats 20] [sequences x tokens ...]
//
// 32 query and 8 key/value heads of 128, bf16, fresh inputs, three sets in turn, the median between CUDA events after
// warming up; with row statistics saved (as training does) and without.  Prints a line of JSON per measurement; those of
// Hedgehog over two terraces are called "hybrid ...", as bench/peers_cuda.py calls the same layer in PyTorch.
//
// `floor` is the share of the time that the least arithmetic at 745 TFLOP/s, or the least traffic at 4.2 TB/s, would take:
// what an H200 reaches in large products and in copies.
#include <lolcats/ops/attention/hopper/backward.cuh>
#include <lolcats/ops/attention/hopper/forward.cuh>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

using namespace lolcats;

namespace {

using B = Cuda<bf16>;
constexpr int sets = 3;
constexpr double flops_per_second = 745e12, bytes_per_second = 4.2e12;

/// About normal numbers of deviation `scale`, by hashing.
__global__ void fill(bf16* x, Index n, float scale, std::uint64_t seed) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  std::uint64_t word = (static_cast<std::uint64_t>(i) + seed * 0x9E3779B97F4A7C15ULL) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 31)) * 0x94D049BB133111EBULL;
  word ^= word >> 29;
  float sum = 0;
  for (int k = 0; k < 4; ++k) sum += static_cast<float>((word >> (16 * k)) & 0xffffU) / 65536.0F - 0.5F;
  x[i] = bf16(1.7320508F * scale * sum);
}

Array<B> random(const Shape& shape, double scale = 1) {
  static std::uint64_t seed = 0;
  Array<B> x(shape);
  cuda::launch("fill", fill, {cuda::blocks_for(shape.size(), 256), 256, B{}.stream()}, x.data(), shape.size(),
               static_cast<float>(scale), ++seed);
  return x;
}

/// Median milliseconds of run(set).
template <class F>
double milliseconds(int repeats, F&& run) {
  cudaEvent_t begin, end;
  cuda::check(cudaEventCreate(&begin), "cudaEventCreate");
  cuda::check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = 0; i < repeats + 3; ++i) {
    float ms = 0;
    cuda::check(cudaEventRecord(begin, B{}.stream()), "cudaEventRecord");
    run(i % sets);
    cuda::check(cudaEventRecord(end, B{}.stream()), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(end), "cudaEventSynchronize");
    cuda::check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= 3) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

template <class Map, class W>
void measure(Index sequences, Index tokens, int repeats) {
  constexpr Index H = 32, G = 8, D = 128, f = Map::projected, F = Map::count * f;
  const Index M = sequences * tokens;
  const Sequences batch = Sequences::rectangular(sequences, tokens);
  struct Set {
    Array<B> q, k, v, y, dy, query_map, key_map, bias, factors;
  };
  std::vector<Set> data;
  const double scale = 1.4 / std::sqrt(static_cast<double>(D));
  for (int i = 0; i < sets; ++i) {
    data.push_back({random({M, H * D}), random({M, G * D}), random({M, G * D}), random({M, H * D}),
                    random({M, H * D}), random({H, D, f}, scale), random({H, D, f}, scale), random({H, f}), random({H})});
  }
  Array<B, float> largest({M, H}), inverse({M, H});
  Array<B, std::int32_t> largest_at({M, H});

  // Per token and query head: two maps, the state's update and its use, scores and values of whole tiles of 64 keys.
  const double keys = W::has_near ? 64.0 * (1 + hopper::forward_pass::WindowTiles<W>::lag) : 64.0;
  const double flops = static_cast<double>(M * H) * (4.0 * D * f + 4.0 * F * D + 4.0 * D * keys);
  const double bytes = 2.0 * static_cast<double>(M * D * (2 * H + 2 * G));
  const double floor = 1e3 * std::max(flops / flops_per_second, bytes / bytes_per_second);

  const std::string student = std::is_same_v<Map, Hedgehog<64>> && std::is_same_v<W, Terraced<64>>
                                  ? "hybrid"
                                  : Map::name() + ", " + W::name();
  const auto print = [&](const std::string& what, double ms) {
    fmt::print("{{\"op\": \"{} {}\", \"shape\": \"{}x{}\", \"implementation\": \"lolcats\", \"ms\": {:.4f}, \"device\": \"{}\"",
               student, what, sequences, tokens, ms, cuda::device().name);
    if (what.starts_with("forward") && what.find('+') == std::string::npos) {
      fmt::print(", \"tflops\": {:.1f}, \"terabytes_per_second\": {:.3f}, \"floor\": {:.2f}", flops / ms * 1e-9,
                 bytes / ms * 1e-9, floor / ms);
    }
    fmt::print("}}\n");
    std::fflush(stdout);
  };
  const auto problem_of = [&](Set& s) {
    AttentionProblem<B, W> problem{{H, G, D}, &batch, {}, false, s.q.view(), s.k.view(), s.v.view(), {}};
    problem.weights.query_map.value = s.query_map.view();
    problem.weights.key_map.value = s.key_map.view();
    problem.weights.query_bias.value = problem.weights.key_bias.value = s.bias.view();
    if (W::has_near) problem.weights.window_factors.value = s.factors.view();
    return problem;
  };
  const AttentionStatistics<B> statistics{largest.view(), inverse.view(), largest_at.view()};
  const auto forward = [&](int i, const AttentionStatistics<B>& saved) {
    Set& s = data[static_cast<std::size_t>(i)];
    hopper::forward<Map>(B{}, problem_of(s), s.y.view(), saved);
  };
  print("forward", milliseconds(repeats, [&](int i) { forward(i, {}); }));
  print("forward, saving", milliseconds(repeats, [&](int i) { forward(i, statistics); }));

  Tape<B> tape;
  {
    Array<B> dq({M, H * D}), dk({M, G * D}), dv({M, G * D});
    print("forward+backward of q, k, v", milliseconds(repeats, [&](int i) {
            forward(i, statistics);
            Set& s = data[static_cast<std::size_t>(i)];
            hopper::backward<Map>(tape, problem_of(s), s.y.view(), s.dy.view(), statistics,
                                  {{dq.view()}, {dk.view()}, {dv.view()}, {}, {}});
          }));
  }
  Array<B, float> dquery_map({H, D, f}), dkey_map({H, D, f}), dbias({H, f}), dfactors({H});
  const auto learn = [&](int i) {
    Set& s = data[static_cast<std::size_t>(i)];
    auto problem = problem_of(s);
    problem.weights.query_map.gradient = dquery_map.view();
    problem.weights.key_map.gradient = dkey_map.view();
    if (Map::bias != Bias::none) problem.weights.query_bias.gradient = problem.weights.key_bias.gradient = dbias.view();
    if (W::has_near) problem.weights.window_factors.gradient = dfactors.view();
    hopper::backward<Map>(tape, problem, s.y.view(), s.dy.view(), statistics, {});
  };
  print("forward+backward of maps, gamma", milliseconds(repeats, [&](int i) {
          forward(i, statistics);
          learn(i);
        }));
  print("backward of maps, gamma", milliseconds(repeats, learn));
}

}  // namespace

int main(int count, char** arguments) {
  int repeats = 20;
  std::vector<std::pair<Index, Index>> shapes;
  for (int i = 1; i < count; ++i) {
    long sequences = 0, tokens = 0;
    if (std::string_view(arguments[i]) == "--repeats" && i + 1 < count) {
      repeats = std::atoi(arguments[++i]);
    } else if (std::sscanf(arguments[i], "%ldx%ld", &sequences, &tokens) == 2) {
      shapes.emplace_back(sequences, tokens);
    } else {
      fmt::print(stderr, "unknown argument {}\n", arguments[i]);
      return 2;
    }
  }
  if (shapes.empty()) shapes = {{8, 1024}, {2, 4096}, {1, 8192}, {1, 32768}};
  for (const auto& [sequences, tokens] : shapes) {
    measure<Hedgehog<64>, Terraced<64>>(sequences, tokens, repeats);
    measure<Hedgehog<64>, Terraced<64, 1>>(sequences, tokens, repeats);
    measure<Hedgehog<64>, Sliding<64>>(sequences, tokens, repeats);
    measure<Hedgehog<64>, Nothing>(sequences, tokens, repeats);
    measure<T2R<128>, Terraced<64>>(sequences, tokens, repeats);
    measure<T2R<128>, Nothing>(sequences, tokens, repeats);
  }
}
