// The arena: alignment, rewinding, growth, peak.
#include <lolcats/tape/arena.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>

using namespace lolcats;

TEST_CASE("memory is aligned, disjoint and writable") {
  Arena<> arena(1024);
  std::vector<unsigned char*> pieces;
  for (int i = 0; i < 50; ++i) {
    auto* piece = static_cast<unsigned char*>(arena.allocate(100));
    CHECK(reinterpret_cast<std::uintptr_t>(piece) % Host::alignment == 0);
    std::memset(piece, i, 100);
    pieces.push_back(piece);
  }
  for (int i = 0; i < 50; ++i)
    CHECK((pieces[static_cast<std::size_t>(i)][0] == i && pieces[static_cast<std::size_t>(i)][99] == i));
}

TEST_CASE("a rewind hands out the same memory again and holds no more") {
  Arena<> arena(1024);
  arena.allocate(10);
  const auto mark = arena.mark();
  void* small = arena.allocate(100);
  void* large = arena.allocate(100000);
  const std::size_t held = arena.held_bytes(), peak = arena.peak_bytes();
  CHECK(peak >= 100110);
  arena.rewind(mark);
  CHECK(arena.allocate(100) == small);
  CHECK(arena.allocate(100000) == large);
  CHECK(arena.held_bytes() == held);
  CHECK(arena.peak_bytes() == peak);
}

TEST_CASE("no bytes are still an address of their own") {
  Arena<> arena(1024);
  CHECK(arena.allocate(0) != arena.allocate(0));
  CHECK(arena.allocate<double>(Shape{0, 3}).size() == 0);
}

TEST_CASE("Arena: the peak stays when less is in use") {
  Arena<> arena;
  const auto start = arena.mark();
  arena.allocate(4096);
  arena.rewind(start);
  arena.allocate(256);
  CHECK(arena.peak_bytes() == 4096);
}
