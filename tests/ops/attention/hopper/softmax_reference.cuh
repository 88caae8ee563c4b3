// Plain double loops for softmax attention over ragged sequences: what the tests of this folder compare with.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <cmath>
#include <span>
#include <vector>

namespace softmax_reference {

/// Inputs as doubles, token-major; rows outside every extent are never read.
struct Inputs {
  lolcats::Heads heads;
  std::vector<lolcats::Extent> extents;
  long rows = 0;
  long window = 1L << 40;       // near keys of query n: [max(0, n - window + 1), n]
  std::vector<double> q, k, v;  // (M, H * D), (M, G * D), (M, G * D)
  std::vector<double> dy;       // (M, H * D)
  long sinks = 0;               // keys before this are near, too
};

/// Outputs; rows outside every extent are zero.
struct Outputs {
  std::vector<double> y, largest, inverse_denominator;  // (M, H * D), (M, H), (M, H)
  std::vector<double> dq, dk, dv;
};

inline Outputs run(const Inputs& in, bool gradients) {
  const long H = in.heads.queries, G = in.heads.keys, D = in.heads.size;
  Outputs out;
  out.y.assign(in.q.size(), 0);
  out.largest.assign(static_cast<std::size_t>(in.rows * H), 0);
  out.inverse_denominator = out.largest;
  if (gradients) {
    out.dq.assign(in.q.size(), 0);
    out.dk.assign(in.k.size(), 0);
    out.dv.assign(in.v.size(), 0);
  }
  std::vector<double> p, g;
  for (const lolcats::Extent& e : in.extents) {
    for (long h = 0; h < H; ++h) {
      const long kv = h / (H / G);
      const auto query = [&](long n) { return static_cast<std::size_t>((e.row + n) * H * D + h * D); };
      const auto key = [&](long j) { return static_cast<std::size_t>((e.row + j) * G * D + kv * D); };
      for (long n = 0; n < e.length; ++n) {
        const long begin = std::max(0L, n - in.window + 1);
        const auto size = static_cast<std::size_t>(D);
        const auto near = [&](long j) { return j < in.sinks || j >= begin; };
        p.assign(static_cast<std::size_t>(n + 1), 0);
        g = p;
        double largest = -1e300, sum = 0;
        for (long j = 0; j <= n; ++j) {
          if (!near(j)) continue;
          double s = 0;
          for (std::size_t i = 0; i < size; ++i) s += in.q[query(n) + i] * in.k[key(j) + i];
          p[static_cast<std::size_t>(j)] = s /= std::sqrt(static_cast<double>(D));
          largest = std::max(largest, s);
        }
        for (long j = 0; j <= n; ++j) {
          if (!near(j)) continue;
          double& x = p[static_cast<std::size_t>(j)];
          x = std::exp(x - largest);
          sum += x;
        }
        for (long j = 0; j <= n; ++j) {
          if (!near(j)) continue;
          p[static_cast<std::size_t>(j)] /= sum;
          for (std::size_t i = 0; i < size; ++i)
            out.y[query(n) + i] += p[static_cast<std::size_t>(j)] * in.v[key(j) + i];
        }
        out.largest[static_cast<std::size_t>((e.row + n) * H + h)] = largest;
        out.inverse_denominator[static_cast<std::size_t>((e.row + n) * H + h)] = 1 / sum;
        if (!gradients) continue;
        double mean = 0;
        for (long j = 0; j <= n; ++j) {
          double& x = g[static_cast<std::size_t>(j)];
          for (std::size_t i = 0; i < size; ++i) x += in.dy[query(n) + i] * in.v[key(j) + i];
          mean += p[static_cast<std::size_t>(j)] * x;
        }
        for (long j = 0; j <= n; ++j) {
          if (!near(j)) continue;
          const double weight = p[static_cast<std::size_t>(j)];
          const double ds = weight * (g[static_cast<std::size_t>(j)] - mean) / std::sqrt(static_cast<double>(D));
          for (std::size_t i = 0; i < size; ++i) {
            out.dq[query(n) + i] += ds * in.k[key(j) + i];
            out.dk[key(j) + i] += ds * in.q[query(n) + i];
            out.dv[key(j) + i] += weight * in.dy[query(n) + i];
          }
        }
      }
    }
  }
  return out;
}

}  // namespace softmax_reference
