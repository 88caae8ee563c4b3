// A communicator between processes that mpiexec started.  Link lolcats::mpi; without it this header is empty.
#pragma once

#ifdef LOLCATS_WITH_MPI

#include <lolcats/distributed/communicator.hpp>

#include <mpi.h>

#include <array>
#include <limits>
#include <type_traits>

namespace lolcats {

namespace detail {

inline void check_mpi(int status, const char* what) {
  if (status == MPI_SUCCESS) [[likely]] return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  fail<CommunicationError>("{}: {}", what, std::string_view(text.data(), static_cast<std::size_t>(length)));
}

/// MPI in this process: from the first communicator to the end of the program.
class MpiSession {
 public:
  static MpiSession& current() {
    static MpiSession session;
    return session;
  }
  /// Some rank has failed: the end waits for nobody long.
  void leave() { left_ = true; }

 private:
  MpiSession() {
    int initialized = 0;
    check_mpi(MPI_Initialized(&initialized), "MPI_Initialized");
    if (initialized) return;
    int provided = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    owner_ = true;
  }
  /// To finalize means to wait for all ranks.  Where they failed each on its own, some will not come, and mpiexec ends
  /// what is left; where all agreed to fail, they come.
  ~MpiSession() {
    if (!owner_) return;
    MPI_Request request{};
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    for (int turn = 0, done = 0; !done; ++turn) {
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      if (left_ && turn == 3000) return;
      if (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    MPI_Finalize();
  }
  bool owner_ = false, left_ = false;
};

}  // namespace detail

/// All processes of MPI_COMM_WORLD; sums host memory.
///
/// The constructor is a collective, too, and starts MPI where nobody has; MPI ends with the program.  A rank that is
/// killed is noticed by mpiexec, which ends the others and says who it was.
class Mpi final : public Communicator {
 public:
  Mpi() {
    detail::MpiSession::current();
    // Its messages meet no others.  It is not freed, for that would wait for ranks that may be gone.
    detail::check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &all_), "MPI_Comm_dup");
    detail::check_mpi(MPI_Comm_set_errhandler(all_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    detail::check_mpi(MPI_Comm_rank(all_, &rank_), "MPI_Comm_rank");
    detail::check_mpi(MPI_Comm_size(all_, &size_), "MPI_Comm_size");
  }
  ~Mpi() override {
    if (std::uncaught_exceptions() > exceptions_) leave("an exception ended it");
  }

  Index rank() const override { return rank_; }
  Index size() const override { return size_; }
  void sum(std::span<float> x) override { sum_of(x, MPI_FLOAT); }
  void sum(std::span<double> x) override { sum_of(x, MPI_DOUBLE); }

  void leave(std::string_view why) noexcept override {
    if (left_) return;
    left_ = true;
    detail::MpiSession::current().leave();
    why_ = why.substr(0, 1000);  // short enough to travel without being waited for
    std::vector<MPI_Request> requests(static_cast<std::size_t>(size_), MPI_REQUEST_NULL);
    for (int to = 0; to < size_; ++to) {
      if (to != rank_) MPI_Isend(why_.data(), static_cast<int>(why_.size()), MPI_CHAR, to, tag, all_, &requests[static_cast<std::size_t>(to)]);
    }
    for (int turn = 0, done = 0; turn < 1000 && !done; ++turn) {
      MPI_Testall(size_, requests.data(), &done, MPI_STATUSES_IGNORE);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void exchange(std::span<const std::byte> own, std::span<std::byte> all) override {
    require<CommunicationError>(own.size() <= std::numeric_limits<int>::max(), "Mpi: {} bytes at once, expected at most {}", own.size(),
                                std::numeric_limits<int>::max());
    const int bytes = static_cast<int>(own.size());
    MPI_Request request{};
    detail::check_mpi(MPI_Iallgather(own.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, all_, &request), "MPI_Iallgather");
    wait(request);
  }

 private:
  static constexpr int tag = 1;

  /// Each rank adds up its share of the numbers, so that as much travels as in a ring; in pieces, whose counts fit an int.
  template <class T>
  void sum_of(std::span<T> x, MPI_Datatype type) {
    constexpr std::size_t piece = std::size_t{1} << 24;
    for (; !x.empty(); x = x.subspan(std::min(piece, x.size()))) sum_piece(x.first(std::min(piece, x.size())), type);
  }

  template <class T>
  void sum_piece(std::span<T> x, MPI_Datatype type) {
    const auto ranks = static_cast<std::size_t>(size_);
    std::vector<int> counts(ranks), offsets(ranks), own_counts(ranks), own_offsets(ranks);
    const auto share = [&](Index rank) { return share_of(static_cast<Index>(x.size()), rank, size_); };
    const Share own = share(rank_);
    for (std::size_t i = 0; i < ranks; ++i) {
      const Share other = share(static_cast<Index>(i));
      counts[i] = static_cast<int>(other.count());
      offsets[i] = static_cast<int>(other.first);
      own_counts[i] = static_cast<int>(own.count());
      own_offsets[i] = static_cast<int>(static_cast<Index>(i) * own.count());
    }
    const auto width = static_cast<std::size_t>(own.count());
    std::vector<T> parts(ranks * width), total(width);
    MPI_Request request{};
    detail::check_mpi(MPI_Ialltoallv(x.data(), counts.data(), offsets.data(), type, parts.data(), own_counts.data(), own_offsets.data(), type,
                                     all_, &request),
                      "MPI_Ialltoallv");
    wait(request);
    std::copy_n(parts.data(), width, total.data());
    for (std::size_t i = 1; i < ranks; ++i) {
      for (std::size_t j = 0; j < width; ++j) total[j] += parts[i * width + j];
    }
    detail::check_mpi(MPI_Iallgatherv(total.data(), static_cast<int>(width), type, x.data(), counts.data(), offsets.data(), type, all_, &request),
                      "MPI_Iallgatherv");
    wait(request);
  }

  /// Tests instead of waiting, so that a rank that leaves is heard.
  void wait(MPI_Request& request) {
    const auto done = [&] {
      int flag = 0;
      detail::check_mpi(MPI_Test(&request, &flag, MPI_STATUS_IGNORE), "MPI_Test");
      return flag != 0;
    };
    detail::wait_for(done, [&] { return lost(); });
  }

  std::optional<std::pair<Index, std::string>> lost() {
    int there = 0, length = 0;
    MPI_Status status{};
    detail::check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, all_, &there, &status), "MPI_Iprobe");
    if (!there) return {};
    MPI_Get_count(&status, MPI_CHAR, &length);
    std::string why(static_cast<std::size_t>(length), '\0');
    detail::check_mpi(MPI_Recv(why.data(), length, MPI_CHAR, status.MPI_SOURCE, tag, all_, MPI_STATUS_IGNORE), "MPI_Recv");
    detail::MpiSession::current().leave();
    return std::pair{static_cast<Index>(status.MPI_SOURCE), std::move(why)};
  }

  MPI_Comm all_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  int exceptions_ = std::uncaught_exceptions();
  bool left_ = false;
  std::string why_;
};

}  // namespace lolcats

#endif  // LOLCATS_WITH_MPI
