// Reading a command line.
#pragma once

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdlib>
#include <string>

namespace examples {

/// Checks of options; unlike CLI11's own they refuse nan and inf.
inline CLI::Validator number_check(const char* expected, bool (*fits)(double)) {
  return CLI::Validator(
      [expected, fits](std::string& text) {
        double value = 0;
        const bool is_number = CLI::detail::lexical_cast(text, value);
        return is_number && std::isfinite(value) && fits(value) ? std::string() : text + " is not " + expected;
      },
      std::string());
}
inline const CLI::Validator positive = number_check("a positive number", [](double x) { return x > 0; });
inline const CLI::Validator non_negative = number_check("0 or a positive number", [](double x) { return x >= 0; });
inline const CLI::Validator share = number_check("a number from 0 to 1", [](double x) { return x >= 0 && x <= 1; });

/// Reads the options that were added to `app`.  Ends the program after --help, and where they cannot be read.
inline void parse_or_exit(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
}

}  // namespace examples
