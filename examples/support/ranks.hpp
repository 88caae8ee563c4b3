// Programs that run as several processes: on GPUs by an option, on CPUs by mpiexec.
#pragma once

#include "../models/any_model.hpp"
#include "command_line.hpp"
#include "program.hpp"

#include <lolcats/core/error.hpp>
#include <lolcats/distributed/launch.hpp>

#include <cstdlib>
#include <memory>
#include <string>

namespace examples {

/// `name` is the program's, `shared` what the ranks share: "every batch".
inline void add_gpus_to(CLI::App& app, Index& gpus, const std::string& name, const std::string& shared) {
  app.add_option("--gpus", gpus, fmt::format("GPUs of this host that share {} (on CPUs: mpiexec -n 2 {} ...)", shared, name))
      ->capture_default_str()
      ->check(positive);
}

/// Becomes as many processes as `gpus` says, and runs f(communicator) in each of them, or where there is one; rank 0 alone prints.
template <class F>
void run_on_ranks(const char* name, Index gpus, F&& f) {
  if (gpus > 1 && !lolcats::place_from_environment()) {
    lolcats::require<lolcats::ConfigError>(device_name().starts_with("cuda"), "--gpus is {}, but this program computes on {}", gpus, device_name());
    std::exit(lolcats::launch_ranks(gpus, [&](Index rank, int status) { fmt::print(stderr, "\n{}: rank {} ended with status {}\n", name, rank, status); }));
  }
  const std::unique_ptr<lolcats::Communicator> communicator = make_communicator();
  if (!communicator->leads()) silence();
  lolcats::together(*communicator, [&] { f(*communicator); });
}

}  // namespace examples
