// Times softmax attention on the GPU: forward, forward + backward, and decoding over a key/value cache.
//
//   bench_softmax [--head 128] [--window W] [--repeats 20] [--decode] [sequences x tokens ...]
//
// 32 query and 8 key/value heads, bf16, fresh normal inputs, three sets in turn, the median between CUDA events after
// warming up.  Prints a line of JSON per measurement, as bench/peers_cuda.py does; bench/gpu_table.py makes the table.
#include <lolcats/core/rng.hpp>
#include <lolcats/ops/attention/hopper/softmax_backward.cuh>
#include <lolcats/ops/attention/softmax_decode.cuh>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

using namespace lolcats;

namespace {

using B = Cuda<bf16>;
constexpr int sets = 3;

/// Normal numbers by hashing: the sum of four uniforms, scaled; enough to keep the hardware honest.
__global__ void fill(bf16* x, Index n, std::uint64_t seed) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  std::uint64_t word = (static_cast<std::uint64_t>(i) + seed * 0x9E3779B97F4A7C15ULL) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 31)) * 0x94D049BB133111EBULL;
  word ^= word >> 29;
  float sum = 0;
  for (int k = 0; k < 4; ++k) sum += static_cast<float>((word >> (16 * k)) & 0xffffU) / 65536.0F - 0.5F;
  x[i] = cuda::from_float<bf16>(1.7320508F * sum);
}

std::vector<Array<B>> random(const Shape& shape) {
  static std::uint64_t seed = 0;
  std::vector<Array<B>> arrays;
  for (int i = 0; i < sets; ++i) {
    arrays.emplace_back(shape);
    cuda::launch("fill", fill, {cuda::blocks_for(shape.size(), 256), 256, B{}.stream()}, arrays.back().data(),
                 shape.size(), ++seed);
  }
  return arrays;
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

void report(const char* op, Index sequences, Index tokens, double ms, double work, const char* unit) {
  fmt::print(
      "{{\"op\": \"{}\", \"shape\": \"{}x{}\", \"implementation\": \"lolcats\", \"ms\": {:.4f}, \"device\": \"{}\", "
      "\"{}\": {:.2f}}}\n",
      op, sequences, tokens, ms, cuda::device().name, unit, work / ms * 1e-9);
  std::fflush(stdout);
}

template <class W>
void measure(const Heads& heads, Index sequences, Index tokens, W window, int repeats) {
  const Index M = sequences * tokens;
  const Shape query{M, heads.queries * heads.size}, key{M, heads.keys * heads.size}, rows{M, heads.queries};
  const auto q = random(query), dy = random(query), k = random(key), v = random(key);
  auto y = random(query), dq = random(query), dk = random(key), dv = random(key);
  Array<B, float> largest(rows), inverse(rows);
  const AttentionStatistics<B> statistics{largest.view(), inverse.view(), {}};
  const Sequences batch = Sequences::rectangular(sequences, tokens);
  const auto problem = [&](int i) {
    return AttentionProblem<B, W>{heads, &batch, window, false, q[i].view(), k[i].view(), v[i].view(), {}};
  };
  double pairs = 0;  // of a query and a key it sees
  for (Index n = 0; n < tokens; ++n) pairs += static_cast<double>(n + 1 - window.begin(n));
  const double flops = 4 * pairs * static_cast<double>(sequences * heads.queries * heads.size);

  const auto forward = [&](int i) { hopper::softmax_forward(B{}, problem(i), y[i].view(), statistics); };
  report("softmax forward", sequences, tokens, milliseconds(repeats, forward), flops, "tflops");
  Tape<B> tape;
  const auto both = [&](int i) {
    forward(i);
    hopper::softmax_backward(tape, problem(i), y[i].view(), dy[i].view(), statistics,
                             {{dq[i].view()}, {dk[i].view()}, {dv[i].view()}, {}, {}});
  };
  report("softmax forward+backward", sequences, tokens, milliseconds(repeats, both), 3.5 * flops, "tflops");
}

void measure_decode(const Heads& heads, Index sequences, Index tokens, int repeats) {
  const Shape query{sequences, heads.queries * heads.size}, key{sequences * tokens, heads.keys * heads.size};
  const auto q = random(query), k = random(key), v = random(key);
  auto y = random(query);
  const auto run = [&](int i) {
    std::vector<cuda::DecodeSlot<bf16>> slots;
    for (Index n = 0; n < sequences; ++n) {
      const Index at = n * tokens * key.cols();
      slots.push_back({k[i].data() + at, v[i].data() + at, static_cast<int>(tokens), static_cast<int>(n)});
    }
    cuda::softmax_decode<bf16>(B{}.stream(), heads, slots, q[i].data(), y[i].data());
  };
  report("softmax decode", sequences, tokens, milliseconds(repeats, run), 4.0 * static_cast<double>(key.size()),
         "terabytes_per_second");
}

}  // namespace

int main(int count, char** arguments) {
  Heads heads{32, 8, 128};
  Index window = 0;
  int repeats = 20;
  bool decode = false;
  std::vector<std::pair<Index, Index>> shapes;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    const auto number = [&] { return i + 1 < count ? std::atoi(arguments[++i]) : 0; };
    long sequences = 0, tokens = 0;
    if (argument == "--head") {
      heads.size = number();
    } else if (argument == "--window") {
      window = number();
    } else if (argument == "--repeats") {
      repeats = number();
    } else if (argument == "--decode") {
      decode = true;
    } else if (std::sscanf(arguments[i], "%ldx%ld", &sequences, &tokens) == 2) {
      shapes.emplace_back(sequences, tokens);
    } else {
      fmt::print(stderr, "unknown argument {}\n", argument);
      return 2;
    }
  }
  if (shapes.empty() && decode) shapes = {{1, 32768}, {64, 1024}, {64, 8192}};
  if (shapes.empty()) shapes = {{8, 1024}, {2, 4096}, {1, 8192}, {1, 32768}};
  for (const auto& [sequences, tokens] : shapes) {
    if (decode) {
      measure_decode(heads, sequences, tokens, repeats);
    } else if (window > 0) {
      measure(heads, sequences, tokens, Sliding<>(window), repeats);
    } else {
      measure(heads, sequences, tokens, Everything{}, repeats);
    }
  }
}
