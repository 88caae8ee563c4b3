// What our programs share: errors on one line, progress on the terminal, the memory they took.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/progress.hpp>
#include <lolcats/data/open_text.hpp>
#include <lolcats/io/file.hpp>

#include <fmt/core.h>

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string_view>

namespace examples {

/// Runs a program: an error becomes one line on stderr and exit status 1.
template <class F>
int run_program(std::string_view name, F&& f) {
  try {
    f();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "\n{}: {}\n", name, error.what());
    return 1;
  }
}

/// Prints progress on stderr: one line that renews itself on a terminal, a line every ten seconds elsewhere.
inline lolcats::ProgressCallback print_progress() {
  using Clock = std::chrono::steady_clock;
  return [last = Clock::time_point{}](const lolcats::Progress& p) mutable {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const bool done = p.update == p.total;
    const auto now = Clock::now();
    if (!done && !p.validation && now - last < (terminal ? std::chrono::milliseconds(200) : std::chrono::seconds(10))) return;
    last = now;
    fmt::print(stderr, "{}  {}{}", terminal ? "\r\033[K" : "", to_string(p), terminal && !done ? "" : "\n");
    std::fflush(stderr);
  };
}

/// The same for texts that become tokens.
inline lolcats::TextProgressCallback print_text_progress() {
  return [last = std::chrono::steady_clock::now()](const lolcats::TextProgress& p) mutable {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const bool done = p.done == p.total;
    const auto now = std::chrono::steady_clock::now();
    if (p.note.empty() && !done && now - last < (terminal ? std::chrono::milliseconds(200) : std::chrono::seconds(10))) return;
    last = now;
    fmt::print(stderr, "{}  {}{}", terminal ? "\r\033[K" : "", to_string(p), terminal && !done && p.note.empty() ? "" : "\n");
    std::fflush(stderr);
  };
}

/// Finds out whether a file can be written, before the work whose result it takes: makes its folder and a temporary file
/// there.  Errors: FileError.
inline void try_output(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.parent_path();
  if (!folder.empty()) lolcats::create_folder(folder);
  lolcats::require<lolcats::FileError>(!lolcats::is_folder(file), "{}: is a folder, expected the name of a file", file.string());
  const std::filesystem::path trial = file.string() + ".trial";
  lolcats::write_file_atomically(trial, std::string_view("\n"));
  std::filesystem::remove(trial);
}

/// Most memory this process ever held, in bytes.
inline std::size_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace examples
