// Byte pair merging by rank.
#pragma once

#include <lolcats/core/fingerprint.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace lolcats {

/// Which adjacent pairs of tokens merge, in which order, and into what.
///
/// merge() replaces, again and again, the adjacent pair of the lowest rank, the leftmost of equals, until no pair of the
/// table is left: in O(n^2) steps of a few nanoseconds for short words, in O(n log n) for long ones.
class MergeTable {
 public:
  using Token = std::int32_t;

  MergeTable() = default;
  /// Room for so many pairs.
  explicit MergeTable(std::size_t pairs) {
    std::size_t size = 16;
    while (size < 2 * pairs) size *= 2;
    entries_.resize(size);
  }

  /// A pair given twice keeps the later rank.
  void add(Token left, Token right, std::uint32_t rank, Token merged) {
    if (entries_.size() < 2 * (count_ + 1)) grow();
    Entry& entry = find(key(left, right));
    if (entry.key == nothing) ++count_;
    entry = {key(left, right), rank, merged};
  }

  std::size_t size() const { return count_; }

  /// Equal for the same pairs, ranks and results, in whatever order they were added.
  std::uint64_t fingerprint() const {
    std::uint64_t sum = count_;
    for (const Entry& entry : entries_) {
      if (entry.key == nothing) continue;
      Fingerprint one;
      one.add(entry.key);
      one.add(static_cast<std::uint64_t>(entry.rank) << 32 | static_cast<std::uint32_t>(entry.merged));
      std::uint64_t mixed = one.value();  // sums of FNV's values alone would not tell exchanged ranks apart
      mixed = (mixed ^ mixed >> 33) * 0xFF51AFD7ED558CCDULL;
      sum += mixed ^ mixed >> 33;
    }
    return sum;
  }

  /// Merges in place.
  void merge(std::vector<Token>& tokens) const {
    if (count_ == 0 || tokens.size() < 2) return;
    tokens.size() <= longest_short ? merge_short(tokens) : merge_long(tokens);
  }

 private:
  static constexpr std::uint64_t nothing = ~std::uint64_t{0};
  static constexpr std::uint32_t never = ~std::uint32_t{0};
  static constexpr std::size_t longest_short = 40;

  struct Entry {
    std::uint64_t key = nothing;
    std::uint32_t rank = never;
    Token merged = -1;
  };
  static_assert(sizeof(Entry) == 16);

  static std::uint64_t key(Token left, Token right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t place(std::uint64_t key) const {
    return static_cast<std::size_t>(key * 0x9E3779B97F4A7C15ULL >> 24) & (entries_.size() - 1);
  }
  const Entry& find(std::uint64_t key) const {
    std::size_t at = place(key);
    while (entries_[at].key != key && entries_[at].key != nothing) at = (at + 1) & (entries_.size() - 1);
    return entries_[at];
  }
  Entry& find(std::uint64_t key) { return const_cast<Entry&>(std::as_const(*this).find(key)); }
  void grow() {
    std::vector<Entry> old(std::max<std::size_t>(16, 2 * entries_.size()));
    old.swap(entries_);
    for (const Entry& entry : old) {
      if (entry.key != nothing) find(entry.key) = entry;
    }
  }

  void merge_short(std::vector<Token>& tokens) const {
    const Entry* found[longest_short];  // of the pair that begins at i
    std::size_t count = tokens.size();
    for (std::size_t i = 0; i + 1 < count; ++i) found[i] = &find(key(tokens[i], tokens[i + 1]));
    while (count > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < count; ++i) {
        if (found[i]->rank < found[best]->rank) best = i;
      }
      if (found[best]->rank == never) break;
      tokens[best] = found[best]->merged;
      --count;
      for (std::size_t i = best + 1; i < count; ++i) tokens[i] = tokens[i + 1];
      for (std::size_t i = best + 1; i + 1 < count; ++i) found[i] = found[i + 1];
      if (best + 1 < count) found[best] = &find(key(tokens[best], tokens[best + 1]));
      if (best > 0) found[best - 1] = &find(key(tokens[best - 1], tokens[best]));
    }
    tokens.resize(count);
  }

  /// Candidates wait in a heap, and are dropped there when one of the two tokens has changed meanwhile.
  void merge_long(std::vector<Token>& tokens) const {
    struct Merge {
      std::uint32_t rank;
      Token merged;
      std::size_t left, right;
      std::uint64_t pair;

      bool operator>(const Merge& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
    };
    constexpr Token gone = -1;
    const std::size_t count = tokens.size();
    std::vector<std::size_t> next(count), previous(count);
    std::vector<Merge> first;
    const auto offer = [&](std::size_t left, std::size_t right, auto&& take) {
      const std::uint64_t pair = key(tokens[left], tokens[right]);
      const Entry& entry = find(pair);
      if (entry.rank != never) take(Merge{entry.rank, entry.merged, left, right, pair});
    };
    for (std::size_t i = 0; i < count; ++i) {
      next[i] = i + 1;
      previous[i] = i - 1;  // wraps at 0, where it is not read
      if (i + 1 < count) offer(i, i + 1, [&](const Merge& merge) { first.push_back(merge); });
    }
    std::priority_queue<Merge, std::vector<Merge>, std::greater<>> heap(std::greater<>{}, std::move(first));
    const auto push = [&](const Merge& merge) { heap.push(merge); };
    while (!heap.empty()) {
      const Merge best = heap.top();
      heap.pop();
      // Unchanged tokens are still neighbours: what comes between or joins them changes at least one.
      if (key(tokens[best.left], tokens[best.right]) != best.pair) continue;
      tokens[best.left] = best.merged;
      tokens[best.right] = gone;
      const std::size_t after = next[best.right];
      next[best.left] = after;
      if (after < count) {
        previous[after] = best.left;
        offer(best.left, after, push);
      }
      if (best.left > 0) offer(previous[best.left], best.left, push);
    }
    std::erase(tokens, gone);
  }

  std::vector<Entry> entries_;
  std::size_t count_ = 0;
};

}  // namespace lolcats
