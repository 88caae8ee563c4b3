// The deal of tiles to blocks: every (tile, extent, head) once, dearest first, balanced.
#include <lolcats/backend/cuda.cuh>
#include <lolcats/core/rng.hpp>
#include <lolcats/ops/attention/hopper/softmax_tiles.cuh>

#include <doctest/doctest.h>

#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

using namespace lolcats;

namespace {

struct Item {
  int block, level, row, head, query_tile, key_tile;
};

__global__ void walk(const __grid_constant__ hopper::TiledExtents extents, int heads, Item* items, int* count) {
  if (threadIdx.x != 0) return;
  for (hopper::DearestFirst item(extents, heads); item; item.advance()) {
    items[atomicAdd(count, 1)] = {
        static_cast<int>(blockIdx.x), item.level(), item.extent().row, item.head(), item.query_tile(), item.key_tile()};
  }
}

std::vector<Item> deal(const hopper::TiledExtents& extents, int heads, unsigned blocks) {
  constexpr int most = 100'000;
  const cudaStream_t stream = Cuda<float>{}.stream();
  cuda::Scratch<Item> items(most, stream);
  cuda::Scratch<int> count(1, stream);
  cuda::check(cudaMemsetAsync(count.data(), 0, sizeof(int), stream), "cudaMemsetAsync");
  cuda::launch("walk", walk, {blocks, 32, stream}, extents, heads, items.data(), count.data());
  int n = 0;
  Cuda<float>{}.download(count.data(), &n, 1);
  std::vector<Item> result(static_cast<std::size_t>(n));
  if (n) Cuda<float>{}.download(items.data(), result.data(), n);
  return result;
}

}  // namespace

TEST_CASE("tiles of ragged extents are dealt once each, dearest first in every block") {
  std::string reason;
  if (!cuda::available(&reason)) {
    std::fprintf(stderr, "skipped: no GPU (%s)\n", reason.c_str());
    return;
  }
  Rng rng(31);
  for (const int count : {0, 1, 2, 7, 128}) {
    for (const int heads : {1, 3, 8}) {
      for (const unsigned blocks : {1U, 5U, 132U}) {
        std::vector<Extent> extents;
        Index row = 0;
        for (int n = 0; n < count; ++n) {
          extents.push_back({row, 1 + static_cast<Index>(rng.below(700)), 0});
          row += extents.back().length;
        }
        const auto launches = hopper::tiled_extents(extents);
        REQUIRE(launches.size() == (count > 0 ? 1U : 0U));
        if (count == 0) continue;
        const std::vector<Item> items = deal(launches[0], heads, blocks);
        INFO(fmt::format("{} extents, {} heads, {} blocks", count, heads, blocks));
        std::vector<int> last_level(blocks, 1 << 30), cost(blocks, 0);
        std::size_t found = 0;
        for (const Extent& e : extents) {
          const int tiles = static_cast<int>((e.length + 127) / 128);
          std::vector<int> seen(static_cast<std::size_t>(tiles * heads), 0);
          for (const Item& i : items) {
            if (i.row != e.row) continue;
            REQUIRE((i.query_tile >= 0 && i.query_tile < tiles && i.head >= 0 && i.head < heads));
            CHECK(i.query_tile + i.key_tile == tiles - 1);
            CHECK(i.level == i.query_tile + 1);
            ++seen[static_cast<std::size_t>(i.query_tile * heads + i.head)];
            ++found;
          }
          CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
        }
        CHECK(found == items.size());
        for (const Item& i : items) {  // a block's items arrive in its order
          CHECK(i.level <= last_level[static_cast<std::size_t>(i.block)]);
          last_level[static_cast<std::size_t>(i.block)] = i.level;
          cost[static_cast<std::size_t>(i.block)] += i.level;
        }
        const int dearest = launches[0].levels(), total = std::accumulate(cost.begin(), cost.end(), 0);
        CHECK(*std::max_element(cost.begin(), cost.end()) <= total / static_cast<int>(blocks) + 2 * dearest);
      }
    }
  }
}

TEST_CASE("more extents than a kernel's parameters hold are cut into launches, longest first") {
  std::vector<Extent> extents;
  for (Index n = 0; n < 300; ++n) extents.push_back({n * 1000, 1 + n % 40 * 20, 0});
  const auto launches = hopper::tiled_extents(extents);
  REQUIRE(launches.size() == 3);
  CHECK((launches[0].count == 128 && launches[1].count == 128 && launches[2].count == 44));
  int before = 1 << 30;
  std::vector<int> storage;
  for (const auto& launch : launches) {
    for (int n = 0; n < launch.count; ++n) {
      CHECK(launch.entries[n].length <= before);
      before = launch.entries[n].length;
      storage.push_back(launch.entries[n].storage);
    }
  }
  std::sort(storage.begin(), storage.end());
  CHECK(std::adjacent_find(storage.begin(), storage.end()) == storage.end());
}
