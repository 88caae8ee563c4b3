// Python's random numbers, so that shots and pass keys are those that Python programs draw.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace lolcats {

/// random.Random(seed) of CPython 3: MT19937 (Matsumoto and Nishimura 1998), seeded by its init_by_array, and what
/// CPython's Lib/random.py makes of it.  The same seed gives the same numbers in the same order of calls.
class PythonRandom {
 public:
  explicit PythonRandom(std::uint64_t seed) {
    std::vector<std::uint32_t> key = {static_cast<std::uint32_t>(seed)};
    if (seed >> 32) key.push_back(static_cast<std::uint32_t>(seed >> 32));
    fill(19650218U);
    std::size_t i = 1, j = 0;
    const auto next = [&] {
      if (++i >= size) {
        state_[0] = state_[size - 1];
        i = 1;
      }
    };
    for (std::size_t k = 0; k < size; ++k) {
      state_[i] = (state_[i] ^ (mixed(i - 1) * 1664525U)) + key[j] + static_cast<std::uint32_t>(j);
      next();
      j = (j + 1) % key.size();
    }
    for (std::size_t k = 0; k + 1 < size; ++k) {
      state_[i] = (state_[i] ^ (mixed(i - 1) * 1566083941U)) - static_cast<std::uint32_t>(i);
      next();
    }
    state_[0] = 0x80000000U;
  }

  /// random(): uniform in [0, 1), 53 bits.
  double uniform() {
    const std::uint32_t a = word() >> 5, b = word() >> 6;
    return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0);
  }

  /// _randbelow(count): uniform in 0 ... count - 1.
  Index below(Index count) {
    require<ConfigError>(count > 0, "PythonRandom: a number below {} is asked for, expected at least 1", count);
    const int bits = std::bit_width(static_cast<std::uint64_t>(count));
    for (;;) {
      const std::uint64_t number = random_bits(bits);
      if (number < static_cast<std::uint64_t>(count)) return static_cast<Index>(number);
    }
  }

  /// randrange(first, end).
  Index range(Index first, Index end) { return first + below(end - first); }

  /// shuffle(list).
  template <class T>
  void shuffle(std::vector<T>& list) {
    for (std::size_t i = list.size(); i-- > 1;) {
      std::swap(list[i], list[static_cast<std::size_t>(below(static_cast<Index>(i) + 1))]);
    }
  }

  /// sample(range(count), wanted): places of the drawn, in the order of drawing.  Throws ConfigError if there are fewer.
  std::vector<Index> sample(Index count, Index wanted) {
    require<ConfigError>(wanted >= 0 && wanted <= count, "PythonRandom: a sample of {} out of {} is asked for", wanted,
                         count);
    std::vector<Index> drawn;
    // A small population is copied and consumed, a large one remembers what was drawn: CPython's rule says which.
    Index small = 21;
    if (wanted > 5)
      small += std::llround(std::pow(4.0, std::ceil(std::log(3.0 * static_cast<double>(wanted)) / std::log(4.0))));
    if (count <= small) {
      std::vector<Index> pool(static_cast<std::size_t>(count));
      for (std::size_t i = 0; i < pool.size(); ++i) pool[i] = static_cast<Index>(i);
      for (Index i = 0; i < wanted; ++i) {
        const auto j = static_cast<std::size_t>(below(count - i));
        drawn.push_back(pool[j]);
        pool[j] = pool[static_cast<std::size_t>(count - i - 1)];
      }
    } else {
      std::set<Index> taken;
      for (Index i = 0; i < wanted; ++i) {
        Index j = below(count);
        while (!taken.insert(j).second) j = below(count);
        drawn.push_back(j);
      }
    }
    return drawn;
  }

 private:
  static constexpr std::size_t size = 624, shift = 397;

  void fill(std::uint32_t seed) {
    state_[0] = seed;
    for (std::size_t i = 1; i < size; ++i) state_[i] = 1812433253U * mixed(i - 1) + static_cast<std::uint32_t>(i);
  }
  std::uint32_t mixed(std::size_t i) const { return state_[i] ^ (state_[i] >> 30); }

  /// The next 32 bits.
  std::uint32_t word() {
    if (at_ == size) {
      for (std::size_t i = 0; i < size; ++i) {
        const std::uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % size] & 0x7fffffffU);
        state_[i] = state_[(i + shift) % size] ^ (y >> 1) ^ (y & 1U ? 0x9908b0dfU : 0U);
      }
      at_ = 0;
    }
    std::uint32_t y = state_[at_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680U;
    y ^= (y << 15) & 0xefc60000U;
    return y ^ (y >> 18);
  }

  /// getrandbits(bits), 1 to 64.
  std::uint64_t random_bits(int bits) {
    if (bits <= 32) return word() >> (32 - bits);
    const std::uint64_t low = word();
    return low | static_cast<std::uint64_t>(word() >> (64 - bits)) << 32;
  }

  std::array<std::uint32_t, size> state_{};
  std::size_t at_ = size;
};

}  // namespace lolcats
