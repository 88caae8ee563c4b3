// The row algebra on lanes of a warp does what one row of doubles does, at widths that do not fill the lanes.
#include <lolcats/ops/attention/cuda_rows.cuh>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/feature_map_suite_reference.hpp>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/random.hpp>

#include <lolcats/backend/cuda.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// Everything a map may say, one row of results each.
struct Words {
  template <class Row>
  static constexpr std::array<Row, 12> features(const Row& z, const Row& b) {
    return {z + b,  z - b * 2.0, -z / (b * b + 1.0), maximum(z, 0.1), minimum(z, 0.1), positive(z),
            exp(z), z - max(z),  z + min(z),         z / sum(z * z),  is_max(z),       softmax_pullback(softmax(z), b)};
  }
};

/// Row r of `x` and `b` (rows, width) -> 12 rows of results.
template <int Lanes, int Count>
__global__ void run_words(const float* x, const float* b, float* results, int rows, int width) {
  using Row = general::LaneRow<Lanes, Count>;
  const int r = static_cast<int>(threadIdx.x) / Lanes;
  Row z{{}, width}, other{{}, width};
  for (int i = 0; i < Count; ++i) {
    const bool there = r < rows && Row::entry(i) < width;
    z.values[i] = there ? x[r * width + Row::entry(i)] : NAN;  // nothing may read what is outside
    other.values[i] = there ? b[r * width + Row::entry(i)] : NAN;
  }
  const auto all = Words::features(z, other);
  if (r >= rows) return;
  for (int word = 0; word < 12; ++word) {
    for (int i = 0; i < Count; ++i) {
      if (Row::entry(i) < width)
        results[(word * rows + r) * width + Row::entry(i)] = all[static_cast<std::size_t>(word)].values[i];
    }
  }
}

template <int Lanes, int Count>
void check_words(Index width) {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  const B backend;
  constexpr Index rows = 32 / Lanes;
  INFO(width, " entries on ", Lanes, " lanes");
  Rng rng(17, static_cast<std::uint64_t>(width));
  std::vector<double> x, b;
  for (Index i = 0; i < rows * width; ++i) {
    x.push_back(static_cast<float>(rng.normal()));
    b.push_back(static_cast<float>(rng.normal()));
  }
  if (width > 2) x[static_cast<std::size_t>(width - 1)] = x[1] = 5;  // is_max takes the first of equals
  const auto x_there = array<B>(Shape{rows, width}, x), b_there = array<B>(Shape{rows, width}, b);
  Array<B> results(Shape{12, rows, width});
  poison(backend, results.view());
  run_words<Lanes, Count><<<1, 32, 0, backend.stream()>>>(x_there.data(), b_there.data(), results.data(),
                                                          static_cast<int>(rows), static_cast<int>(width));
  const auto got = host(backend, results.view());
  std::vector<double> want(got.size());
  for (Index r = 0; r < rows; ++r) {
    const auto row = [&](const std::vector<double>& from) {
      return PlainRow{{from.begin() + r * width, from.begin() + (r + 1) * width}};
    };
    const auto all = Words::features(row(x), row(b));
    for (Index word = 0; word < 12; ++word) {
      const auto& values = all[static_cast<std::size_t>(word)].values;
      std::copy(values.begin(), values.end(), want.begin() + (word * rows + r) * width);
    }
  }
  for (Index word = 0; word < 12; ++word) {
    INFO("word ", word);
    const auto part = [&](const std::vector<double>& from) {
      return std::vector<double>(from.begin() + word * rows * width, from.begin() + (word + 1) * rows * width);
    };
    CHECK(close(part(want), part(got), 1e-6));
  }
}

}  // namespace

TEST_CASE("rows on a whole warp") {
  for (const Index width : {1, 3, 31, 32}) check_words<32, 1>(width);
  for (const Index width : {33, 63, 64}) check_words<32, 2>(width);
  for (const Index width : {100, 127, 128}) check_words<32, 4>(width);
}

TEST_CASE("several rows in a warp") {
  for (const Index width : {1, 3, 4}) check_words<4, 1>(width);
  for (const Index width : {5, 8}) check_words<8, 1>(width);
  check_words<1, 1>(1);
}
