// The delta rule on CUDA.
#pragma once

#include <lolcats/backend/cuda_columns.cuh>
#include <lolcats/ops/delta_rule/cuda_walk.cuh>
#include <lolcats/ops/delta_rule/delta_rule.hpp>

#include <algorithm>
#include <cmath>

namespace lolcats {

namespace delta {

/// 1 / length of each of `rows` rows of `size` numbers, 0 for a row of zeros.  A warp per row.
template <class T>
__global__ void inverse_lengths(const T* x, Index rows, int size, float* to) {
  const Index row = static_cast<Index>(blockIdx.x) * (threads / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < size; i += 32) {
    const float value = cuda::to_float(x[row * size + i]);
    squares = fmaf(value, value, squares);
  }
  squares = cuda::warp_sum(squares);
  if (threadIdx.x % 32 == 0) to[row] = squares > 0 ? 1 / sqrtf(squares) : 0.0F;
}

/// z of element i of (M, N).
template <class T>
struct GateInput {
  const T *gate, *bias;  // (M, N), (N); either may be null
  int states;

  __device__ double operator()(Index i) const {
    return (gate ? static_cast<double>(cuda::to_float(gate[i])) : 0.0) + (bias ? static_cast<double>(cuda::to_float(bias[i % states])) : 0.0);
  }
};
template <GatePolicy R, class T>
__global__ void gate_rates(GateInput<T> z, Index count, float* rates) {
  const Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x;
  if (i < count) rates[i] = static_cast<float>(std::exp(R::log_decay(z(i))));
}

// What follows runs over the rows of extents.  Grid: extents, pieces of their tokens.

/// From gradients of unit rows (M, heads, F) to those of the features x.  A warp per row.
template <class T>
__global__ void pull_unit_rows(const Extent* extents, const T* x, const float* inverse, const float* units, int heads, int size, Sink<T> sink) {
  const Extent e = extents[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (Index r = e.row * heads + blockIdx.y * (threads / 32) + threadIdx.x / 32; r < (e.row + e.length) * heads; r += gridDim.y * (threads / 32)) {
    const float own = inverse[r];
    float along = 0;
    for (int i = lane; i < size; i += 32) along = fmaf(cuda::to_float(x[r * size + i]) * own, units[r * size + i], along);
    along = cuda::warp_sum(along);
    for (int i = lane; i < size; i += 32) {
      T& to = sink.gradient.data[r * size + i];
      const float gradient = own * (units[r * size + i] - cuda::to_float(x[r * size + i]) * own * along);
      to = cuda::from_float<T>(sink.add ? cuda::to_float(to) + gradient : gradient);
    }
  }
}

/// dv (M, G * D): b times the changes' gradients, over the states that read a value head.
template <class T>
__global__ void pull_values(Call<T> call, const float* changes, Sink<T> sink) {
  const Extent e = call.extents[blockIdx.x];
  const int per = call.states / call.keys, D = call.size;
  const Index width = static_cast<Index>(call.keys) * D, end = (e.row + e.length) * width;
  for (Index i = e.row * width + blockIdx.y * threads + threadIdx.x; i < end; i += static_cast<Index>(gridDim.y) * threads) {
    float sum = sink.add ? cuda::to_float(sink.gradient.data[i]) : 0.0F;
    for (Index s = i / D * per; s < (i / D + 1) * per; ++s) sum = fmaf(call.rates[s], changes[s * D + i % D], sum);
    sink.gradient.data[i] = cuda::from_float<T>(sum);
  }
}

/// dz (M, N), and the gate's gradient unless it is null.  A warp per row of D numbers.
template <GatePolicy R, class T>
__global__ void pull_rates(Call<T> call, GateInput<T> z, const float* errors, const float* changes, Sink<T> sink, float* dz) {
  const Extent e = call.extents[blockIdx.x];
  const Index step = static_cast<Index>(gridDim.y) * (threads / 32), end = (e.row + e.length) * call.states;
  for (Index i = e.row * call.states + blockIdx.y * (threads / 32) + threadIdx.x / 32; i < end; i += step) {
    float sum = 0;
    for (int c = static_cast<int>(threadIdx.x) % 32; c < call.size; c += 32) sum = fmaf(errors[i * call.size + c], changes[i * call.size + c], sum);
    sum = cuda::warp_sum(sum);
    if (threadIdx.x % 32 != 0) continue;
    dz[i] = static_cast<float>(static_cast<double>(sum) * static_cast<double>(call.rates[i]) * R::slope(z(i)));
    if (!sink.gradient.data) continue;
    T& to = sink.gradient.data[i];
    to = cuda::from_float<T>(sink.add ? cuda::to_float(to) + dz[i] : dz[i]);
  }
}
struct StoredNumbers {
  const float* data;
  Index cols;
  __device__ float operator()(Index m, Index c) const { return data[m * cols + c]; }
};

/// f(Line) for lines of `size` numbers.
template <class F>
void with_lines(Index size, const F& f) {
  if (size <= 64) return f(Line<8, 8>{});
  if (size <= 128) return f(Line<8, 16>{});
  if (size <= 256) return f(Line<16, 16>{});
  require<ShapeError>(size <= 1024, "delta_rule: a state has {} rows or columns, expected at most 1024 on CUDA", size);
  f(Line<32, 32>{});
}

/// Launches a walk of lines L over `lines` of them per state, with tiles of as many tokens as fit into 24 KiB.
template <class L, class T, class... Parameters, class... Arguments>
void walk(const char* name, void (*kernel)(Call<T>, Parameters...), Call<T> call, Index sequences, Index lines, int floats, cudaStream_t stream,
          Arguments... arguments) {
  call.tokens = std::clamp(24 * 1024 / 4 / floats, 1, most_tokens);
  const dim3 grid(static_cast<unsigned>(sequences), static_cast<unsigned>(call.states), cuda::blocks_for(lines, L::per_block));
  cuda::launch(name, kernel, {grid, threads, stream, sizeof(float) * static_cast<std::size_t>(call.tokens * floats)}, call, arguments...);
}

}  // namespace delta

template <class T, GatePolicy R>
struct DeltaRuleKernel<Cuda<T>, R> {
  using B = Cuda<T>;
  using Problem = DeltaRuleProblem<B>;

