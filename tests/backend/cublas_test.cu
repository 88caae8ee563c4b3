// cuda::multiply: every combination of types, transposes, strides, batches and factors against plain loops.
#include <lolcats/backend/cublas.cuh>
#include <lolcats/backend/cuda.cuh>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

template <class In, class Out>
struct Types {
  using in = In;
  using out = Out;
};

}  // namespace

TEST_CASE_TEMPLATE("products are sums of products", P, Types<float, float>, Types<bf16, float>, Types<bf16, bf16>) {
  if (!have_gpu()) return;
  using In = typename P::in;
  using Out = typename P::out;
  using B = Cuda<In>;
  const B backend;
  Rng rng(7);
  const double tolerance = std::is_same_v<Out, bf16> ? 5e-3 : 1e-5;  // bf16: the rounding of the result, 2^-9
  for (const cuda::ProductSize& size : {cuda::ProductSize{1, 1, 1}, {3, 65, 7}, {64, 63, 129}, {127, 8, 1000},
                                        {8, 127, 64, 3}, {65, 33, 17, 2}, {256, 128, 64}}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const Index extra : {0, 1, 8}) {
          for (const double beta : {0.0, 0.5}) {
            const Index a_rows = ta ? size.depth : size.rows, a_cols = ta ? size.rows : size.depth;
            const Index b_rows = tb ? size.cols : size.depth, b_cols = tb ? size.depth : size.cols;
            const Index a_stride = a_cols + extra, b_stride = b_cols + extra, c_stride = size.cols + extra;
            const auto a = normal<B>(Shape{size.batches, a_rows, a_stride}, rng);
            const auto b = normal<B>(Shape{size.batches, b_rows, b_stride}, rng);
            auto c = normal<B, Out>(Shape{size.batches, size.rows, c_stride}, rng);
            if (beta == 0) poison(backend, c.view());  // old content must not matter
            const auto va = host(backend, a.view()), vb = host(backend, b.view()), before = host(backend, c.view());
            cuda::multiply(backend.stream(), size, cuda::Factor<In>{a.data(), a_stride, ta, a_rows * a_stride},
                           cuda::Factor<In>{b.data(), b_stride, tb, b_rows * b_stride},
                           cuda::Product<Out>{c.data(), c_stride, size.rows * c_stride}, 0.75, beta);
            const auto after = host(backend, c.view());
            std::vector<double> want, got;
            bool kept = true;
            for (Index n = 0; n < size.batches; ++n) {
              for (Index i = 0; i < size.rows; ++i) {
                for (Index j = 0; j < c_stride; ++j) {
                  const auto at = static_cast<std::size_t>((n * size.rows + i) * c_stride + j);
                  if (j >= size.cols) {
                    kept = kept && (after[at] == before[at] || (after[at] != after[at] && before[at] != before[at]));
                    continue;
                  }
                  double sum = 0;
                  for (Index k = 0; k < size.depth; ++k) {
                    sum += va[static_cast<std::size_t>(n * a_rows * a_stride + (ta ? k * a_stride + i : i * a_stride + k))] *
                           vb[static_cast<std::size_t>(n * b_rows * b_stride + (tb ? j * b_stride + k : k * b_stride + j))];
                  }
                  want.push_back(0.75 * sum + (beta == 0 ? 0.0 : beta * before[at]));
                  got.push_back(after[at]);
                }
              }
            }
            CAPTURE(size.rows);
            CAPTURE(ta);
            CAPTURE(tb);
            CAPTURE(extra);
            CHECK(close(want, got, tolerance));
            CHECK(kept);
          }
        }
      }
    }
  }
}

TEST_CASE("fp32 stays fp32") {
  if (!have_gpu()) return;
  // TF32 keeps 10 bits of a factor, so it would lose the second term of each.
  using B = Cuda<float>;
  const B backend;
  const Index n = 256;
  const std::vector<double> values(static_cast<std::size_t>(n * n), 1 + 0x1p-14);
  const auto a = array<B>(Shape{n, n}, values);
  Array<B> c(Shape{n, n});
  cuda::multiply(backend.stream(), {n, n, n}, cuda::Factor<float>{a.data(), n}, cuda::Factor<float>{a.data(), n, true},
                 cuda::Product<float>{c.data(), n});
  const auto got = host(backend, c.view());
  CHECK(std::abs(got[0] / 256 - 1 - 0x1p-13) < 0x1p-18);
}

TEST_CASE("empty products are no work, and sums of nothing an error") {
  if (!have_gpu()) return;
  const Cuda<float> backend;
  const cuda::Factor<float> none{nullptr, 1};
  cuda::multiply(backend.stream(), {0, 4, 4}, none, none, cuda::Product<float>{nullptr, 4});
  cuda::multiply(backend.stream(), {4, 0, 4}, none, none, cuda::Product<float>{nullptr, 1});
  CHECK_THROWS_AS(cuda::multiply(backend.stream(), {4, 4, 0}, none, none, cuda::Product<float>{nullptr, 4}), ShapeError);
}
