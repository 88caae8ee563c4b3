// The fused backward against plain loops in double that share no code with it.
#include <lolcats/ops/attention/hopper/backward.cuh>
#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>
#include <vector>

using namespace lolcats;

namespace {

using B = Cuda<bf16>;
using Doubles = std::vector<double>;

// ---- Maps, written down once more.

template <class Map>
struct Plain;
template <Index Rank>
struct Plain<Hedgehog<Rank>> {
  static Doubles features(const Doubles& z) {
    Doubles phi;
    for (const double sign : {1.0, -1.0}) {
      double sum = 0;
      for (const double x : z) sum += std::exp(sign * x);
      for (const double x : z) phi.push_back(std::exp(sign * x) / sum);
    }
    return phi;
  }
  static Doubles pull(const Doubles& z, const Doubles& dphi) {
    const Doubles phi = features(z);
    const std::size_t f = z.size();
    Doubles dz(f);
    for (std::size_t part = 0; part < 2; ++part) {
      double mean = 0;
      for (std::size_t i = 0; i < f; ++i) mean += phi[part * f + i] * dphi[part * f + i];
      for (std::size_t i = 0; i < f; ++i) dz[i] += (part ? -1 : 1) * phi[part * f + i] * (dphi[part * f + i] - mean);
    }
    return dz;
  }
};
template <Index Rank>
struct Plain<HedgehogHalf<Rank>> {
  static Doubles features(const Doubles& z) {
    Doubles phi = Plain<Hedgehog<Rank>>::features(z);
    phi.resize(z.size());
    return phi;
  }
  static Doubles pull(const Doubles& z, Doubles dphi) {
    dphi.resize(2 * z.size(), 0.0);
    return Plain<Hedgehog<Rank>>::pull(z, dphi);
  }
};
template <Index Rank>
struct Plain<HedgehogExp<Rank>> {
  static std::pair<std::size_t, std::size_t> extremes(const Doubles& z) {
    const auto [low, high] = std::minmax_element(z.begin(), z.end());
    return {low - z.begin(), high - z.begin()};
  }
  static Doubles features(const Doubles& z) {
    const auto [low, high] = extremes(z);
    Doubles phi;
    for (const double x : z) phi.push_back(std::exp(x - z[high]));
    for (const double x : z) phi.push_back(std::exp(z[low] - x));
    return phi;
  }
  static Doubles pull(const Doubles& z, const Doubles& dphi) {
    const auto [low, high] = extremes(z);
    Doubles dz(z.size());
    for (std::size_t i = 0; i < z.size(); ++i) {
      const double up = std::exp(z[i] - z[high]) * dphi[i], down = std::exp(z[low] - z[i]) * dphi[z.size() + i];
      dz[i] += up - down;
      dz[high] -= up;
      dz[low] += down;
    }
    return dz;
  }
};
template <Index Rank>
struct Plain<Relu<Rank>> {
  static Doubles features(const Doubles& z) {
    Doubles phi;
    for (const double x : z) phi.push_back(x > 1e-12 ? x : 1e-12);
    return phi;
  }
  static Doubles pull(const Doubles& z, const Doubles& dphi) {
    Doubles dz;
    for (std::size_t i = 0; i < z.size(); ++i) dz.push_back(z[i] > 1e-12 ? dphi[i] : 0.0);
    return dz;
  }
};
template <Index Rank, Bias Form>
struct Plain<T2R<Rank, Form>> : Plain<Relu<Rank>> {};
template <Index Rank>
struct Plain<EluPlusOne<Rank>> {
  static Doubles features(const Doubles& z) {
    Doubles phi;
    for (const double x : z) phi.push_back(x > 0 ? 1 + x : std::exp(x));
    return phi;
  }
  static Doubles pull(const Doubles& z, const Doubles& dphi) {
    Doubles dz;
    for (std::size_t i = 0; i < z.size(); ++i) dz.push_back(z[i] > 0 ? dphi[i] : dphi[i] * std::exp(z[i]));
    return dz;
  }
};

// ---- Windows, too.

template <Index Width, Index Tiles>
Index first_near(const Terraced<Width, Tiles>&, Index n) {
  Index begin = n - n % Width;
  for (Index i = 1; i < Tiles; ++i) begin -= Width;
  return begin < 0 ? 0 : begin;
}
template <Index Width>
Index first_near(const Sliding<Width>& window, Index n) {
  return n + 1 > window.width() ? n + 1 - window.width() : 0;
}
Index first_near(const Nothing&, Index n) { return n + 1; }

// ---- A problem on the host, its outputs, and what they should be.

struct Case {
  std::vector<Extent> extents;
  Index rows = 0;
  Heads heads;
  bool affine = false;
  bool per_group = false;  // key maps
  bool add = false;
  unsigned seed = 1;
  // Which gradients are wanted.
  bool q = true, k = true, v = true, query_map = true, key_map = true, factors = true;
};

Index key_maps(const Case& c) { return c.per_group ? c.heads.keys : c.heads.queries; }
Case one(Index length, Heads heads) { return {{{0, length, 0}}, length, heads}; }

struct Result {
  Doubles dq, dk, dv, dwq, dwk, dbq, dbk, factors;
};

double rounded(double x) { return static_cast<float>(bf16(static_cast<float>(x))); }

struct Inputs {
  Doubles q, k, v, dy, wq, wk, bq, bk, factors;         // rounded to bf16
  Doubles y, largest, inverse_denominator, largest_at;  // of the forward pass, by the reference
};

template <class Map>
Inputs make_inputs(const Case& c) {
  std::mt19937_64 random(c.seed);
  std::normal_distribution<double> normal;
  const auto fill = [&](Index count, double scale) {
    Doubles x(static_cast<std::size_t>(count));
    for (double& e : x) e = rounded(scale * normal(random));
    return x;
  };
  const auto [H, G, D] = c.heads;
  const Index f = Map::projected;
  const Index bias = Map::bias == Bias::none ? 0 : Map::bias == Bias::head ? 1 : f;
  const double spread = 1.4 / std::sqrt(static_cast<double>(D));
  return {fill(c.rows * H * D, 1),
          fill(c.rows * G * D, 1),
          fill(c.rows * G * D, 1),
          fill(c.rows * H * D, 1),
          fill(H * D * f, spread),
          fill(key_maps(c) * D * f, spread),
          fill(H * bias, 0.5),
          fill(key_maps(c) * bias, 0.5),
          fill(H, 1.5),
          {},
          {},
          {},
          {}};
}

/// Forward and backward of all heads.  Sums over a group and over sequences are taken in a fixed order.
template <class Map, class W>
Result reference(const Case& c, Inputs& in) {
  const auto [H, G, D] = c.heads;
  const Index f = Map::projected, M = c.rows;
  const Index bias = Map::bias == Bias::none ? 0 : Map::bias == Bias::head ? 1 : f;
  const W window{};
  in.y.assign(in.q.size(), 0);
  for (Doubles* x : {&in.largest, &in.inverse_denominator, &in.largest_at})
    x->assign(static_cast<std::size_t>(M * H), 0);
  Result out;
  out.dq.assign(in.q.size(), 0);
  out.dk.assign(in.k.size(), 0);
  out.dv.assign(in.v.size(), 0);
  out.dwq.assign(in.wq.size(), 0);
  out.dwk.assign(in.wk.size(), 0);
  out.dbq.assign(in.bq.size(), 0);
  out.dbk.assign(in.bk.size(), 0);
  out.factors.assign(in.factors.size(), 0);

  const auto head = [&](Index h, Index g) {
    const Index m = c.per_group ? g : h;  // the key map
    const double gamma = W::has_near ? 1 / (1 + std::exp(-in.factors[h])) : 0;
    const double beta = c.affine ? 1 - gamma : 1;
    double dgamma = 0, dbeta = 0;
    for (const Extent& e : c.extents) {
      const Index T = e.length;
      const auto at = [&](const Doubles& x, Index heads, Index n, Index i) {
        return x.data() + ((e.row + n) * heads + i) * D;
      };
      const auto dot = [](const double* a, const double* b, Index count) {
        double s = 0;
        for (Index i = 0; i < count; ++i) s += a[i] * b[i];
        return s;
      };
      const auto axpy = [](double s, const double* x, double* y, Index count) {
        for (Index i = 0; i < count; ++i) y[i] += s * x[i];
      };
      const auto project = [&](const double* x, const Doubles& w, const Doubles& b, Index map) {
        Doubles z(static_cast<std::size_t>(f));
        for (Index j = 0; j < f; ++j) z[j] = bias ? b[map * bias + (bias == 1 ? 0 : j)] : 0;
        for (Index d = 0; d < D; ++d) axpy(x[d], w.data() + (map * D + d) * f, z.data(), f);
        return z;
      };
      std::vector<Doubles> zq, zk, fq, fk, dfq, dfk;
      for (Index n = 0; n < T; ++n) {
        zq.push_back(project(at(in.q, H, n, h), in.wq, in.bq, h));
        zk.push_back(project(at(in.k, G, n, g), in.wk, in.bk, m));
        fq.push_back(Plain<Map>::features(zq.back()));
        fk.push_back(Plain<Map>::features(zk.back()));
        dfq.emplace_back(fq.back().size());
        dfk.emplace_back(fk.back().size());
      }
      const Index F = static_cast<Index>(fq[0].size());
      Doubles s(T), p(T), dp(T);
      for (Index n = 0; n < T; ++n) {
        const double *q = at(in.q, H, n, h), *dy = at(in.dy, H, n, h);
        const Index begin = first_near(window, n);
        const auto is_far = [&](Index j) { return j < begin && j >= sinks_of<W>; };
        double c_n = -std::numeric_limits<double>::infinity(), den = W::has_near ? 0 : 1e-12;
        Index best = -1;
        for (Index j = 0; j <= n; ++j) {
          if (is_far(j)) continue;
          s[j] = dot(q, at(in.k, G, j, g), D) / std::sqrt(static_cast<double>(D));
          if (s[j] > c_n) c_n = s[j], best = j;
        }
        for (Index j = 0; j <= n; ++j) {
          p[j] = is_far(j) ? beta * dot(fq[n].data(), fk[j].data(), F) : gamma * std::exp(s[j] - c_n);
          den += p[j];
        }
        double* y = in.y.data() + ((e.row + n) * H + h) * D;
        for (Index j = 0; j <= n; ++j) axpy(p[j] / den, at(in.v, G, j, g), y, D);
        const double delta = dot(dy, y, D);
        double near = 0, far = 0;
        for (Index j = 0; j <= n; ++j) {
          axpy(p[j] / den, dy, out.dv.data() + ((e.row + j) * G + g) * D, D);
          dp[j] = (dot(dy, at(in.v, G, j, g), D) - delta) / den;
          (is_far(j) ? far : near) += p[j] * dp[j];
        }
        for (Index j = 0; j <= n; ++j) {
          if (is_far(j)) {
            axpy(beta * dp[j], fk[j].data(), dfq[n].data(), F);
            axpy(beta * dp[j], fq[n].data(), dfk[j].data(), F);
          } else {
            const double ds = (p[j] * dp[j] - (j == best ? near : 0)) / std::sqrt(static_cast<double>(D));
            axpy(ds, at(in.k, G, j, g), out.dq.data() + ((e.row + n) * H + h) * D, D);
            axpy(ds, q, out.dk.data() + ((e.row + j) * G + g) * D, D);
          }
        }
        if constexpr (W::has_near) dgamma += near / gamma;
        dbeta += far / beta;
        in.largest[(e.row + n) * H + h] = c_n;
        in.inverse_denominator[(e.row + n) * H + h] = 1 / den;
        in.largest_at[(e.row + n) * H + h] = static_cast<double>(best);
      }
      const auto pull = [&](const Doubles& z, const Doubles& dphi, const double* x, const Doubles& w, double* dx,
                            Doubles& dw, Doubles& db, Index map) {
        const Doubles dz = Plain<Map>::pull(z, dphi);
        for (Index d = 0; d < D; ++d) {
          dx[d] += dot(dz.data(), w.data() + (map * D + d) * f, f);
          axpy(x[d], dz.data(), dw.data() + (map * D + d) * f, f);
        }
        for (Index j = 0; bias && j < f; ++j) db[map * bias + (bias == 1 ? 0 : j)] += dz[j];
      };
      for (Index n = 0; n < T; ++n) {
        pull(zq[n], dfq[n], at(in.q, H, n, h), in.wq, out.dq.data() + ((e.row + n) * H + h) * D, out.dwq, out.dbq, h);
        pull(zk[n], dfk[n], at(in.k, G, n, g), in.wk, out.dk.data() + ((e.row + n) * G + g) * D, out.dwk, out.dbk, m);
      }
    }
    out.factors[h] = (dgamma - (c.affine ? dbeta : 0)) * gamma * (1 - gamma);
  };
  std::vector<std::thread> threads;  // one for each group, whose heads share dk and dv
  for (Index g = 0; g < G; ++g) {
    threads.emplace_back([&, g, H = H, G = G] {
      for (Index h = g * (H / G); h < (g + 1) * (H / G); ++h) head(h, g);
    });
  }
  for (std::thread& t : threads) t.join();
  return out;
}

// ---- The kernels under test.

/// Device memory with guards on both sides.
template <class T>
class Guarded {
 public:
  Guarded(Index count, double value) : count_(count), all_(Shape{count + 2 * guard}) {
    Doubles init(static_cast<std::size_t>(count + 2 * guard), value);
    for (Index i = 0; i < guard; ++i) init[i] = init[guard + count + i] = sentinel;
    B{}.from_host(init.data(), all_.data(), all_.size());
  }
  Guarded(const Doubles& values) : Guarded(static_cast<Index>(values.size()), 0) {
    B{}.from_host(values.data(), data(), count_);
  }
  T* data() { return all_.data() + guard; }
  View<T> view(const Shape& shape) { return count_ ? View<T>(data(), shape) : View<T>{}; }
  Doubles read() {
    Doubles all(static_cast<std::size_t>(all_.size()));
    B{}.to_host(all_.data(), all.data(), all_.size());
    for (Index i = 0; i < guard; ++i) {
      if (all[i] != sentinel || all[guard + count_ + i] != sentinel) intact_ = false;
    }
    CHECK(intact_);
    return Doubles(all.begin() + guard, all.begin() + guard + count_);
  }