  static void forward(const B& backend, const Problem& p, std::span<float* const> states, const DeltaRuleRecord<B>& record, View<T> y) {
    if (p.sequences->padded()) backend.zero(y.data, y.size());
    const Prepared prepared(backend, p);
    cuda::Scratch<float*> there(static_cast<Index>(states.size()), backend.stream());
    if (!states.empty()) backend.upload(states.data(), there.data(), there.size());
    float* const* const addresses = states.empty() ? nullptr : there.data();
    delta::with_lines(p.features, [&](auto line) {
      using L = decltype(line);
      delta::walk<L>("delta_rule", delta::forward<L, T>, prepared.call, p.sequences->count(), p.heads.size,
                     delta::column_floats<L>(prepared.group()), backend.stream(), addresses, record.errors.data, record.last.data, y.data);
    });
  }

  static void backward(const B& backend, const Problem& p, const DeltaRuleRecord<B>& record, View<const T> dy, const DeltaRuleSinks<B>& sinks) {
    const cudaStream_t stream = backend.stream();
    const Index rows = p.sequences->rows(), count = p.sequences->count();
    const auto clear = [&](const Sink<T>& sink) {
      if (p.sequences->padded() && sink.gradient && !sink.add) backend.zero(sink.gradient.data, sink.gradient.size());
    };
    clear(sinks.q), clear(sinks.k), clear(sinks.v), clear(sinks.gate);
    const Prepared prepared(backend, p);
    const delta::Call<T>& call = prepared.call;
    cuda::Scratch<float> changes(rows * p.states * p.heads.size, stream);
    delta::with_lines(p.features, [&](auto line) {
      using L = decltype(line);
      delta::walk<L>("delta_rule errors", delta::pull_errors<L, T>, call, count, p.heads.size, delta::column_floats<L>(prepared.group()), stream,
                     dy.data, changes.data());
    });
    const dim3 grid(static_cast<unsigned>(count), static_cast<unsigned>(std::clamp<Index>(p.sequences->longest() / 4, 1, 512)));
    const cuda::Launch pieces{grid, delta::threads, stream};
    if (sinks.v.gradient) cuda::launch("delta_rule values", delta::pull_values<T>, pieces, call, changes.data(), sinks.v);
    if (sinks.q.gradient || sinks.k.gradient) {
      cuda::Scratch<float> dqueries(p.q.size(), stream), dkeys(p.k.size(), stream);
      delta::with_lines(p.heads.size, [&](auto line) {
        using L = decltype(line);
        delta::walk<L>("delta_rule features", delta::pull_features<L, T>, call, count, p.features, delta::row_floats<L>(prepared.group()), stream,
                       dy.data, record.errors.data, changes.data(), record.last.data, dqueries.data(), dkeys.data());
      });
      const auto pull = [&](const T* x, const float* inverse, const cuda::Scratch<float>& units, int heads, const Sink<T>& sink) {
        if (sink.gradient) {
          cuda::launch("delta_rule lengths", delta::pull_unit_rows<T>, pieces, call.extents, x, inverse, units.data(), heads, call.features, sink);
        }
      };
      pull(call.q, call.query_inverse, dqueries, call.heads, sinks.q);
      pull(call.k, call.key_inverse, dkeys, call.states, sinks.k);
    }
    if (!sinks.gate.gradient && !sinks.bias) return;
    cuda::Scratch<float> dz(rows * p.states, stream);
    if (p.sequences->padded()) backend.zero(dz.data(), dz.size());
    cuda::launch("delta_rule rates", delta::pull_rates<R, T>, pieces, call, prepared.z, record.errors.data, changes.data(), sinks.gate, dz.data());
    if (sinks.bias) {
      cuda::add_column_sums("delta_rule bias", stream, rows, p.states, delta::StoredNumbers{dz.data(), p.states}, sinks.bias.data);
    }
  }

