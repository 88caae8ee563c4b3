// The attention that keys receive within the window, on a GPU: what ReceivedAttention scores them by.
#pragma once

#include <lolcats/ops/attention/cuda_call.cuh>

namespace lolcats::general {

/// scores (key rows, G) of the keys that were not kept apart, in the mean over the queries that have them in their window: the
/// weights of softmax over the window and the sinks, summed over the query heads of a key/value head.  `f` has the statistics of
/// that softmax; `received` (key rows, G), if there is one, is the sum before these queries and becomes the one behind them.
/// Grid: tiles of keys, key/value heads.
template <class T>
__global__ void __launch_bounds__(tile_threads, 2) receive(Attend<T> f, const int* ends, float* received, float* scores) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* weights = b + tile_floats;
  const Segment s = f.segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int key_head = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x), row = thread / 4;
  const int first_key = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, keys = min(tile, s.keys - first_key);
  const std::int64_t k_row = static_cast<std::int64_t>(s.k_row) + first_key;
  const Rows<T> k = f.keys(f.k, key_head, k_row);
  const float scale = rsqrtf(static_cast<float>(f.heads.size));
  const int queries_end = ends[k_row + keys - 1];  // no later query has any of these keys in its window
  float sum = 0;                                   // of this thread's column
  for (int head = key_head * f.heads.group; head < (key_head + 1) * f.heads.group; ++head) {
    for (int first = max(0, first_key - s.offset); first < queries_end; first += tile) {
      const int count = min(tile, queries_end - first);
      const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
      row_products<T>(weights, a, b, f.queries(f.q, head, q_row), 0, count, k, 0, keys);
      int begin = 0, end = 0;  // columns in the window of this thread's query
      float largest = 0, inverse = 0;
      if (row < count) {
        const std::int64_t n = (q_row + row) * f.heads.queries + head;
        begin = f.begins[q_row + row] - first_key;
        end = min(keys, s.offset + first + row + 1 - first_key);
        largest = f.largest[n];
        inverse = f.inverse_denominator[n];
      }
      for_row([&](int c) {
        float& at = weights[row * tile_stride + c];
        at = c >= begin && c < end ? expf(at * scale - largest) * inverse : 0.0F;
      });
      __syncthreads();
      for (int r = 0; thread < keys && r < count; ++r) sum += weights[r * tile_stride + thread];
    }
  }
  const int j = first_key + thread;
  if (thread >= keys || j < s.apart) return;  // cached keys have their scores
  const std::int64_t at = (k_row + thread) * f.heads.keys + key_head;
  if (received) sum = received[at] += sum;
  scores[at] = sum / static_cast<float>(max(1, s.offset + ends[k_row + thread] - j));
}

/// Runs it for all keys of a call, see `receive`.
template <class T, class Map, Window W, MemoryPolicy M>
void received_attention(const Call<T, Map, W, M>& call, const Plan& plan, Segments segments, const int* ends, float* received,
                        float* scores) {
  const auto& p = call.problem();
  const Index rows = p.sequences->rows(), numbers = rows * p.heads.queries;
  Workspace space(call.stream());
  const auto begins = space.template add<int>(rows);
  const auto largest = space.template add<float>(numbers), inverse = space.template add<float>(numbers);
  const auto largest_at = space.template add<std::int32_t>(numbers);
  space.allocate();
  call.run_window(segments, plan, begins.data());
  Attend<T> near = call.attend_arguments(segments, call.all_heads(), begins.data());
  near.window_factors = nullptr;  // window and sinks alone, by softmax
  near.affine = false;
  near.largest = largest.data();
  near.inverse_denominator = inverse.data();
  near.largest_at = largest_at.data();
  launch_attend(call.stream(), near, plan);
  cuda::launch("attention: received", receive<T>,
               {dim3(static_cast<unsigned>(plan.key_tiles), static_cast<unsigned>(p.heads.keys)), tile_threads, call.stream(),
                sizeof(float) * 3 * tile_floats},
               near, ends, received, scores);
}

}  // namespace lolcats::general