 private:
  static constexpr Index guard = 256;
  static constexpr double sentinel = 3.0;
  Index count_;
  Array<B, T> all_;
  bool intact_ = true;
};

/// NaN in the rows that belong to no sequence.
Doubles with_padding(Doubles x, const Case& c, Index cols) {
  std::vector<bool> used(static_cast<std::size_t>(c.rows));
  for (const Extent& e : c.extents) std::fill_n(used.begin() + e.row, e.length, true);
  for (Index row = 0; row < c.rows; ++row) {
    if (!used[row]) std::fill_n(x.begin() + row * cols, cols, std::nan(""));
  }
  return x;
}

template <class Map, class W>
Result run(const Case& c, const Inputs& in, double before, int launches = 1) {
  const auto [H, G, D] = c.heads;
  const Index f = Map::projected, M = c.rows, K = key_maps(c);
  const Index bias = Map::bias == Bias::none ? 0 : Map::bias == Bias::head ? 1 : f;
  const double nan = std::nan("");
  Guarded<bf16> q(with_padding(in.q, c, H * D)), k(with_padding(in.k, c, G * D)), v(with_padding(in.v, c, G * D)),
      y(with_padding(in.y, c, H * D)), dy(with_padding(in.dy, c, H * D)), wq(in.wq), wk(in.wk), bq(in.bq), bk(in.bk),
      factors(in.factors);
  Guarded<float> largest(with_padding(in.largest, c, H)), inverse(with_padding(in.inverse_denominator, c, H));
  std::vector<std::int32_t> best(in.largest_at.begin(), in.largest_at.end());
  Array<B, std::int32_t> largest_at(Shape{M, H});
  B{}.upload(best.data(), largest_at.data(), largest_at.size());
  Guarded<bf16> dq(M * H * D, c.add ? before : nan), dk(M * G * D, c.add ? before : nan),
      dv(M * G * D, c.add ? before : nan);
  Guarded<float> dwq(H * D * f, before), dwk(K * D * f, before), dbq(H * bias, before), dbk(K * bias, before),
      df(H, before);

  const Sequences sequences(M, c.extents);
  AttentionProblem<B, W> problem{
      c.heads, &sequences, W{}, c.affine, q.view({M, H * D}), k.view({M, G * D}), v.view({M, G * D}), {}};
  problem.weights.query_map = {wq.view({H, D, f}), c.query_map ? dwq.view({H, D, f}) : View<float>{}};
  problem.weights.key_map = {wk.view({K, D, f}), c.key_map ? dwk.view({K, D, f}) : View<float>{}};
  if (bias) {
    problem.weights.query_bias = {bq.view({H, bias}), c.query_map ? dbq.view({H, bias}) : View<float>{}};
    problem.weights.key_bias = {bk.view({K, bias}), c.key_map ? dbk.view({K, bias}) : View<float>{}};
  }
  if (W::has_near)
    problem.weights.window_factors = {factors.view({1, H, 1, 1}), c.factors ? df.view({1, H, 1, 1}) : View<float>{}};
  const AttentionStatistics<B> statistics{largest.view({M, H}), inverse.view({M, H}), largest_at.view()};
  AttentionSinks<B> sinks;
  if (c.q) sinks.q = {dq.view({M, H * D}), c.add};
  if (c.k) sinks.k = {dk.view({M, G * D}), c.add};
  if (c.v) sinks.v = {dv.view({M, G * D}), c.add};
  Tape<B> tape;
  const bool taken = hopper::takes_backward<Map>(problem);
  REQUIRE(taken);
  for (int i = 0; i < launches; ++i)
    hopper::backward<Map>(tape, problem, y.view({M, H * D}), dy.view({M, H * D}), statistics, sinks);
  tape.backend().synchronize();
  return {dq.read(), dk.read(), dv.read(), dwq.read(), dwk.read(), dbq.read(), dbk.read(), df.read()};
}

bool on_hopper() {
  static const bool found = cuda::available() && cuda::device().capability == 90;
  if (!found) std::fputs("skipped: no GPU of compute capability 9.0\n", stderr);
  return found;
}

double norm_ratio(const Doubles& got, const Doubles& want, double before) {
  double error = 0, size = 1e-6;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - before - want[i]) * (got[i] - before - want[i]);
    size += want[i] * want[i];
  }
  return std::sqrt(error / size);
}

