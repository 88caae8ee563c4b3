// A folder that a run of hours writes into: tried before any work, locked while it runs, finished once.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/file.hpp>

#include <fmt/format.h>

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

namespace examples {

/// Holds DIR/run.lock while it lives.  The kernel frees the lock of a process that dies, whatever it dies of; the text in it
/// is for people: "host 4711 since 2026-01-31 12:00:00".
class OutputFolder {
 public:
  /// Creates the folder, takes the lock, and removes what killed processes left half written.  A folder that holds one of
  /// `results`, but no `*.state*`, is finished: it is refused unless `replace`.
  /// Errors: FileError naming who holds the lock; ConfigError for a finished folder.
  OutputFolder(const std::filesystem::path& folder, std::initializer_list<std::string_view> results, bool replace) : folder_(folder) {
    lolcats::create_folder(folder);
    lock();
    try {
      lolcats::remove_temporaries(folder);
      for (const std::string_view result : results) {
        lolcats::require<lolcats::ConfigError>(replace || !lolcats::path_exists(folder / result) || has_states(),
                                               "{} holds the {} of a finished run; name another folder, or replace it with --replace",
                                               folder.string(), result);
      }
    } catch (...) {
      release();
      throw;
    }
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder() { release(); }

  /// Removes the states of training runs: the last thing of all, for without them the work begins anew.
  void finish() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (is_state(entry)) std::filesystem::remove(entry.path());
    }
  }

 private:
  std::filesystem::path file() const { return folder_ / "run.lock"; }

  /// NAME.state, and of block-wise transfer NAME.state.block2.
  static bool is_state(const std::filesystem::directory_entry& entry) {
    return entry.path().filename().string().find(".state") != std::string::npos;
  }
  bool has_states() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (is_state(entry)) return true;
    }
    return false;
  }

  void lock() {
    using lolcats::detail::system_message;
    while (true) {
      descriptor_ = ::open(file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
      lolcats::require<lolcats::FileError>(descriptor_ >= 0, "{}: cannot create: {}", file().string(), system_message(errno));
      if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        const int code = errno;
        char holder[256] = {};
        const ssize_t size = ::pread(descriptor_, holder, sizeof holder - 1, 0);
        ::close(descriptor_);
        lolcats::require<lolcats::FileError>(code == EWOULDBLOCK, "{}: cannot lock: {}", file().string(), system_message(code));
        lolcats::fail<lolcats::FileError>("{}: another run writes into this folder: {}", file().string(),
                                          size > 0 ? std::string_view(holder, static_cast<std::size_t>(size)) : "its process is not known");
      }
      // Whoever held it before may have removed the file between the two calls: then this is a lock on nothing.
      struct stat mine {}, named {};
      if (::fstat(descriptor_, &mine) == 0 && ::stat(file().c_str(), &named) == 0 && mine.st_ino == named.st_ino) break;
      ::close(descriptor_);
    }
    char host[256] = "?", since[32] = "?";
    ::gethostname(host, sizeof host - 1);
    const std::time_t now = std::time(nullptr);
    std::strftime(since, sizeof since, "%F %T", std::localtime(&now));
    const std::string text = fmt::format("{} {} since {}", host, ::getpid(), since);
    const bool written = ::ftruncate(descriptor_, 0) == 0 && ::pwrite(descriptor_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
    if (!written) {
      const int code = errno;
      release();
      lolcats::fail<lolcats::FileError>("{}: cannot write: {}", file().string(), system_message(code));
    }
  }

  void release() {
    ::unlink(file().c_str());
    ::close(descriptor_);
  }

  std::filesystem::path folder_;
  int descriptor_ = -1;
};

}  // namespace examples
