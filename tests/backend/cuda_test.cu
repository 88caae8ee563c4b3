// Cuda<T>: memory, transfers, launches and their errors.
#include <lolcats/backend/cuda.cuh>
#include <lolcats/tape/tape.hpp>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

std::vector<double> numbers(Index n) {
  Rng rng(4);
  std::vector<double> values;
  for (Index i = 0; i < n; ++i) values.push_back(rng.normal() * std::pow(10.0, static_cast<double>(i % 9) - 4.0));
  return values;
}

__global__ void fill_with(float* x, float value) { x[threadIdx.x] = value; }

/// What the CudaError says that f throws.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const CudaError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a double is rounded once on its way to bf16") {
  // Just above the middle of two neighbours of 1: by way of float it would fall on the middle, and then to even.
  CHECK(cuda::round_to<bf16>(1 + 0x1p-8 + 0x1p-40) == 1 + 0x1p-7);
  CHECK(cuda::round_to<bf16>(1 + 0x1p-8) == 1);
  CHECK(cuda::round_to<bf16>(1 + 0x1p-8 - 0x1p-40) == 1);
  CHECK(cuda::round_to<bf16>(-(1 + 0x1p-8 + 0x1p-40)) == -(1 + 0x1p-7));
  CHECK(cuda::round_to<bf16>(1 + 0x1p-7 + 0x1p-8 - 0x1p-40) == 1 + 0x1p-7);
  CHECK(cuda::round_to<bf16>(0.0) == 0);
  CHECK(cuda::round_to<bf16>(1e300) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(cuda::round_to<bf16>(std::nan(""))));
}

TEST_CASE_TEMPLATE("numbers come back as they were sent, in any number", T, float, bf16) {
  if (!have_gpu()) return;
  const Cuda<T> backend;
  // The last is more than two blocks of staging.
  for (const Index n : {Index{0}, Index{1}, Index{3}, Index{1000}, Index{6'000'001}}) {
    const auto sent = numbers(n);
    const auto array = testing::array<Cuda<T>>(Shape{n}, sent);
    auto got = host(backend, array.view());
    Index right = 0;
    for (Index i = 0; i < n; ++i) {
      right += got[static_cast<std::size_t>(i)] == static_cast<double>(cuda::round_to<T>(sent[static_cast<std::size_t>(i)]));
    }
    CHECK(right == n);

    std::vector<T> raw(static_cast<std::size_t>(n)), back(raw.size());
    backend.download(array.data(), raw.data(), n);
    Array<Cuda<T>> other(Shape{n});
    backend.upload(raw.data(), other.data(), n);
    backend.download(other.data(), back.data(), n);
    CHECK(std::memcmp(raw.data(), back.data(), raw.size() * sizeof(T)) == 0);

    Array<Cuda<T>> copy(Shape{n});
    poison(backend, copy.view());
    backend.copy(array.data(), copy.data(), n);
    CHECK(host(backend, copy.view()) == got);
    Array<Cuda<T>, float> wide(Shape{n});
    backend.copy(array.data(), wide.data(), n);
    CHECK(host(backend, wide.view()) == got);
    backend.copy(wide.data(), copy.data(), n);
    CHECK(host(backend, copy.view()) == got);
    backend.zero(copy.data(), n);
    CHECK(host(backend, copy.view()) == std::vector<double>(static_cast<std::size_t>(n), 0.0));
  }
}

TEST_CASE("the host may change what it uploads at once") {
  if (!have_gpu()) return;
  const Cuda<float> backend;
  std::vector<Array<Cuda<float>>> arrays;
  std::vector<float> values(300'000);
  for (int round = 0; round < 40; ++round) {
    std::fill(values.begin(), values.end(), static_cast<float>(round));
    arrays.emplace_back(Shape{static_cast<Index>(values.size())});
    backend.upload(values.data(), arrays.back().data(), arrays.back().size());
  }
  for (int round = 0; round < 40; ++round) {
    const auto got = host(backend, arrays[static_cast<std::size_t>(round)].view());
    CHECK(std::count(got.begin(), got.end(), static_cast<double>(round)) == 300'000);
  }
}

TEST_CASE("backends of different streams see each other's arrays in order") {
  if (!have_gpu()) return;
  cudaStream_t stream = nullptr;
  cuda::check(cudaStreamCreate(&stream), "cudaStreamCreate");
  const Cuda<float> own(stream), shared;
  CHECK(own == Cuda<float>(stream));
  CHECK_FALSE(own == shared);
  CHECK(own.stream() == stream);
  for (int round = 0; round < 50; ++round) {
    // The array of the first goes back to the pool while its kernel may still run; the second may get the same memory.
    Array<Cuda<float>> first(Shape{1 << 20});
    own.zero(first.data(), first.size());
    first = {};
    Array<Cuda<float>> second(Shape{1 << 20});
    cuda::launch("fill_with", fill_with, {1, 32, shared.stream()}, second.data(), 7.0F);
    own.zero(second.data() + 32, second.size() - 32);
    own.synchronize();
    CHECK(host(shared, second.view().reshaped(Shape{1 << 15, 32}).row_range(0, 1)) == std::vector<double>(32, 7.0));
  }
  cuda::check(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

TEST_CASE("equal steps on a tape take no new memory") {
  if (!have_gpu()) return;
  Tape<Cuda<float>> tape;
  const auto step = [&] {
    const Tape<Cuda<float>>::Scope scope(tape);
    for (const Index n : {100'000, 3, 2'000'000}) tape.backend().zero(tape.scratch<float>(Shape{n}).data, n);
    cuda::Scratch<float> scratch(1 << 22, tape.backend().stream());
    tape.backend().zero(scratch.data(), scratch.size());
    tape.backend().synchronize();
  };
  step();
  const std::size_t before = cuda::Pool::current().reserved_bytes();
  for (int i = 0; i < 10; ++i) step();
  CHECK(cuda::Pool::current().reserved_bytes() == before);
}

TEST_CASE("errors say what was asked for and what to do") {
  if (!have_gpu()) return;
  const std::string full = message_of([] { Array<Cuda<float>> huge(Shape{Index{1} << 46}); });
  CHECK(full.starts_with("out of GPU memory: 268435456.0 MiB wanted, "));
  CHECK(full.find("smaller or fewer sequences per step") != std::string::npos);
  const Array<Cuda<float>> x(Shape{32});  // the device is as good as before

  const std::string wrong = message_of(
      [&] { cuda::launch("fill_with", fill_with, {1, 4096, nullptr}, const_cast<float*>(x.data()), 1.0F); });
  CHECK(wrong.starts_with("fill_with: launch of (1, 1, 1) blocks of (4096, 1, 1) threads with 0 bytes of shared memory: "));
  cuda::launch("fill_with", fill_with, {0, 32, nullptr}, const_cast<float*>(x.data()), 1.0F);  // no blocks: no work
  CHECK(message_of([] { cuda::check(cudaErrorInvalidValue, "somewhere"); }) ==
        "somewhere: invalid argument (cudaErrorInvalidValue)");
  CHECK(cuda::device().capability >= 90);
  CHECK(cuda::version_text(13010) == "13.1");
}

TEST_CASE("without a GPU the error says what is missing") {
  std::string reason;
  if (cuda::available(&reason)) return;
  CHECK(message_of([] { cuda::default_stream(); }) == reason);
  CHECK(reason.find("CUDA") != std::string::npos);
  const Cuda<bf16> regular;  // made without a device
  CHECK(regular == Cuda<bf16>{});
}