/// Norms of the errors relative to the norms of the gradients.  y, dy and the gradients of features and scores are
/// rounded to bf16 on the way (2^-9 each); the gradients of the maps and of gamma are sums with cancellation, most of
/// all that of one bias for a whole head, which may come down to a hundredth of its terms.
void compare(const std::string& what, const Case& c, const Result& got, const Result& want, double before,
             double bias_tolerance) {
  const struct {
    const char* name;
    bool wanted;
    const Doubles &got, &want;
    double tolerance;
    double before;
  } rows[] = {
      {"dq", c.q, got.dq, want.dq, 6e-3, c.add ? before : 0},
      {"dk", c.k, got.dk, want.dk, 6e-3, c.add ? before : 0},
      {"dv", c.v, got.dv, want.dv, 6e-3, c.add ? before : 0},
      {"dWq", c.query_map, got.dwq, want.dwq, 1.5e-2, before},
      {"dWk", c.key_map, got.dwk, want.dwk, 1.5e-2, before},
      {"dbq", c.query_map, got.dbq, want.dbq, bias_tolerance, before},
      {"dbk", c.key_map, got.dbk, want.dbk, bias_tolerance, before},
      {"factor", c.factors, got.factors, want.factors, 1.5e-2, before},
  };
  static const bool print = std::getenv("LOLCATS_PRINT") != nullptr;
  if (print) std::printf("%-44s", what.c_str());
  for (const auto& row : rows) {
    if (row.wanted) {
      const double error = norm_ratio(row.got, row.want, row.before);
      if (print && !row.want.empty()) std::printf(" %s %.1e", row.name, error);
      CHECK_MESSAGE(error < row.tolerance, what, ": ", std::string(row.name), " is off by ", error);
    } else {
      bool untouched = true;
      for (const double x : row.got) untouched &= x == before || std::isnan(x);
      CHECK_MESSAGE(untouched, what, ": ", std::string(row.name), " was not wanted and has been written");
    }
  }
  if (print) std::printf("\n"), std::fflush(stdout);
}

