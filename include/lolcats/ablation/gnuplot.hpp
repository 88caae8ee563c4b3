// Running gnuplot, an optional program that is looked for on PATH when a picture is drawn.
#pragma once

#include <lolcats/core/error.hpp>

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lolcats::detail {

/// A file without a name, gone when it is closed.
class AnonymousFile {
 public:
  AnonymousFile() : file_(std::tmpfile(), &std::fclose) {
    require<FileError>(file_ != nullptr, "gnuplot: cannot create a temporary file: {}",
                       std::generic_category().message(errno));
  }
  int descriptor() const { return fileno(file_.get()); }

  /// Writes all of it; reading starts at its beginning.
  void fill(std::string_view text) {
    require<FileError>(
        std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size() && std::fflush(file_.get()) == 0,
        "gnuplot: cannot write a script of {} bytes: {}", text.size(), std::generic_category().message(errno));
    std::rewind(file_.get());
  }
  std::string text() {
    std::rewind(file_.get());
    std::string all;
    std::array<char, 1 << 14> part;
    while (const std::size_t count = std::fread(part.data(), 1, part.size(), file_.get())) {
      all.append(part.data(), count);
    }
    require<FileError>(std::ferror(file_.get()) == 0, "gnuplot: cannot read a temporary file");
    return all;
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

/// What gnuplot writes to its standard output for `script`; nothing where it is not installed.
///
/// The script and the picture pass through files, not pipes: a pipe to a program that ends early is a signal.
/// Errors: FileError with what gnuplot said.
inline std::optional<std::string> run_gnuplot(std::string_view script) {
  AnonymousFile in, out, complaints;
  in.fill(script);
  posix_spawn_file_actions_t streams;
  posix_spawn_file_actions_init(&streams);
  posix_spawn_file_actions_adddup2(&streams, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&streams, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&streams, complaints.descriptor(), STDERR_FILENO);
  // --default-settings: the user's own start-up file must not change the pictures
  std::array<char, 8> name{"gnuplot"};
  std::array<char, 19> option{"--default-settings"};
  const std::array<char*, 3> arguments{name.data(), option.data(), nullptr};
  pid_t process = 0;
  const int failure = posix_spawnp(&process, name.data(), &streams, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&streams);
  if (failure == ENOENT || failure == EACCES) return std::nullopt;
  require<FileError>(failure == 0, "gnuplot: cannot be started: {}", std::generic_category().message(failure));

  int status = 0;
  while (::waitpid(process, &status, 0) < 0) {
    require<FileError>(errno == EINTR, "gnuplot: cannot be waited for: {}", std::generic_category().message(errno));
  }
  require<FileError>(WIFEXITED(status) && WEXITSTATUS(status) == 0, "gnuplot failed with status {}: {}",
                     WEXITSTATUS(status), complaints.text());
  return out.text();
}

}  // namespace lolcats::detail