 private:
  /// Lengths, rates and extents on the device.
  struct Prepared {
    cuda::Scratch<float> query_inverse, key_inverse, rates;
    cuda::Scratch<Extent> extents;
    delta::GateInput<T> z;
    delta::Call<T> call;

    Prepared(const B& backend, const Problem& p)
        : query_inverse(p.sequences->rows() * p.heads.queries, backend.stream()),
          key_inverse(p.sequences->rows() * p.states, backend.stream()),
          rates(key_inverse.size(), backend.stream()),
          extents(cuda::to_device(p.sequences->extents(), backend.stream())),
          z{p.gate.data, p.bias.data, static_cast<int>(p.states)},
          call{p.q.data, p.k.data, p.v.data, query_inverse.data(), key_inverse.data(), rates.data(), extents.data(),
               static_cast<int>(p.heads.queries), static_cast<int>(p.heads.keys), static_cast<int>(p.states), static_cast<int>(p.features),
               static_cast<int>(p.heads.size), 0} {
      const auto lengths = [&](const T* x, cuda::Scratch<float>& to) {
        const unsigned blocks = cuda::blocks_for(to.size(), delta::threads / 32);
        cuda::launch("delta_rule lengths", delta::inverse_lengths<T>, {blocks, delta::threads, backend.stream()}, x, to.size(), call.features,
                     to.data());
      };
      lengths(call.q, query_inverse);
      lengths(call.k, key_inverse);
      cuda::launch("delta_rule rates", delta::gate_rates<R, T>, {cuda::blocks_for(rates.size(), delta::threads), delta::threads, backend.stream()}, z,
                   rates.size(), rates.data());
    }
    int group() const { return call.heads / call.states; }
  };
};

}  // namespace lolcats
