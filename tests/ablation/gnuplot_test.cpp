#include <lolcats/ablation/gnuplot.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("run_gnuplot: returns what the script prints, however long it is") {
  std::string script = "set print '-'\n";
  for (int line = 0; line < 20000; ++line) script += "# more than a pipe holds\n";
  script += "print 1 + 1\n";
  const auto text = detail::run_gnuplot(script);
  if (!text) {
    MESSAGE("skipped: there is no gnuplot");
    return;
  }
  CHECK(*text == "2\n");
  CHECK(detail::run_gnuplot("").value().empty());
}

TEST_CASE("run_gnuplot: a script that is none is an error with gnuplot's words, also where input is left unread") {
  if (!detail::run_gnuplot("")) return;
  std::string script = "plot nothing at all\n";
  for (int line = 0; line < 20000; ++line) script += "# never read\n";
  try {
    detail::run_gnuplot(script);
    FAIL("no error");
  } catch (const FileError& error) {
    const std::string text = error.what();
    CHECK(text.starts_with("gnuplot failed with status"));
    CHECK(text.find("nothing") != std::string::npos);
  }
}
