// What the benchmarks share: clocks, statistics of repeated runs, the rate of plain matrix products.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/core/parallel.hpp>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>
#include <vector>

namespace bench {

using lolcats::Index;
using Device = lolcats::Cpu<float>;
using Json = nlohmann::ordered_json;

/// Seconds of the wall clock, and of the processor over all threads.
struct Instant {
  double wall = 0;
  double processor = 0;

  static Instant now() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
    return {std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(),
            seconds(usage.ru_utime) + seconds(usage.ru_stime)};
  }
  friend Instant operator-(const Instant& a, const Instant& b) { return {a.wall - b.wall, a.processor - b.processor}; }
};

/// Repeated runs of the same work.
class Samples {
 public:
  void add(const Instant& duration) {
    wall_.push_back(duration.wall);
    processor_.push_back(duration.processor);
  }
  std::size_t count() const { return wall_.size(); }
  double median() const { return middle(wall_); }
  double least() const { return *std::min_element(wall_.begin(), wall_.end()); }
  double processor() const { return middle(processor_); }

  /// Median and least of the wall clock, and the processor's time over all threads, which exceeds threads * wall never
  /// and falls short of it where other programs held the cores.
  Json json() const {
    return {{"milliseconds", 1e3 * median()}, {"least_milliseconds", 1e3 * least()}, {"processor_milliseconds", 1e3 * processor()},
            {"repeats", count()}};
  }

 private:
  static double middle(std::vector<double> x) {
    std::sort(x.begin(), x.end());
    const std::size_t half = x.size() / 2;
    return x.size() % 2 ? x[half] : (x[half - 1] + x[half]) / 2;
  }
  std::vector<double> wall_, processor_;
};

/// Calls f() `warmup` times, then `repeats` times with a clock.
template <class F>
Samples repeat(Index warmup, Index repeats, F&& f) {
  Samples samples;
  for (Index i = 0; i < warmup + repeats; ++i) {
    const Instant start = Instant::now();
    f();
    if (i >= warmup) samples.add(Instant::now() - start);
  }
  return samples;
}

/// The largest rate, in FLOP/s, that Eigen's products reach on all threads: x (rows, in) times the transposes of
/// weights (out, in) of these (in, out), in blocks of 64 to 1024 rows, each block's product once.
///
/// Nothing but products runs here, so this is the rate that a step made of such products cannot exceed.
inline double product_rate(const std::vector<std::pair<Index, Index>>& sizes, Index rows) {
  using Matrix = lolcats::eigen::RowMatrix<float>;
  std::vector<Matrix> x, w, y;
  double flops = 0;
  for (const auto& [in, out] : sizes) {
    x.push_back(Matrix::Random(rows, in));
    w.push_back(Matrix::Random(out, in));
    y.push_back(Matrix::Zero(rows, out));
    flops += 2.0 * static_cast<double>(rows * in * out);
  }
  double least = 0;
  for (const Index block : {64, 128, 256, 512, 1024}) {
    const double seconds = repeat(3, 9, [&] {
                             for (std::size_t i = 0; i < sizes.size(); ++i) {
                               lolcats::parallel_ranges(rows, block, [&](Index first, Index last) {
                                 y[i].middleRows(first, last - first).noalias() =
                                     x[i].middleRows(first, last - first) * w[i].transpose();
                               });
                             }
                           }).least();
    if (least == 0 || seconds < least) least = seconds;
  }
  return flops / least;
}

/// One result: a line of JSON on stdout, at once.
inline void print(const Json& line) {
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

}  // namespace bench
