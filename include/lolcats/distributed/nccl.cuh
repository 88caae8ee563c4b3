// A communicator between GPUs, one process each.  Link lolcats::nccl; without it this header is empty.
#pragma once

#ifdef LOLCATS_WITH_NCCL

#include <lolcats/backend/cuda.cuh>
#include <lolcats/distributed/communicator.hpp>
#include <lolcats/distributed/meeting.hpp>

#include <nccl.h>

#include <algorithm>

namespace lolcats {

namespace cuda {

inline void check_nccl(ncclResult_t status, const char* what) {
  if (status == ncclSuccess) [[likely]] return;
  fail<CommunicationError>("{}: {} (NCCL_DEBUG=WARN says more)", what, ncclGetErrorString(status));
}

/// x[i] = the sum over `ranks` rows of parts (ranks, n), in their order.
template <class T>
__global__ void sum_ranks(const T* parts, T* x, Index n, int ranks) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  T total = parts[i];
  for (int rank = 1; rank < ranks; ++rank) total += parts[rank * n + i];
  x[i] = total;
}

}  // namespace cuda

/// Processes with a GPU each, on one host or several; sums device memory of the current GPU on the process's default stream.
///
/// They meet in the folder of their Place; the constructor waits for all.  The host waits at every collective, so that a rank
/// that leaves or dies is noticed: the GPU has nothing to do there anyway until the sum is back.
class Nccl final : public Communicator {
 public:
  explicit Nccl(const Place& place) : place_(place), meeting_(place) {
    cuda::device();
    ncclUniqueId id{};
    if (place.rank == 0) cuda::check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::string agreed = meeting_.agree(std::string_view(id.internal, sizeof id.internal));
    require<CommunicationError>(agreed.size() == sizeof id.internal, "{}: the id has {} bytes, expected {}", place.meeting.string(), agreed.size(),
                                sizeof id.internal);
    std::ranges::copy(agreed, id.internal);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    started(ncclCommInitRankConfig(&all_, static_cast<int>(place.size), id, static_cast<int>(place.rank), &config), "ncclCommInitRank");
    cuda::check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
    for (cudaEvent_t* const event : {&reached_, &arrived_}) cuda::check(cudaEventCreate(event), "cudaEventCreate");
    int lowest = 0, highest = 0;
    cuda::check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaDeviceGetStreamPriorityRange");
    cuda::check(cudaStreamCreateWithPriority(&beside_, cudaStreamNonBlocking, highest), "cudaStreamCreate");
  }
  ~Nccl() override {
    if (std::uncaught_exceptions() > exceptions_) leave("an exception ended it");
    if (!left_) end();
    for (const cudaEvent_t event : {event_, reached_, arrived_}) cudaEventDestroy(event);
    cudaStreamDestroy(beside_);
  }

  Index rank() const override { return place_.rank; }
  Index size() const override { return place_.size; }
  bool in_host_memory() const override { return false; }
  void sum(std::span<float> x) override { sum_of(x, ncclFloat); }
  void sum(std::span<double> x) override { sum_of(x, ncclDouble); }

  void leave(std::string_view why) noexcept override {
    if (left_) return;
    left_ = true;
    meeting_.leave(why);
    ncclCommAbort(all_);
  }

  void exchange(std::span<const std::byte> own, std::span<std::byte> all) override {
    const cudaStream_t stream = cuda::default_stream();
    cuda::Scratch<std::byte> from(static_cast<Index>(own.size()), stream), to(static_cast<Index>(all.size()), stream);
    cuda::check(cudaMemcpyAsync(from.data(), own.data(), own.size(), cudaMemcpyHostToDevice, stream), "Nccl::exchange");
    started(ncclAllGather(from.data(), to.data(), own.size(), ncclChar, all_, stream), "ncclAllGather");
    wait();
    cuda::check(cudaMemcpy(all.data(), to.data(), all.size(), cudaMemcpyDeviceToHost), "Nccl::exchange");
  }