template <class Map, class W>
void check(const Case& c) {
  if (!on_hopper()) return;
  Inputs in = make_inputs<Map>(c);
  const Result want = reference<Map, W>(c, in);
  const double before = 0.5;
  std::string what = Map::name() + " " + W::name() + " D" + std::to_string(c.heads.size) + " H" +
                     std::to_string(c.heads.queries) + "/" + std::to_string(c.heads.keys);
  for (const Extent& e : c.extents) what += " " + std::to_string(e.length);
  compare(what, c, run<Map, W>(c, in, before), want, before, Map::bias == Bias::head ? 6e-2 : 3e-2);
}

}  // namespace

#ifndef LOLCATS_BACKWARD_PART
#define LOLCATS_BACKWARD_PART 15
#endif

#if LOLCATS_BACKWARD_PART & 1
TEST_CASE("lengths around the tiles, Hedgehog and two terraces") {
  for (const Index length : {1, 3, 63, 64, 65, 127, 128, 129, 640, 1000}) {
    check<Hedgehog<64>, Terraced<64>>(one(length, {4, 2, 128}));
  }
}

TEST_CASE("grouped heads") {
  for (const Heads heads : {Heads{2, 2, 128}, Heads{4, 1, 128}, Heads{16, 2, 128}})
    check<Hedgehog<64>, Terraced<64>>(one(300, heads));
}

