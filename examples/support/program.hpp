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
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace examples {

namespace detail {
inline volatile std::sig_atomic_t received_signal = 0;

/// Where errors are told; another than stderr after silence().
inline std::FILE* errors = nullptr;

/// The team of threads waits passively: threads that spin while another program has their core make a run many times
/// slower.  The runtime reads its settings when it is loaded, so that the program starts itself again.
inline void wait_passively() {
  for (const char* own : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}) {
    if (std::getenv(own)) return;
  }
  std::FILE* const file = std::fopen("/proc/self/cmdline", "rb");
  if (!file) return;
  std::string line;
  for (int c = 0; (c = std::fgetc(file)) != EOF;) line += static_cast<char>(c);
  std::fclose(file);
  std::vector<char*> arguments;
  for (std::size_t at = 0; at < line.size(); at = line.find('\0', at) + 1) arguments.push_back(line.data() + at);
  arguments.push_back(nullptr);
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  if (arguments.size() > 1) ::execv("/proc/self/exe", arguments.data());
}
}  // namespace detail

/// From here on this process, one of several, prints nothing but errors of its own.
inline void silence() {
  detail::errors = ::fdopen(::dup(STDERR_FILENO), "w");
  for (std::FILE* const stream : {stdout, stderr}) {
    if (!std::freopen("/dev/null", "w", stream)) lolcats::fail<lolcats::FileError>("/dev/null: cannot open");
  }
}

/// From here on SIGTERM and SIGINT are requests: training saves its state and ends.  A second one ends the process at once.
inline void stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { detail::received_signal = signal; };
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  for (const int signal : {SIGTERM, SIGINT}) ::sigaction(signal, &action, nullptr);
}
inline bool stop_requested() { return detail::received_signal != 0; }

/// Between parts of a program that no training loop watches over.
inline void stop_if_requested() {
  if (stop_requested()) throw lolcats::Interrupted("stopped between stages; what they saved is kept", "", 0);
}

/// Runs a program: an error becomes one line on stderr and exit status 1, a request to stop 128 + signal.
template <class F>
int run_program(std::string_view name, F&& f) {
  detail::wait_passively();
  try {
    f();
    return 0;
  } catch (const lolcats::RankError& error) {
    if (!detail::errors) fmt::print(stderr, "\n{}: {}\n", name, error.what());
    return 1;
  } catch (const lolcats::Interrupted& interrupted) {
    const int signal = detail::received_signal;
    fmt::print(stderr, "\n{}: {}: {}; the same command goes on from there\n", name, signal == SIGINT ? "SIGINT" : "SIGTERM", interrupted.what());
    return 128 + signal;
  } catch (const std::exception& error) {
    std::FILE* const to = detail::errors ? detail::errors : stderr;
    fmt::print(to, "\n{}: {}\n", name, error.what());
    std::fflush(to);
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

/// Most memory this process ever held, in bytes.
inline std::size_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace examples
