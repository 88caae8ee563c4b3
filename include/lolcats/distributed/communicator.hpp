// The processes that work on one run: what each of them brings, all of them get.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace lolcats {

/// Processes of one program, called ranks, that make the same calls in the same order.
///
/// Every function but rank() and size() is a collective: it returns on a rank when all ranks have called it, and gives all
/// of them the same bits.  Sums are added in the order of the ranks.  A communicator is virtual, not a template argument, so
/// that training is compiled once for all kinds: a call costs nothing beside what it waits for.
///
/// Errors: RankError naming a rank that has failed or died, at the latest ten seconds after that; CommunicationError.  Nothing can be
/// communicated afterwards.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  virtual Index rank() const = 0;  // 0, 1, ...
  virtual Index size() const = 0;
  /// Does this rank write and print?
  bool leads() const { return rank() == 0; }

  /// x becomes the sum of all ranks' x, which are of one length.  x lies in host memory or, `if (!in_host_memory())`, in that
  /// of the current GPU, and what was put on its stream before is waited for.
  virtual void sum(std::span<float> x) = 0;
  virtual void sum(std::span<double> x) = 0;
  virtual bool in_host_memory() const { return true; }

  /// Tells the others why this rank takes part no longer.  Not a collective.
  virtual void leave(std::string_view why) noexcept = 0;

  /// The bytes of all ranks, of any lengths, in the order of the ranks.
  std::vector<std::string> gather(std::string_view own);
  /// The numbers of all ranks, one rank's behind the other's.
  std::vector<double> gather(std::span<const double> own);
  double maximum(double own) {
    const std::vector<double> all = gather(std::span<const double>(&own, 1));
    return *std::ranges::max_element(all);
  }
  /// What rank `from` brings.
  std::string broadcast(std::string_view own, Index from = 0) {
    return std::move(gather(rank() == from ? own : std::string_view())[static_cast<std::size_t>(from)]);
  }
  void barrier() { gather(std::string_view()); }

  /// Begins what `exchange` does, with memory where sums lie: behind the work that was put on its stream before, and beside what is
  /// put there until finish_gather(), which returns when all has arrived.  One at a time; `own` and `all` stay as they are meanwhile.
  /// A collective, too: all ranks begin and finish in the same order.  In host memory nothing runs beside it.
  virtual void begin_gather(std::span<const std::byte> own, std::span<std::byte> all) {
    const auto start = std::chrono::steady_clock::now();
    exchange(own, all);
    gather_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  virtual void finish_gather() {}
  /// In which nothing was computed because a gather had not arrived, up to now.
  double gather_seconds() const { return gather_seconds_; }

  /// What these are made of: all = the bytes of all ranks in their order, of which each brings own.size().  In host memory.
  virtual void exchange(std::span<const std::byte> own, std::span<std::byte> all) = 0;

 protected:
  double gather_seconds_ = 0;
};

inline std::vector<std::string> Communicator::gather(std::string_view own) {
  if (size() == 1) return {std::string(own)};
  // A short text travels beside its length; where one is longer, all of them follow.
  constexpr std::size_t beside = 248;
  const auto ranks = static_cast<std::size_t>(size());
  const auto exchange_rows = [&](std::string row) {
    std::string rows(ranks * row.size(), '\0');
    exchange(std::as_bytes(std::span(row)), std::as_writable_bytes(std::span(rows)));
    return rows;
  };
  std::string row(sizeof(std::size_t) + beside, '\0');
  const std::size_t length = own.size();
  std::memcpy(row.data(), &length, sizeof length);
  std::ranges::copy(own.substr(0, beside), row.data() + sizeof length);
  std::string rows = exchange_rows(row);
  std::vector<std::size_t> lengths(ranks);
  for (std::size_t i = 0; i < ranks; ++i) std::memcpy(&lengths[i], rows.data() + i * row.size(), sizeof(std::size_t));
  std::size_t start = sizeof(std::size_t), stride = row.size();
  if (const std::size_t longest = *std::ranges::max_element(lengths); longest > beside) {
    row.assign(own);
    row.resize(longest);
    rows = exchange_rows(row);
    start = 0, stride = longest;
  }
  std::vector<std::string> all;
  for (std::size_t i = 0; i < ranks; ++i) all.push_back(rows.substr(start + i * stride, lengths[i]));
  return all;
}

inline std::vector<double> Communicator::gather(std::span<const double> own) {
  const auto bytes = std::as_bytes(own);
  std::vector<double> all;
  for (const std::string& part : gather(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()))) {
    const std::size_t before = all.size();
    all.resize(before + part.size() / sizeof(double));
    if (!part.empty()) std::memcpy(all.data() + before, part.data(), part.size());
  }
  return all;
}

/// One process: nothing happens.
class Alone final : public Communicator {
 public:
  Index rank() const override { return 0; }
  Index size() const override { return 1; }
  void sum(std::span<float>) override {}
  void sum(std::span<double>) override {}
  void leave(std::string_view) noexcept override {}
  void exchange(std::span<const std::byte> own, std::span<std::byte> all) override { std::ranges::copy(own, all.begin()); }
};

/// [first, last) of n things in their order: the share of a rank.  Shares differ by one at most.
struct Share {
  Index first = 0, last = 0;
  Index count() const { return last - first; }
};
inline Share share_of(Index n, Index rank, Index size) { return {rank * n / size, (rank + 1) * n / size}; }

/// Runs f.  An exception that leaves it is told to the other ranks, which would wait for this one.
template <class F>
decltype(auto) together(Communicator& communicator, F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const RankError&) {  // whom the others know
    throw;
  } catch (const std::exception& error) {
    communicator.leave(error.what());
    throw;
  } catch (...) {
    communicator.leave("an exception of an unknown type");
    throw;
  }
}

namespace detail {

[[noreturn]] inline void fail_with_rank(Index rank, std::string_view why) {
  throw RankError(fmt::format("rank {} failed: {}", rank, why), rank);
}

/// Returns when done() is true.  lost() says now and then which rank is gone and why, if one is; what is under way is then
/// given a second, for a rank that left may have done its part before.
template <class Done, class Lost>
void wait_for(Done&& done, Lost&& lost) {
  using Clock = std::chrono::steady_clock;
  constexpr int spins = 2000;
  std::optional<std::pair<Index, std::string>> gone;
  Clock::time_point looked = Clock::now(), since;
  for (int turn = 0; !done(); ++turn) {
    if (turn < spins) continue;
    std::this_thread::sleep_for(std::chrono::microseconds(turn < 2 * spins ? 20 : 200));
    const Clock::time_point now = Clock::now();
    if (!gone && now - looked > std::chrono::milliseconds(20)) {
      looked = now;
      if ((gone = lost())) since = now;
    }
    if (gone && now - since > std::chrono::seconds(1)) fail_with_rank(gone->first, gone->second);
  }
}

}  // namespace detail

}  // namespace lolcats