TEST_CASE("one key map per key/value head") {
  for (const Heads heads : {Heads{4, 2, 128}, Heads{8, 1, 128}}) {
    Case c = one(300, heads);
    c.per_group = true;
    check<Hedgehog<64>, Terraced<64>>(c);
  }
}

TEST_CASE("ragged sequences between rows of NaN; a walk in several chunks") {
  Case c{{{0, 70, 0}, {75, 200, 0}, {275, 1, 0}, {300, 64, 0}, {364, 129, 0}}, 500, {4, 2, 128}};
  check<Hedgehog<64>, Terraced<64>>(c);
  c.affine = c.add = true;
  check<Hedgehog<64>, Terraced<64>>(c);
  check<Hedgehog<64>, Terraced<64>>(one(2100, {2, 1, 128}));
}

TEST_CASE("rows outside every sequence have no gradient") {
  if (!on_hopper()) return;
  const Case c{{{3, 70, 0}, {80, 10, 0}}, 100, {2, 1, 128}};
  Inputs in = make_inputs<Hedgehog<64>>(c);
  reference<Hedgehog<64>, Terraced<64>>(c, in);
  const Result got = run<Hedgehog<64>, Terraced<64>>(c, in, 0.5);
  for (const Index row : {0, 2, 73, 79, 90, 99}) {
    for (Index i = 0; i < 2 * 128; ++i) REQUIRE(got.dq[row * 256 + i] == 0);
    for (Index i = 0; i < 128; ++i) REQUIRE((got.dk[row * 128 + i] == 0 && got.dv[row * 128 + i] == 0));
  }
}

