// The fused forward pass against a plain loop in double that shares no code with it.
#include <doctest/doctest.h>

#include <lolcats/ops/attention/hopper/forward.cuh>
#include <lolcats/ops/attention/hopper/forward_tiles.cuh>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

using namespace lolcats;

namespace {

enum class Formula { hedgehog, relu };

/// What is computed, in the words of this file.
struct Case {
  Formula formula = Formula::hedgehog;
  bool bias = false, head_bias = false;
  int f = 64;
  std::function<int(int)> begin;  // first near key of a query; query + 1 for none
  int D = 128, H = 4, G = 2;
  bool affine = false, per_group = false;
  bool hybrid = true;  // has gamma
  int rows = 0;
  std::vector<Extent> extents;
  double scale = 1;  // of queries
  int sinks = 0;
};

struct Data {
  std::vector<bf16> q, k, v, query_map, key_map, query_bias, key_bias, factors;
};

std::mt19937_64 generator(20240917);

std::vector<bf16> normals(std::size_t count, double scale, double mean = 0) {
  std::normal_distribution<double> normal(mean, scale);
  std::vector<bf16> x(count);
  for (bf16& value : x) value = bf16(static_cast<float>(normal(generator)));
  return x;
}

Data make_data(const Case& c) {
  const auto rows = static_cast<std::size_t>(c.rows);
  const auto map_heads = static_cast<std::size_t>(c.per_group ? c.G : c.H);
  Data d;
  d.q = normals(rows * c.H * c.D, c.scale);
  d.k = normals(rows * c.G * c.D, 1);
  d.v = normals(rows * c.G * c.D, 1);
  d.query_map = normals(static_cast<std::size_t>(c.H) * c.D * c.f, 1.5 / std::sqrt(c.D));
  d.key_map = normals(map_heads * c.D * c.f, 1.5 / std::sqrt(c.D));
  const std::size_t width = c.head_bias ? 1 : c.f;
  d.query_bias = normals(c.H * width, 0.5);
  d.key_bias = normals(map_heads * width, 0.5);
  d.factors = normals(c.H, 1.0, -1.0);
  std::vector<bool> inside(rows, false);
  for (const Extent& e : c.extents) {
    for (Index i = 0; i < e.length; ++i) inside[static_cast<std::size_t>(e.row + i)] = true;
  }
  for (std::size_t row = 0; row < rows; ++row) {  // padding holds NaN
    if (inside[row]) continue;
    std::fill_n(d.q.begin() + row * c.H * c.D, c.H * c.D, bf16(NAN));
    std::fill_n(d.k.begin() + row * c.G * c.D, c.G * c.D, bf16(NAN));
    std::fill_n(d.v.begin() + row * c.G * c.D, c.G * c.D, bf16(NAN));
  }
  return d;
}

double round_bf16(double x) { return bf16(static_cast<float>(x)); }

std::vector<double> features(const Case& c, const bf16* x, const bf16* map, const bf16* bias, bool rounded) {
  std::vector<double> z(c.f), phi;
  for (int j = 0; j < c.f; ++j) {
    for (int d = 0; d < c.D; ++d) z[j] += static_cast<double>(x[d]) * map[d * c.f + j];
    if (c.bias) z[j] += bias[c.head_bias ? 0 : j];
  }
  if (c.formula == Formula::relu) {
    for (double value : z) phi.push_back(std::max(value, 1e-12));
  } else {
    for (const double sign : {1.0, -1.0}) {
      double top = -1e300, sum = 0;
      for (double value : z) top = std::max(top, sign * value);
      for (double value : z) sum += std::exp(sign * value - top);
      for (double value : z) phi.push_back(std::max(std::exp(sign * value - top) / sum, 1e-12));
    }
  }
  if (rounded) {
    for (double& value : phi) value = round_bf16(value);
  }
  return phi;
}

struct Answer {
  std::vector<double> y, largest, inverse;
  std::vector<int> largest_at;
};

/// One head; rows of all extents, (M, D) and (M).
Answer reference(const Case& c, const Data& data, int h, bool rounded = false) {
  const int g = h / (c.H / c.G), m = c.per_group ? g : h;
  const int width = c.head_bias ? 1 : c.f;
  Answer a;
  a.y.assign(static_cast<std::size_t>(c.rows) * c.D, 0);
  a.largest.assign(c.rows, 0);
  a.inverse.assign(c.rows, 0);
  a.largest_at.assign(c.rows, -1);
  const double gamma = c.hybrid ? 1 / (1 + std::exp(-static_cast<double>(data.factors[h]))) : 1;
  const double beta = c.affine ? 1 - gamma : 1;
  const auto row = [&](const std::vector<bf16>& x, Index index, int heads, int head) {
    return x.data() + (index * heads + head) * c.D;
  };
  for (const Extent& e : c.extents) {
    std::vector<double> S, z;
    int folded = 0;
    for (int n = 0; n < e.length; ++n) {
      const bf16* q = row(data.q, e.row + n, c.H, h);
      const std::vector<double> phi =
          features(c, q, &data.query_map[h * c.D * c.f], &data.query_bias[h * width], rounded);
      if (S.empty()) S.assign(phi.size() * c.D, 0), z.assign(phi.size(), 0);
      const int begin = c.begin(n);
      for (; folded < std::min(begin, n + 1); ++folded) {
        if (folded < c.sinks) continue;
        const std::vector<double> key = features(c, row(data.k, e.row + folded, c.G, g), &data.key_map[m * c.D * c.f],
                                                 &data.key_bias[m * width], rounded);
        const bf16* v = row(data.v, e.row + folded, c.G, g);
        for (std::size_t i = 0; i < key.size(); ++i) {
          z[i] += key[i];
          for (int d = 0; d < c.D; ++d) S[i * c.D + d] += key[i] * v[d];
        }
      }
      double top = -std::numeric_limits<double>::infinity();
      std::vector<double> scores;
      std::vector<int> near;
      for (int j = 0; j <= n; ++j) {
        if (j >= c.sinks && j < begin) continue;
        near.push_back(j);
        const bf16* k = row(data.k, e.row + j, c.G, g);
        double s = 0;
        for (int d = 0; d < c.D; ++d) s += static_cast<double>(q[d]) * k[d];
        scores.push_back(s / std::sqrt(c.D));
        if (scores.back() > top) top = scores.back(), a.largest_at[e.row + n] = j;
      }
      double* y = &a.y[(e.row + n) * c.D];
      double sum = c.hybrid ? 0 : 1e-12;
      for (std::size_t i = 0; i < phi.size(); ++i) {
        sum += beta * phi[i] * z[i];
        for (int d = 0; d < c.D; ++d) y[d] += beta * phi[i] * S[i * c.D + d];
      }
      for (std::size_t i = 0; i < near.size(); ++i) {
        const double weight = gamma * std::exp(scores[i] - top);
        sum += weight;
        for (int d = 0; d < c.D; ++d) y[d] += weight * row(data.v, e.row + near[i], c.G, g)[d];
      }
      for (int d = 0; d < c.D; ++d) y[d] /= sum;
      a.largest[e.row + n] = top;
      a.inverse[e.row + n] = 1 / sum;
    }
  }
  return a;
}

/// Device memory with guards on both sides, filled with 0xFF: NaN in every float type.
template <class T>
class Guarded {
 public:
  static constexpr std::size_t guard = 4096;
  explicit Guarded(std::size_t count) : bytes_(count * sizeof(T)) {
    cuda::check(cudaMalloc(&memory_, bytes_ + 2 * guard), "cudaMalloc");
    cuda::check(cudaMemset(memory_, 0xFF, bytes_ + 2 * guard), "cudaMemset");
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(values.size()) {
    cuda::check(cudaMemcpy(data(), values.data(), bytes_, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { cudaFree(memory_); }
  T* data() const { return reinterpret_cast<T*>(memory_ + guard); }
  std::vector<T> host() const {
    std::vector<T> values(bytes_ / sizeof(T));
    cuda::check(cudaMemcpy(values.data(), data(), bytes_, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return values;
  }
  bool intact() const {
    std::vector<unsigned char> all(bytes_ + 2 * guard);
    cuda::check(cudaMemcpy(all.data(), memory_, all.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    bool whole = true;
    for (std::size_t i = 0; i < guard; ++i) whole = whole && all[i] == 0xFF && all[all.size() - 1 - i] == 0xFF;
    return whole;
  }

 private:
  std::size_t bytes_;
  unsigned char* memory_ = nullptr;
};

struct Got {
  std::vector<bf16> y;
  std::vector<float> largest, inverse;
  std::vector<std::int32_t> largest_at;
  bool intact = true;
};

/// For `chunk_tiles`: the kernels of forward_tiles.cuh.
constexpr int by_tiles = -1;

/// One launch; chunk_tiles 0 leaves the choice to the library.
template <class Map, class W>
Got run(const Case& c, const Data& d, int chunk_tiles, bool statistics = true, W window = {}) {
  const Guarded<bf16> q(d.q), k(d.k), v(d.v), query_map(d.query_map), key_map(d.key_map), query_bias(d.query_bias),
      key_bias(d.key_bias), factors(d.factors);
  const auto size = static_cast<std::size_t>(c.rows) * c.H;
  const Guarded<bf16> y(size * c.D);
  const Guarded<float> largest(size), inverse(size);
  const Guarded<std::int32_t> largest_at(size);
  const Sequences sequences(c.rows, c.extents);
  AttentionProblem<Cuda<bf16>, W> problem;
  problem.heads = {c.H, c.G, c.D};
  problem.sequences = &sequences;
  problem.window = window;
  problem.affine = c.affine;
  problem.q = {q.data(), {c.rows, c.H * c.D}};
  problem.k = {k.data(), {c.rows, c.G * c.D}};
  problem.v = {v.data(), {c.rows, c.G * c.D}};
  const Shape query_shape{c.H, c.D, c.f}, key_shape{c.per_group ? c.G : c.H, c.D, c.f};
  problem.weights.query_map = {{query_map.data(), query_shape}, {}};
  problem.weights.key_map = {{key_map.data(), key_shape}, {}};
  if (c.bias) {
    const Shape one{query_shape[0], c.head_bias ? 1 : c.f}, other{key_shape[0], c.head_bias ? 1 : c.f};
    problem.weights.query_bias = {{query_bias.data(), one}, {}};
    problem.weights.key_bias = {{key_bias.data(), other}, {}};
  }
  if (c.hybrid) problem.weights.window_factors = {{factors.data(), {c.H}}, {}};
  AttentionStatistics<Cuda<bf16>> saved;
  const Shape shape{c.rows, c.H};
  if (statistics) saved = {{largest.data(), shape}, {inverse.data(), shape}, {largest_at.data(), shape}};
  const View<bf16> out{y.data(), {c.rows, c.H * c.D}};
  const Cuda<bf16> backend;
  if (chunk_tiles == by_tiles) {
    REQUIRE(hopper::tile_pass::takes_tiles<Map>(problem));
    hopper::forward_by_tiles<Map>(backend, problem, out, saved);
  } else if constexpr (!hopper::forward_pass::fits<Map, W>()) {
    FAIL("only by tiles");
  } else if (chunk_tiles == 0) {
    REQUIRE(hopper::takes_forward<Map>(problem));
    hopper::forward<Map>(backend, problem, out, saved);
  } else {
    REQUIRE(hopper::takes_forward<Map>(problem));
    hopper::forward_pass::clear_padding(backend, sequences, out);
    if (c.D == 64)
      hopper::forward_pass::launch<Map, 64>(backend, problem, sequences.extents(), nullptr, out, saved, chunk_tiles);
    else
      hopper::forward_pass::launch<Map, 128>(backend, problem, sequences.extents(), nullptr, out, saved, chunk_tiles);
  }
  backend.synchronize();
  Got got{y.host(), largest.host(), inverse.host(), largest_at.host(), true};
  got.intact = y.intact() && largest.intact() && inverse.intact() && largest_at.intact() && q.intact() && k.intact() &&
               v.intact();
  return got;
}

struct Deviation {
  double worst = 0, difference = 0, size = 0;
  Index at = -1;
  void add(double want, double got, Index index) {
    const double e = std::abs(got - want);
    if (!(e <= worst)) worst = e, at = index;
    difference += e * e, size += want * want;
  }
  double ratio() const { return std::sqrt(difference / size); }
};

void compare(const Case& c, const Data& d, const Got& got, int h, bool statistics = true) {
  const Answer want = reference(c, d, h);
  Deviation y, inverse, largest;
  std::vector<bool> inside(c.rows, false);
  for (const Extent& e : c.extents) {
    for (Index n = 0; n < e.length; ++n) {
      const Index row = e.row + n;
      inside[row] = true;
      for (int i = 0; i < c.D; ++i) y.add(want.y[row * c.D + i], got.y[(row * c.H + h) * c.D + i], row);
      if (!statistics) continue;
      inverse.add(1, got.inverse[row * c.H + h] / want.inverse[row], row);
      if (!c.hybrid || want.largest_at[row] < 0) continue;
      largest.add(want.largest[row], got.largest[row * c.H + h], row);
      const int at = got.largest_at[row * c.H + h];
      REQUIRE_MESSAGE(((at >= c.begin(static_cast<int>(n)) || (at >= 0 && at < c.sinks)) && at <= n), "row " << row << " head " << h << " at " << at);
      // Sums in fp32 may break a tie the other way; the key named must have the score named.
      const bf16* q = &d.q[(row * c.H + h) * c.D];
      const bf16* k = &d.k[((e.row + at) * c.G + h / (c.H / c.G)) * c.D];
      double s = 0;
      for (int i = 0; i < c.D; ++i) s += static_cast<double>(q[i]) * k[i];
      CHECK(std::abs(s / std::sqrt(c.D) - want.largest[row]) < 1e-4 * (1 + std::abs(want.largest[row])));
    }
  }
  CHECK_MESSAGE(y.ratio() < 6e-3,
                "y of head " << h << ": ratio " << y.ratio() << ", worst " << y.worst << " at row " << y.at);
  CHECK_MESSAGE(y.worst < 5e-2, "y of head " << h << ": worst " << y.worst << " at row " << y.at);
  CHECK_MESSAGE(inverse.worst < 1e-2,
                "1 / den of head " << h << ": worst " << inverse.worst << " at row " << inverse.at);
  CHECK_MESSAGE(largest.worst < 1e-3, "c of head " << h << ": worst " << largest.worst << " at row " << largest.at);
  bool zero = true;
  for (int row = 0; row < c.rows; ++row) {
    for (int i = 0; !inside[row] && i < c.H * c.D; ++i)
      zero = zero && got.y[static_cast<Index>(row) * c.H * c.D + i].bits == 0;
  }
  CHECK_MESSAGE(zero, "padding rows must be zero");
  CHECK_MESSAGE(got.intact, "guards");
}

bool same_bits(const Got& a, const Got& b) {
  const auto same = [](const auto& x, const auto& y) {
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(x[0])) == 0;
  };
  return same(a.y, b.y) && same(a.largest, b.largest) && same(a.inverse, b.inverse) && same(a.largest_at, b.largest_at);
}

/// Extents of these lengths with `gap` rows of padding before, between and behind them.
void place(Case& c, const std::vector<int>& lengths, int gap) {
  c.rows = gap;
  for (int length : lengths) {
    c.extents.push_back({c.rows, length, 0});
    c.rows += length + gap;
  }
}

bool no_gpu() {
  std::string reason;
  if (cuda::available(&reason) && cuda::device().capability == 90) return false;
  std::fprintf(stderr, "skipped: no Hopper GPU %s\n", reason.c_str());
  return true;
}

// Windows, written down once more.
template <Index Width, Index Tiles>
std::function<int(int)> begin_of(const Terraced<Width, Tiles>& window) {
  return [width = static_cast<int>(window.width())](int n) {
    const int begin = n - n % width - (static_cast<int>(Tiles) - 1) * width;
    return begin < 0 ? 0 : begin;
  };
}
template <Index Width>
std::function<int(int)> begin_of(const Sliding<Width>& window) {
  return [width = static_cast<int>(window.width())](int n) { return n + 1 > width ? n + 1 - width : 0; };
}
std::function<int(int)> begin_of(const Nothing&) {
  return [](int n) { return n + 1; };
}

template <class M, class W, int Size>
struct Student {
  using Map = M;
  using Window = W;
  [[maybe_unused]] static constexpr int D = Size;
  static Case describe(const W& window = {}) {
    Case c;
    c.formula = std::is_base_of_v<Relu<64>, M> || std::is_base_of_v<Relu<128>, M> ? Formula::relu : Formula::hedgehog;
    c.bias = M::bias != Bias::none;
    c.head_bias = M::bias == Bias::head;
    c.f = M::projected;
    c.D = Size;
    c.hybrid = W::has_near;
    c.begin = begin_of(window);
    c.sinks = static_cast<int>(sinks_of<W>);
    return c;
  }
};

#ifdef LOLCATS_TEST_FEW
#define STUDENTS LOLCATS_TEST_FEW
#else
#define STUDENTS                                                                                                      \
  Student<Hedgehog<64>, Terraced<64>, 128>, Student<Hedgehog<64>, Terraced<64, 1>, 128>,                              \
      Student<Hedgehog<64>, Sliding<64>, 128>, Student<Hedgehog<64>, Nothing, 128>,                                   \
      Student<T2R<128>, Terraced<64>, 128>, Student<T2R<128>, Nothing, 128>, Student<Hedgehog<64>, Terraced<64>, 64>, \
      Student<T2R<64, Bias::head>, Sliding<64>, 64>, Student<Hedgehog<64>, Sinks<4, Terraced<64>>, 64>,              \
      Student<Hedgehog<64>, Sinks<4, Terraced<64>>, 128>, Student<Hedgehog<64>, Sinks<8, Sliding<64>>, 128>,          \
      Student<T2R<128>, Sinks<4, Terraced<64>>, 128>
#endif

}  // namespace

TEST_CASE_TEMPLATE("The fused forward pass is the plain formula on ragged sequences", S, STUDENTS) {
  if (no_gpu()) return;
  for (const int G : {4, 1}) {
    Case c = S::describe();
    c.H = 4;
    c.G = G;
    c.per_group = G == 1;
    c.affine = G == 1 && c.hybrid;
    place(c, {1, 3, 63, 64, 65, 127, 128, 129, 300}, 5);
    const Data d = make_data(c);
    for (const int chunk_tiles : {0, 1, 2, 100}) {
      CAPTURE(chunk_tiles);
      CAPTURE(G);
      const Got got = run<typename S::Map, typename S::Window>(c, d, chunk_tiles);
      compare(c, d, got, 0);
      compare(c, d, got, 3);
      for (int again = 0; again < 3; ++again) {
        CHECK(same_bits(got, run<typename S::Map, typename S::Window>(c, d, chunk_tiles)));
      }
    }
  }
}

TEST_CASE_TEMPLATE("Long sequences, split and whole, eight query heads to a key head", S, STUDENTS) {
  if (no_gpu()) return;
  Case c = S::describe();
  c.H = 8;
  c.G = 1;
  c.scale = 3;
  place(c, {1000, 65}, 0);
  const Data d = make_data(c);
  for (const int chunk_tiles : {100, 5}) {
    CAPTURE(chunk_tiles);
    const Got got = run<typename S::Map, typename S::Window>(c, d, chunk_tiles);
    compare(c, d, got, 5);
    const Got bare = run<typename S::Map, typename S::Window>(c, d, chunk_tiles, false);
    CHECK(std::memcmp(bare.y.data(), got.y.data(), got.y.size() * sizeof(bf16)) == 0);
  }
}

#ifdef LOLCATS_TEST_FEW_TILES
#define STUDENTS_BY_TILES LOLCATS_TEST_FEW_TILES
#else
#define STUDENTS_BY_TILES                                                             \
  Student<Hedgehog<64>, Sliding<16>, 128>, Student<Hedgehog<64>, Sliding<128>, 128>,  \
      Student<T2R<128>, Terraced<128>, 128>, Student<Hedgehog<64>, Terraced<24>, 64>, \
      Student<Hedgehog<64>, Nothing, 64>, Student<Hedgehog<64>, Sinks<9, Sliding<100>>, 64>
#endif

TEST_CASE_TEMPLATE("Any window by tiles is the plain formula, too", S, STUDENTS_BY_TILES) {
  if (no_gpu()) return;
  for (const int G : {4, 1}) {
    Case c = S::describe();
    c.H = 4;
    c.G = G;
    c.affine = G == 1 && c.hybrid;
    place(c, {1, 3, 63, 64, 65, 127, 128, 129, 300, 1000}, 5);
    const Data d = make_data(c);
    CAPTURE(G);
    const Got got = run<typename S::Map, typename S::Window>(c, d, by_tiles);
    compare(c, d, got, 0);
    compare(c, d, got, 3);
    const Got bare = run<typename S::Map, typename S::Window>(c, d, by_tiles, false);
    CHECK(std::memcmp(bare.y.data(), got.y.data(), got.y.size() * sizeof(bf16)) == 0);
    for (int again = 0; again < 3; ++again)
      CHECK(same_bits(got, run<typename S::Map, typename S::Window>(c, d, by_tiles)));
  }
}

TEST_CASE("Windows whose size is known at run time") {
  if (no_gpu()) return;
  const auto check = [](auto window, const std::vector<int>& lengths, const std::vector<int>& chunks) {
    using W = decltype(window);
    Case c = Student<Hedgehog<64>, W, 128>::describe(window);
    place(c, lengths, 5);
    const Data d = make_data(c);
    for (const int chunk_tiles : chunks) {
      CAPTURE(window.width());
      CAPTURE(chunk_tiles);
      compare(c, d, run<Hedgehog<64>, W>(c, d, chunk_tiles, true, window), 3);
    }
  };
  check(Sliding<>(64), {1, 65, 300}, {0, 1, by_tiles});
  check(Terraced<>(64), {1, 65, 300}, {0, 1, by_tiles});
  check(Sliding<>(1000), {1, 65, 128}, {0, by_tiles});  // everything is near
  for (const Index width : {1, 30, 100, 200}) {
    check(Sliding<>(width), {1, 65, 300}, {by_tiles});
    check(Terraced<>(width), {1, 65, 300}, {by_tiles});
  }
}

TEST_CASE("More sequences than one launch takes") {
  if (no_gpu()) return;
  Case c = Student<Hedgehog<64>, Terraced<64>, 128>::describe();
  place(c, std::vector<int>(300, 70), 0);
  const Data d = make_data(c);
  compare(c, d, run<Hedgehog<64>, Terraced<64>>(c, d, 0), 2);
}

TEST_CASE("Normalizers and outputs do not drift over 32768 tokens") {
  if (no_gpu()) return;
  Case c = Student<Hedgehog<64>, Terraced<64>, 128>::describe();
  c.H = c.G = 1;
  place(c, {32768}, 0);
  const Data d = make_data(c);
  // Features are factors of a product, so they are rounded to bf16; a query's largest one by up to 2^-9, which is then in
  // its numerator and its denominator alike.  That is there from the first far key on and does not grow.  What may grow
  // with the sequence is the sum over keys, which shows against the double of rounded features.
  const Answer exact = reference(c, d, 0), rounded = reference(c, d, 0, true);
  for (const int chunk_tiles : {512, 64}) {
    const Got got = run<Hedgehog<64>, Terraced<64>>(c, d, chunk_tiles);
    for (const Index last : {1024, 4096, 32768}) {
      Deviation against_exact, against_rounded, y;
      double mean_exact = 0;
      for (Index row = last - 512; row < last; ++row) {
        against_exact.add(1, got.inverse[row] / exact.inverse[row], row);
        against_rounded.add(1, got.inverse[row] / rounded.inverse[row], row);
        mean_exact += (got.inverse[row] / exact.inverse[row] - 1) / 512;
        for (int i = 0; i < c.D; ++i) y.add(exact.y[row * c.D + i], got.y[row * c.D + i], row);
      }
      MESSAGE("chunks of " << chunk_tiles << " tiles, 512 rows before " << last << ": 1 / den off by " << mean_exact
                           << " in the mean, " << against_exact.ratio() << " RMS, " << against_exact.worst
                           << " at worst; of rounded features " << against_rounded.ratio() << ", "
                           << against_rounded.worst << "; y ratio " << y.ratio());
      CHECK(std::abs(mean_exact) < 1e-4);
      CHECK(against_rounded.ratio() < 1e-4);
      CHECK(against_rounded.worst < 1e-3);  // where ours and the reference's round a feature to different sides
      CHECK(against_exact.worst < 2e-3);
      CHECK(y.ratio() < 1e-2);
    }
  }
}
