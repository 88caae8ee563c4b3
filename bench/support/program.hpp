// A benchmark as a program: options, errors, exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <type_traits>

namespace bench {

/// Reads the options of `app` from the command line, then calls f(); the exit status is what f returns, if that is an int, and 0
/// otherwise.  Options that cannot be read are told as CLI11 does, any other error is one line on stderr and exit status 1.
template <class F>
int run_program(CLI::App& app, int argc, char** argv, F&& f) {
  try {
    app.parse(argc, argv);
    if constexpr (std::is_same_v<decltype(f()), int>) {
      return f();
    } else {
      f();
      return 0;
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", app.get_name(), error.what());
    return 1;
  }
}

}  // namespace bench