TEST_CASE("each gradient alone") {
  for (int wanted = 0; wanted < 6; ++wanted) {
    Case c = one(330, {4, 2, 128});
    bool* const flags[] = {&c.q, &c.k, &c.v, &c.query_map, &c.key_map, &c.factors};
    for (int i = 0; i < 6; ++i) *flags[i] = i == wanted;
    check<Hedgehog<64>, Terraced<64>>(c);
  }
}

TEST_CASE("the same bits at every launch") {
  if (!on_hopper()) return;
  Case c{{{0, 700, 0}, {700, 1000, 0}}, 1700, {8, 2, 128}};
  Inputs in = make_inputs<Hedgehog<64>>(c);
  in.y = in.dy;
  in.largest.assign(1700 * 8, 3);
  in.inverse_denominator.assign(1700 * 8, 0.1);
  in.largest_at.assign(1700 * 8, 0);
  const Result first = run<Hedgehog<64>, Terraced<64>>(c, in, 0);
  for (int i = 0; i < 20; ++i) {
    const Result again = run<Hedgehog<64>, Terraced<64>>(c, in, 0);
    CHECK((again.dq == first.dq && again.dk == first.dk && again.dv == first.dv && again.dwq == first.dwq &&
           again.dwk == first.dwk && again.factors == first.factors));
  }
}
#endif

