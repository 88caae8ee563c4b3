// Reading a command line.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdlib>

namespace examples {

/// Reads the options that were added to `app`.  Ends the program after --help, and where they cannot be read.
inline void parse_or_exit(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
}

}  // namespace examples
