// Files: mapped for reading, written whole or not at all.
#pragma once

#include <lolcats/core/error.hpp>

#include <atomic>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lolcats {

namespace detail {

/// What errno says, in words.
inline std::string system_message(int code) { return std::generic_category().message(code); }

/// A file descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int get() const { return descriptor_; }
  /// False if closing reported an error, as network file systems do for writes that failed late.
  bool close() {
    if (descriptor_ < 0) return true;
    return ::close(std::exchange(descriptor_, -1)) == 0;
  }

 private:
  int descriptor_;
};

/// NAME.tmp.PROCESS.NUMBER.  One counter for the whole process: its threads may write one file at the same time.
inline std::string temporary_name(const std::string& name) {
  static std::atomic<unsigned> count = 0;
  return fmt::format("{}.tmp.{}.{}", name, ::getpid(), count++);
}

/// Did `temporary_name` make this name, in this process or another?
inline bool is_temporary_name(std::string_view name) {
  for (int part = 0; part < 2; ++part) {
    const auto dot = name.find_last_of('.');
    if (dot == std::string_view::npos || dot + 1 == name.size()) return false;
    if (name.find_first_not_of("0123456789", dot + 1) != std::string_view::npos) return false;
    name = name.substr(0, dot);
  }
  return name.ends_with(".tmp");
}

}  // namespace detail

/// Like std::filesystem's functions, but an unreadable folder on the way is a "no", not an exception of another type.
inline bool path_exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}
inline bool is_folder(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

/// A whole regular file, mapped read-only.
///
/// Errors: FileError if the file cannot be opened or mapped, FormatError if it is a pointer that Git LFS left in place
/// of the file: every reader would blame something else.  The file must not be shortened while it is mapped:
/// reading the lost pages ends the process (SIGBUS).  Files written by `write_file_atomically` are replaced, never
/// shortened.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path) : name_(path.string()) {
    const detail::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    require<FileError>(file.get() >= 0, "{}: cannot open for reading: {}", name_, detail::system_message(errno));
    struct stat status {};
    require<FileError>(::fstat(file.get(), &status) == 0, "{}: cannot read the size: {}", name_,
                       detail::system_message(errno));
    require<FileError>(S_ISREG(status.st_mode), "{}: is not a regular file", name_);
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;  // an empty range cannot be mapped
    void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    require<FileError>(memory != MAP_FAILED, "{}: cannot map {} bytes: {}", name_, size_,
                       detail::system_message(errno));
    data_ = static_cast<const std::byte*>(memory);
    require_no_pointer();
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::string& name() const { return name_; }

 private:
  /// Pointers are shorter than 1024 bytes and begin with this line (git-lfs, docs/spec.md).
  void require_no_pointer() {
    if (size_ >= 1024 || !text().starts_with("version https://git-lfs.github.com/spec/")) return;
    ::munmap(const_cast<std::byte*>(std::exchange(data_, nullptr)), size_);
    fail<FormatError>("{}: is a Git LFS pointer of {} bytes, not the file itself; fetch it with 'git lfs pull'", name_,
                      size_);
  }

  std::string name_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The whole file as text.  Errors: FileError.
inline std::string read_text(const std::filesystem::path& path) { return std::string(MappedFile(path).text()); }

/// What `write_file_atomically` hands to its callback.
class FileWriter {
 public:
  FileWriter(int descriptor, std::string target) : descriptor_(descriptor), target_(std::move(target)) {}

  /// Appends all bytes.  Errors: FileError, naming the target and how far it came.
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      require<FileError>(count > 0, "{}: cannot write {} bytes at offset {}: {}", target_, bytes.size(), written_,
                         detail::system_message(count < 0 ? errno : ENOSPC));
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      written_ += static_cast<std::size_t>(count);
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

 private:
  int descriptor_;
  std::string target_;
  std::size_t written_ = 0;
};

/// Replaces `path` by what `body(FileWriter&)` writes: wholly, or not at all.
///
/// The bytes go to a temporary file in the same folder, reach the disk, and take the name in one step.  On any failure,
/// and when `body` throws, the temporary is removed, an older file stays as it was and the error goes on.  A process
/// that is killed meanwhile leaves the temporary behind, never half a file under `path`.  Errors: FileError.
template <std::invocable<FileWriter&> F>
void write_file_atomically(const std::filesystem::path& path, F&& body) {
  const std::string name = path.string();
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  // A rename would replace a folder's or a device's entry by a file.
  require<FileError>(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status),
                     "{}: exists and is not a regular file", name);

  const std::string temporary = detail::temporary_name(name);
  detail::Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  require<FileError>(file.get() >= 0, "{}: cannot create the temporary file {}: {}", name, temporary,
                     detail::system_message(errno));
  try {
    FileWriter writer(file.get(), name);
    body(writer);
    require<FileError>(::fsync(file.get()) == 0, "{}: cannot bring the bytes to disk: {}", name,
                       detail::system_message(errno));
    require<FileError>(file.close(), "{}: cannot close: {}", name, detail::system_message(errno));
    require<FileError>(::rename(temporary.c_str(), name.c_str()) == 0, "{}: cannot rename {}: {}", name, temporary,
                       detail::system_message(errno));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  // The name is in place.  Bringing the folder to disk too only narrows what a power cut can undo.
  const std::filesystem::path parent = path.parent_path();
  const detail::Descriptor folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
}

inline void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, [&](FileWriter& writer) { writer.write(bytes); });
}
inline void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, [&](FileWriter& writer) { writer.write(text); });
}

/// Creates a folder and its parents unless they exist.  Errors: FileError.
inline void create_folder(const std::filesystem::path& path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  require<FileError>(!failure && is_folder(path), "{}: cannot create the folder: {}", path.string(),
                     failure ? failure.message() : "a file is in the way");
}

/// Finds out whether `path` can be written, before the work whose result it takes: makes its folder, and a temporary file
/// there, which is removed.  Errors: FileError.
inline void try_writing(const std::filesystem::path& path) {
  if (path.has_parent_path()) create_folder(path.parent_path());
  require<FileError>(!is_folder(path), "{}: is a folder, expected the name of a file", path.string());
  const std::string temporary = detail::temporary_name(path.string());
  detail::Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  require<FileError>(file.get() >= 0, "{}: cannot create the temporary file {}: {}", path.string(), temporary,
                     detail::system_message(errno));
  ::unlink(temporary.c_str());
}

/// Removes the temporary files that killed processes left in a folder.  Only for who holds the folder's lock: those of a
/// process that is still writing look the same.
inline void remove_temporaries(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (detail::is_temporary_name(entry.path().filename().string())) ::unlink(entry.path().c_str());
  }
}

}  // namespace lolcats