#if LOLCATS_BACKWARD_PART & 2
TEST_CASE("other windows") {
  for (const Index length : {1, 64, 65, 200, 700}) {
    const Case c = one(length, {4, 2, 128});
    check<Hedgehog<64>, Terraced<64, 1>>(c);
    check<Hedgehog<64>, Sliding<64>>(c);
    check<Hedgehog<64>, Sliding<100>>(c);
    check<Hedgehog<64>, Nothing>(c);
  }
  check<Hedgehog<64>, Terraced<24>>(one(333, {4, 2, 128}));
  check<Hedgehog<64>, Sliding<16>>(
      {{{0, 70, 0}, {75, 200, 0}, {275, 1, 0}, {300, 64, 0}, {364, 129, 0}}, 500, {4, 2, 128}});
}
#endif

#if LOLCATS_BACKWARD_PART & 8
TEST_CASE("sinks beside windows and far keys") {
  for (const Index length : {1, 3, 64, 65, 200, 700}) {
    Case c = one(length, {4, 2, 64});
    check<Hedgehog<64>, Sinks<4, Terraced<64>>>(c);
    check<Hedgehog<64>, Sinks<9, Sliding<100>>>(c);
  }
  Case c{{{0, 70, 0}, {75, 200, 0}, {275, 1, 0}, {300, 64, 0}, {364, 129, 0}}, 500, {4, 2, 64}};
  c.per_group = c.affine = c.add = true;
  check<Hedgehog<64>, Sinks<4, Terraced<64>>>(c);
  for (int wanted = 0; wanted < 6; ++wanted) {
    Case alone = one(330, {4, 2, 64});
    bool* const flags[] = {&alone.q, &alone.k, &alone.v, &alone.query_map, &alone.key_map, &alone.factors};
    for (int i = 0; i < 6; ++i) *flags[i] = i == wanted;
    check<Hedgehog<64>, Sinks<4, Terraced<64>>>(alone);
  }
  check<Hedgehog<64>, Sinks<4, Sliding<64>>>(one(300, {4, 2, 128}));
  check<Hedgehog<64>, Sinks<4, Terraced<64>>>(one(333, {4, 1, 128}));
  check<Hedgehog<64>, Sinks<9, Sliding<100>>>(one(333, {4, 2, 128}));
}
#endif

#if LOLCATS_BACKWARD_PART & 4
TEST_CASE("other maps and head sizes") {
  for (const Index length : {65, 300}) {
    for (const Index size : {64, 128}) {
      const Case c = one(length, {4, 2, size});
      check<T2R<128>, Terraced<64>>(c);
      check<T2R<128, Bias::head>, Terraced<64>>(c);
      check<HedgehogExp<64>, Terraced<64>>(c);
      check<HedgehogHalf<64>, Terraced<64>>(c);
      check<EluPlusOne<128>, Terraced<64>>(c);
    }
    check<Hedgehog<64>, Terraced<64>>(one(length, {4, 2, 64}));
    Case shared = one(length, {4, 2, 64});
    shared.per_group = true;
    check<T2R<128>, Terraced<64>>(shared);
    check<T2R<128, Bias::head>, Terraced<64>>(shared);
    check<T2R<128>, Sliding<64>>(one(length, {4, 2, 128}));
  }
}
#endif
