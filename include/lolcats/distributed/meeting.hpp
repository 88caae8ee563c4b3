// Where processes that have nothing but a folder in common find each other, and notice who is gone.
#pragma once

#include <lolcats/distributed/communicator.hpp>
#include <lolcats/distributed/launch.hpp>
#include <lolcats/io/file.hpp>

#include <sys/file.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace lolcats {

/// The folder where ranks meet: what each writes there, and whether it is still alive.
///
/// A rank holds a lock on its own file, rank.<n>, which the kernel frees when the process dies, whatever it dies of; a rank
/// that leaves says why in left.<n>.
class Meeting {
 public:
  explicit Meeting(const Place& place) : place_(place), own_(::open(file("rank", place.rank).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    require<FileError>(own_.get() >= 0, "{}: cannot create: {}", file("rank", place.rank).string(), detail::system_message(errno));
    require<ConfigError>(::flock(own_.get(), LOCK_EX | LOCK_NB) == 0, "{}: another process is rank {}",
                         place.meeting.string(), place.rank);
    write_file_atomically(file("here", place.rank), std::string_view("here\n"));
  }

  /// What rank 0 wrote, once all are here.  Errors: CommunicationError naming the first that does not come in two minutes.
  std::string agree(std::string_view from_first) {
    if (place_.rank == 0) write_file_atomically(place_.meeting / "id", from_first);
    const auto wait_until_there = [&](const std::filesystem::path& path, Index rank) {
      for (int turn = 0; !path_exists(path); ++turn) {
        require<CommunicationError>(turn < 6000, "{}: rank {} did not come in two minutes", place_.meeting.string(), rank);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (turn % 50 == 49 && path_exists(file("here", rank))) check();
      }
    };
    for (Index rank = 0; rank < place_.size; ++rank) wait_until_there(file("here", rank), rank);
    wait_until_there(place_.meeting / "id", 0);
    return read_text(place_.meeting / "id");
  }

  void leave(std::string_view why) noexcept {
    try {
      write_file_atomically(file("left", place_.rank), why.substr(0, 4000));
    } catch (const Error&) {  // the others see the lock go
    }
  }

  /// A rank that left or died, and why.
  std::optional<std::pair<Index, std::string>> lost() const {
    for (Index rank = 0; rank < place_.size; ++rank) {
      if (rank == place_.rank) continue;
      if (path_exists(file("left", rank))) return std::pair{rank, read_text(file("left", rank))};
      const detail::Descriptor other(::open(file("rank", rank).c_str(), O_RDWR | O_CLOEXEC));
      if (other.get() >= 0 && ::flock(other.get(), LOCK_EX | LOCK_NB) == 0) return std::pair{rank, std::string("its process ended")};
    }
    return {};
  }
  void check() const {
    if (const auto gone = lost()) detail::fail_with_rank(gone->first, gone->second);
  }

 private:
  std::filesystem::path file(const char* kind, Index rank) const { return place_.meeting / fmt::format("{}.{}", kind, rank); }

  Place place_;
  detail::Descriptor own_;
};

}  // namespace lolcats
