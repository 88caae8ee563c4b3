// A communicator that measures another's sums.
#pragma once

#include "cuda_timing.cuh"
#include "measure.hpp"

#include <lolcats/distributed/communicator.hpp>

namespace bench {

/// Counts the seconds from when this GPU has its share until it has the sum: what others are waited for is part of them.
class TimedCommunicator final : public lolcats::Communicator {
 public:
  explicit TimedCommunicator(lolcats::Communicator& of) : of_(of) {}

  Index rank() const override { return of_.rank(); }
  Index size() const override { return of_.size(); }
  bool in_host_memory() const override { return of_.in_host_memory(); }
  void sum(std::span<float> x) override { timed(x); }
  void sum(std::span<double> x) override { timed(x); }
  void leave(std::string_view why) noexcept override { of_.leave(why); }
  void begin_gather(std::span<const std::byte> own, std::span<std::byte> all) override { of_.begin_gather(own, all); }
  void finish_gather() override { of_.finish_gather(); }
  void exchange(std::span<const std::byte> own, std::span<std::byte> all) override { of_.exchange(own, all); }

  const Samples& seconds() const { return seconds_; }
  std::size_t bytes() const { return bytes_; }  // that each rank sends for a sum

 private:
  template <class T>
  void timed(std::span<T> x) {
    Gpu{}.synchronize();
    const Instant start = Instant::now();
    of_.sum(x);
    seconds_.add(Instant::now() - start);
    bytes_ = 2 * x.size_bytes() * static_cast<std::size_t>(size() - 1) / static_cast<std::size_t>(size());
  }

  lolcats::Communicator& of_;
  Samples seconds_;
  std::size_t bytes_ = 0;
};

}  // namespace bench