  /// On a stream of its own.
  void begin_gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    cuda::check(cudaEventRecord(event_, cuda::default_stream()), "cudaEventRecord");
    cuda::check(cudaStreamWaitEvent(beside_, event_, 0), "cudaStreamWaitEvent");
    started(ncclAllGather(own.data(), all.data(), own.size(), ncclChar, all_, beside_), "ncclAllGather");
    cuda::check(cudaEventRecord(arrived_, beside_), "cudaEventRecord");
  }
  /// The host waits, so that no work is put on the default stream that could wait for a rank that is gone.
  void finish_gather() override {
    if (left_) return;
    cuda::check(cudaEventRecord(reached_, cuda::default_stream()), "cudaEventRecord");
    wait_for(arrived_);
    if (cudaEventQuery(reached_) != cudaSuccess) {  // there is work left
      cudaGetLastError();
      return;
    }
    float idle = 0;  // milliseconds since there was none; below 0 where the gather was faster
    cuda::check(cudaEventElapsedTime(&idle, reached_, arrived_), "cudaEventElapsedTime");
    gather_seconds_ += 1e-3 * std::max(0.0, static_cast<double>(idle));
  }

 private:
  /// Each rank adds up its share of the numbers, so that as much travels as in a ring.
  template <class T>
  void sum_of(std::span<T> x, ncclDataType_t type) {
    const cudaStream_t stream = cuda::default_stream();
    const int ranks = static_cast<int>(place_.size);
    const auto share = [&](int rank) { return share_of(static_cast<Index>(x.size()), rank, ranks); };
    const Share own = share(static_cast<int>(place_.rank));
    cuda::Scratch<T> parts(ranks * own.count(), stream);
    const auto group = [&](auto&& f, const char* what) {
      cuda::check_nccl(ncclGroupStart(), what);
      for (int rank = 0; rank < ranks; ++rank) f(rank);
      started(ncclGroupEnd(), what);
    };
    const auto count = [](Share s) { return static_cast<std::size_t>(s.count()); };
    group([&](int rank) {
      ncclSend(x.data() + share(rank).first, count(share(rank)), type, rank, all_, stream);
      ncclRecv(parts.data() + rank * own.count(), count(own), type, rank, all_, stream);
    }, "ncclSend");
    if (own.count() > 0) {
      cuda::launch("sum_ranks", cuda::sum_ranks<T>, {cuda::blocks_for(own.count(), 256), 256, stream}, static_cast<const T*>(parts.data()),
                   x.data() + own.first, own.count(), ranks);
    }
    group([&](int rank) {
      T* const at = x.data() + share(rank).first;
      ncclBroadcast(at, at, count(share(rank)), type, rank, all_, stream);
    }, "ncclBroadcast");
    wait();
  }

  /// The others may still read what this rank sent; those that do not come are not waited for long.
  void end() noexcept {
    ncclResult_t state = ncclCommFinalize(all_);
    for (int turn = 0; state == ncclInProgress && turn < 3000; ++turn) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ncclCommGetAsyncError(all_, &state);
    }
    if (state == ncclSuccess) ncclCommDestroy(all_);
    else ncclCommAbort(all_);
  }

  /// Until NCCL has put on the stream what it was asked for: calls return before.
  void started(ncclResult_t status, const char* what) {
    if (status != ncclInProgress) cuda::check_nccl(status, what);
    ncclResult_t now = ncclSuccess;
    const auto done = [&] {
      cuda::check_nccl(ncclCommGetAsyncError(all_, &now), what);
      return now != ncclInProgress;
    };
    detail::wait_for(done, [&] { return meeting_.lost(); });
    check_no_one_left(now, what);
  }

  /// Until the default stream has done all that was put on it.
  void wait() {
    cuda::check(cudaEventRecord(event_, cuda::default_stream()), "cudaEventRecord");
    wait_for(event_);
  }

  void wait_for(cudaEvent_t event) {
    const auto done = [&] {
      const cudaError_t state = cudaEventQuery(event);
      if (state != cudaErrorNotReady) cuda::check(state, "Nccl: the work before a collective");
      ncclResult_t failed = ncclSuccess;
      if (state == cudaErrorNotReady) ncclCommGetAsyncError(all_, &failed);
      check_no_one_left(failed, "Nccl");
      return state == cudaSuccess;
    };
    try {
      detail::wait_for(done, [&] { return meeting_.lost(); });
    } catch (const RankError&) {
      left_ = true;
      ncclCommAbort(all_);  // what waits for the lost rank on the stream
      throw;
    }
  }

  /// NCCL says that a connection broke, the meeting whose.
  void check_no_one_left(ncclResult_t status, const char* what) const {
    if (status == ncclSuccess || status == ncclInProgress) return;
    meeting_.check();
    cuda::check_nccl(status, what);
  }

  Place place_;
  Meeting meeting_;
  ncclComm_t all_ = nullptr;
  cudaEvent_t event_ = nullptr, reached_ = nullptr, arrived_ = nullptr;
  cudaStream_t beside_ = nullptr;
  int exceptions_ = std::uncaught_exceptions();
  bool left_ = false;
};

}  // namespace lolcats

#endif  // LOLCATS_WITH_NCCL
