// Bytes that a program keeps for itself while it runs, in a file or in host memory.
#pragma once

#include <lolcats/io/file.hpp>

#include <cstdint>
#include <fstream>
#include <string>

#include <sys/statvfs.h>

namespace lolcats {

namespace detail {

/// Bytes that can still be written into a folder; that the kernel can give without swapping.  0 where nobody knows.
inline std::uint64_t free_disk_bytes(const std::filesystem::path& folder) {
  struct statvfs status {};
  if (::statvfs(folder.empty() ? "." : folder.c_str(), &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}
inline std::uint64_t free_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (std::uint64_t kib = 0; file >> name >> kib; std::getline(file, unit)) {
    if (name == "MemAvailable:") return 1024 * kib;
  }
  return 0;
}

}  // namespace detail

/// Mapped memory of a size that is known from the start: where there is not so much room, nothing is made.
///
/// It lies in a file with a name of its own beside `path` (that of a temporary, io/file.hpp), so that programs may be given the
/// same path, which is removed with this object; without a path it lies in host memory.
/// Errors: FileError naming the path; where there is no room, what is wanted and what is free.
class ScratchFile {
 public:
  ScratchFile(const std::filesystem::path& path, std::uint64_t bytes) {
    const std::string name = path.empty() ? "scratch in host memory" : path.string();
    const std::uint64_t free = path.empty() ? detail::free_memory_bytes() : detail::free_disk_bytes(path.parent_path());
    require<FileError>(free == 0 || bytes <= free, "{}: {} bytes are wanted, but {} are free", name, bytes, free);
    const std::string own = detail::temporary_name(name);
    const detail::Descriptor file(path.empty() ? ::memfd_create("lolcats", MFD_CLOEXEC)
                                               : ::open(own.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    require<FileError>(file.get() >= 0, "{}: cannot create: {}", name, detail::system_message(errno));
    if (!path.empty()) file_ = own;
    if (bytes == 0) return;
    // Reserved, for there is no error to catch where a page of a mapping finds no room.
    const int failure = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
    void* const memory = failure ? MAP_FAILED : ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    const int code = failure ? failure : errno;
    if (memory == MAP_FAILED) {
      remove();
      fail<FileError>("{}: cannot reserve and map {} bytes: {}", name, bytes, detail::system_message(code));
    }
    bytes_ = {static_cast<std::byte*>(memory), static_cast<std::size_t>(bytes)};
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
    remove();
  }

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  void remove() noexcept {
    if (!file_.empty()) ::unlink(file_.c_str());
  }

  std::span<std::byte> bytes_;
  std::string file_;
};

}  // namespace lolcats
