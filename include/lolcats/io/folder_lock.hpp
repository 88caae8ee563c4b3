// A folder that one process at a time writes into.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/file.hpp>

#include <array>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>

#include <sys/file.h>

namespace lolcats {

/// Holds FOLDER/run.lock while it lives.
///
/// The kernel frees the lock of a process that dies, whatever it dies of, so that nobody has to find out whether a number
/// is still that of the same process.  The text in the file is for people: "HOST PROCESS since 2026-01-31 12:00:00".
/// Errors: FileError where the file cannot be made; ConfigError naming who holds it.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder) : file_(folder / "run.lock") {
    while (!try_lock()) {
    }
    try {
      sign();
    } catch (...) {
      release();
      throw;
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() { release(); }

 private:
  /// False where the file was removed by its last holder between the two calls: that is a lock on nothing.
  bool try_lock() {
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    require<FileError>(descriptor_ >= 0, "{}: cannot create: {}", file_.string(), detail::system_message(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int code = errno;
      std::array<char, 256> holder{};
      const ssize_t size = ::pread(descriptor_, holder.data(), holder.size(), 0);
      ::close(descriptor_);
      require<FileError>(code == EWOULDBLOCK, "{}: cannot lock: {}", file_.string(), detail::system_message(code));
      fail<ConfigError>("{}: another run writes into this folder: {}", file_.string(),
                        size > 0 ? std::string_view(holder.data(), static_cast<std::size_t>(size))
                                 : std::string_view("its process is not known"));
    }
    struct stat mine {}, named {};
    if (::fstat(descriptor_, &mine) == 0 && ::stat(file_.c_str(), &named) == 0 && mine.st_ino == named.st_ino) return true;
    ::close(descriptor_);
    return false;
  }

  void sign() const {
    std::array<char, 256> host{'?'}, since{'?'};
    ::gethostname(host.data(), host.size() - 1);
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    std::strftime(since.data(), since.size(), "%F %T", &local);
    require<FileError>(::ftruncate(descriptor_, 0) == 0, "{}: cannot empty: {}", file_.string(), detail::system_message(errno));
    FileWriter(descriptor_, file_.string()).write(fmt::format("{} {} since {}", host.data(), ::getpid(), since.data()));
  }

  void release() {
    ::unlink(file_.c_str());  // while it is held: behind it, this could be another's
    ::close(descriptor_);
  }

  std::filesystem::path file_;
  int descriptor_ = -1;
};

}  // namespace lolcats
