// How the processes of a run are started: by mpiexec, by a script, or by the program itself, one for every GPU of a host.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace lolcats {

/// The place of a process among others, as the environment says it:
///   LOLCATS_RANK  0, 1, ...       LOLCATS_RANKS  how many there are       LOLCATS_MEETING  a folder that all of them see
/// On one host `launch_ranks` sets all three; on several a script does, with a new folder of a shared file system.
struct Place {
  Index rank = 0, size = 1;
  std::filesystem::path meeting;
};

/// Empty where LOLCATS_RANKS is not set.  Errors: ConfigError naming the variable.
inline std::optional<Place> place_from_environment() {
  const auto text = [](const char* name) {
    const char* const value = std::getenv(name);
    require<ConfigError>(value && *value, "{} is not set, but LOLCATS_RANKS is", name);
    return std::string(value);
  };
  const auto number = [&](const char* name) {
    const std::string value = text(name);
    const bool digits = value.find_first_not_of("0123456789") == std::string::npos;
    require<ConfigError>(digits && value.size() < 7, "{} is '{}', expected a number", name, value);
    return static_cast<Index>(std::stol(value));
  };
  if (!std::getenv("LOLCATS_RANKS")) return {};
  const Place place{number("LOLCATS_RANK"), number("LOLCATS_RANKS"), text("LOLCATS_MEETING")};
  require<ConfigError>(place.rank < place.size, "LOLCATS_RANK is {}, expected less than LOLCATS_RANKS, {}", place.rank, place.size);
  return place;
}

/// Was this process started by mpiexec, beside others?
inline bool started_by_mpiexec() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {  // Open MPI; MPICH and its relatives
    if (const char* size = std::getenv(name)) return std::atoi(size) > 1;
  }
  return false;
}

namespace detail {

/// The n-th GPU of those that this process may use.
inline std::string visible_device(Index n) {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!visible) return std::to_string(n);
  std::string list = visible;
  for (Index i = 0; i < n; ++i) {
    const auto comma = list.find(',');
    require<ConfigError>(comma != std::string::npos, "CUDA_VISIBLE_DEVICES is '{}', expected at least {} devices", visible, n + 1);
    list.erase(0, comma + 1);
  }
  return list.substr(0, list.find(','));
}

/// Starts the program of this process with the same arguments in the child of a fork, and does not return.
[[noreturn]] inline void run_again(const Place& place, const std::string& device, char* const* arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // nobody is left behind
  ::setenv("LOLCATS_RANK", std::to_string(place.rank).c_str(), 1);
  ::setenv("LOLCATS_RANKS", std::to_string(place.size).c_str(), 1);
  ::setenv("LOLCATS_MEETING", place.meeting.c_str(), 1);
  ::setenv("CUDA_VISIBLE_DEVICES", device.c_str(), 1);
  ::execv("/proc/self/exe", arguments);
  ::_exit(127);
}

inline volatile std::sig_atomic_t launcher_signal = 0;

}  // namespace detail

/// Runs this program `size` times at once, each with its Place and the GPU of its rank, and waits for all.  Returns 0, or the
/// status of the first that failed (128 + signal where one killed it) after `explain(rank, status)`.  The others then have ten
/// seconds to end by themselves, and are killed.  SIGTERM and SIGINT are passed on.
///
/// To be called before this process touches a GPU or has threads.  Processes rather than threads, because a crash of one then
/// harms no other, because the library's per-process state (streams, memory pools, signals) stays as it is, and because
/// it is the same on several hosts.  Errors: CommunicationError where no process can be started.
template <class Explain>
int launch_ranks(Index size, Explain&& explain) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string line{std::istreambuf_iterator<char>(file), {}};
  std::vector<char*> arguments;
  for (std::size_t at = 0; at < line.size(); at = line.find('\0', at) + 1) arguments.push_back(line.data() + at);
  arguments.push_back(nullptr);
  std::string meeting = (std::filesystem::temp_directory_path() / "lolcats_ranks_XXXXXX").string();
  require<CommunicationError>(::mkdtemp(meeting.data()), "{}: cannot create a folder to meet in", meeting);
  std::vector<std::string> devices;
  for (Index rank = 0; rank < size; ++rank) devices.push_back(detail::visible_device(rank));

  std::vector<pid_t> running;  // by rank; 0: ended
  for (Index rank = 0; rank < size; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) detail::run_again({rank, size, meeting}, devices[static_cast<std::size_t>(rank)], arguments.data());
    if (child < 0) {
      for (const pid_t other : running) ::kill(other, SIGKILL);
      fail<CommunicationError>("cannot start rank {} of {}", rank, size);
    }
    running.push_back(child);
  }
  struct sigaction action {};
  action.sa_handler = [](int signal) { detail::launcher_signal = signal; };
  for (const int signal : {SIGTERM, SIGINT}) ::sigaction(signal, &action, nullptr);

  using Clock = std::chrono::steady_clock;
  int first_status = 0, passed_on = 0;
  Clock::time_point failed;
  for (std::size_t left = running.size(); left > 0;) {
    bool news = false;
    for (std::size_t rank = 0; rank < running.size(); ++rank) {
      int state = 0;
      if (running[rank] == 0 || ::waitpid(running[rank], &state, WNOHANG) != running[rank]) continue;
      running[rank] = 0;
      --left;
      news = true;
      const int status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
      if (status == 0 || first_status != 0) continue;
      first_status = status;
      failed = Clock::now();
      explain(static_cast<Index>(rank), status);
    }
    const int signal = detail::launcher_signal;
    const bool late = first_status != 0 && Clock::now() - failed > std::chrono::seconds(10);
    for (const pid_t process : running) {
      if (process == 0) continue;
      if (late) ::kill(process, SIGKILL);
      else if (signal != passed_on) ::kill(process, signal);
    }
    passed_on = signal;
    if (!news) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::error_code ignored;
  std::filesystem::remove_all(meeting, ignored);
  return first_status;
}

}  // namespace lolcats
