// Two GPUs, a process each: the test starts itself again for them.
#include "../train/tiny_rows.hpp"

#include <lolcats/distributed/nccl.cuh>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cuda.cuh>
#include <lolcats/model/random.hpp>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/train/cuda.cuh>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/sharded_base.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

using namespace lolcats;

namespace {

/// True in a process that has a rank.  Elsewhere it starts this program for two ranks, which run everything that is asked for,
/// once for all test cases.
bool on_a_rank() {
  if (!testing::have_gpu()) return false;
  if (place_from_environment()) return true;
  int devices = 0;
  cudaGetDeviceCount(&devices);
  if (devices < 2) {
    MESSAGE("skipped: " << devices << " GPU, expected two");
    return false;
  }
  static const int status = launch_ranks(2, [](Index rank, int code) { fmt::print("rank {} ended with status {}\n", rank, code); });
  CHECK(status == 0);
  return false;
}

Nccl& ranks() {
  static Nccl nccl(*place_from_environment());
  return nccl;
}

LlamaConfig config() {
  LlamaConfig c = tiny::config(2);
  c.vocab_size = 67;
  c.hidden_size = 128;
  c.heads = 4;
  c.head_dim = 32;
  c.intermediate_size = 256;
  c.max_position = 512;
  return c;
}

using B = Cuda<bf16>;
using Student = Llama<B, Hybrid<Hedgehog<8>, Terraced<16>>, Lora<8>>;  // no fused kernels: minutes of nvcc

template <class Recipe>
Recipe recipe(Communicator* communicator) {
  Recipe r{.epochs = 0, .max_updates = 20, .batch = 8, .micro_batch = communicator ? 0 : 4, .seed = 3, .learning_rate = 1e-3};
  r.evaluate_every = 10;
  r.communicator = communicator;
  return r;
}

std::vector<double> losses(const TrainingResult& result) {
  std::vector<double> list;
  for (const TrainingPoint& point : result.history) {
    list.push_back(point.loss);
    if (point.validation) list.push_back(*point.validation);
  }
  return list;
}

/// Over a base of its own, or over one that is shared out.
Student student(Communicator* sharding) {
  const auto teacher = random_llama<Llama<B>>(config(), 1, 0.1);
  if (!sharding) return convert<Student>(teacher, 1);
  auto model = without_weights<Student>(config(), 1);
  shard_base(model, [&](const std::string& name, const Shape&) {
    for (const auto& [own, parameter] : teacher.base_parameters()) {
      if (own == name) return detail::host_copy<bf16>(B{}, *parameter);
    }
    fail<FormatError>("no {}", name);
  }, *sharding);
  return model;
}

std::vector<double> run(bool stage_two, Communicator* communicator, Communicator* sharding = nullptr) {
  const DataSet data = tiny::data(32, {200, 130, 2}, 5, 67), valid = tiny::data(7, {200}, 6, 67);
  Student model = student(sharding);
  if (stage_two) return losses(finetune(model, data, valid, recipe<FinetuneRecipe<>>(communicator)));
  return losses(transfer_attention(model, data, valid, recipe<TransferRecipe<>>(communicator)).blocks.front());
}

}  // namespace

TEST_CASE("nccl: what each brings, all get") {
  if (!on_a_rank()) return;
  Nccl& nccl = ranks();
  for (const std::size_t length : {0, 1, 248, 249, 100000}) {
    const auto text = [&](Index rank) { return std::string(length * static_cast<std::size_t>(rank + 1), static_cast<char>('a' + rank)); };
    const auto all = nccl.gather(text(nccl.rank()));
    REQUIRE(all.size() == static_cast<std::size_t>(nccl.size()));
    for (Index rank = 0; rank < nccl.size(); ++rank) CHECK(all[static_cast<std::size_t>(rank)] == text(rank));
    CHECK(nccl.broadcast(text(nccl.rank()), 1) == text(1));
  }
  CHECK(nccl.maximum(-1.5 - static_cast<double>(nccl.rank())) == -1.5);
}

TEST_CASE_TEMPLATE("nccl: sums are added in the order of the ranks", T, float, double) {
  if (!on_a_rank()) return;
  Nccl& nccl = ranks();
  for (const Index count : {0, 1, 3, 100001}) {
    std::vector<std::vector<T>> brought;  // by rank
    for (Index rank = 0; rank < nccl.size(); ++rank) {
      std::vector<T>& x = brought.emplace_back(static_cast<std::size_t>(count));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(std::sin(3.7 * static_cast<double>(rank) + static_cast<double>(i)) * std::pow(10, rank));
    }
    std::vector<T> host = brought[static_cast<std::size_t>(nccl.rank())];
    Array<B, T> x(Shape{count});
    B{}.upload(host.data(), x.data(), count);
    nccl.sum(std::span<T>(x.data(), host.size()));
    B{}.download(x.data(), host.data(), count);
    Index wrong = 0;
    for (std::size_t i = 0; i < host.size(); ++i) {
      T want = brought[0][i];
      for (std::size_t rank = 1; rank < brought.size(); ++rank) want += brought[rank][i];
      wrong += host[i] != want;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("nccl: 20 updates of both stages have the losses of one GPU") {
  if (!on_a_rank()) return;
  for (const bool stage_two : {false, true}) {
    const auto together = run(stage_two, &ranks()), alone = run(stage_two, nullptr);
    REQUIRE(together.size() == alone.size());
    double largest = 0;
    for (std::size_t i = 0; i < alone.size(); ++i) largest = std::max(largest, std::abs(together[i] - alone[i]) / alone[i]);
    if (ranks().leads()) MESSAGE("stage " << (stage_two ? 2 : 1) << ": losses from " << alone.front() << " to " << alone.back() << ", largest difference " << largest);
    CHECK(largest < 1e-3);
  }
}

TEST_CASE("nccl: a gather beside what computes") {
  if (!on_a_rank()) return;
  Nccl& nccl = ranks();
  const auto size = static_cast<std::size_t>(nccl.size());
  for (const std::size_t count : {256, 1 << 24}) {
    const auto number = [&](Index rank, std::size_t i) { return static_cast<float>(rank + 1) * static_cast<float>(i % 1021); };
    std::vector<float> host(count);
    for (std::size_t i = 0; i < count; ++i) host[i] = number(nccl.rank(), i);
    Array<B, float> own(Shape{static_cast<Index>(count)}), all(Shape{static_cast<Index>(size * count)}), busy(Shape{1 << 26});
    for (int turn = 0; turn < 3; ++turn) {
      B{}.upload(host.data(), own.data(), own.size());
      nccl.begin_gather(std::as_bytes(std::span<const float>(own.data(), count)), std::as_writable_bytes(std::span<float>(all.data(), size * count)));
      B{}.zero(busy.data(), busy.size());
      nccl.finish_gather();
      std::vector<float> got(size * count);
      B{}.download(all.data(), got.data(), all.size());
      Index wrong = 0;
      for (std::size_t i = 0; i < got.size(); ++i) wrong += got[i] != number(static_cast<Index>(i / count), i % count);
      CHECK(wrong == 0);
      B{}.zero(all.data(), all.size());
    }
  }
  CHECK(nccl.gather_seconds() >= 0);
}

TEST_CASE("nccl: a base that is shared out has the losses of one that every GPU has") {
  if (!on_a_rank()) return;
  for (const bool stage_two : {false, true}) {
    const auto sharded = run(stage_two, &ranks(), &ranks()), whole = run(stage_two, &ranks());
    CHECK(sharded == whole);
  }
}
