#include <lolcats/ablation/figure.hpp>

#include <doctest/doctest.h>

#include <cstdlib>

using namespace lolcats;

namespace {

const double missing = std::numeric_limits<double>::quiet_NaN();

/// An empty folder, gone at the end.
struct FigureFolder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("lolcats-figure-{}", ::getpid());
  FigureFolder() { create_folder(path); }
  ~FigureFolder() { std::filesystem::remove_all(path); }
  std::size_t files() const {
    const std::filesystem::directory_iterator all(path);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }
};

/// PATH is something else for the length of a scope.
class Path {
 public:
  explicit Path(const std::string& path) : before_(std::getenv("PATH")) { ::setenv("PATH", path.c_str(), 1); }
  Path(const Path&) = delete;
  ~Path() { ::setenv("PATH", before_.c_str(), 1); }

 private:
  std::string before_;
};

LinePlot curves() {
  return {"a_b {c} <d> & 'e'",
          "updates",
          "perplexity",
          false,
          true,
          false,
          {{"hybrid<hedgehog<8>, it's>", {0, 1, 2}, {3, missing, 1}, {2, missing, 0.5}, {4, missing, 2}},
           {"diverged", {0, 1}, {missing, missing}}}};
}
BarPlot bars() { return {"bars", "perplexity", false, {"one", "two"}, {{"a", {1, missing}, {0.1, 0.2}}, {"b", {2, 3}}}}; }
HeatPlot heat() {
  return {"heat", "key", "query", "weight", 2, true, {{"left", 1, 2, {0, 1}}, {"right", 1, 2, {0.5, missing}}}};
}

template <class E, class Plot>
std::string message(const Plot& plot) {
  try {
    draw(plot, "/nonexistent/picture");
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("draw: writes both formats of every kind of plot, with its labels as they are") {
  const FigureFolder folder;
  if (!draw(curves(), folder.path / "curves")) {
    MESSAGE("skipped: there is no gnuplot");
    CHECK(folder.files() == 0);
    return;
  }
  CHECK(draw(bars(), folder.path / "bars"));
  CHECK(draw(heat(), folder.path / "heat"));
  CHECK(folder.files() == 6);
  for (const char* name : {"curves", "bars", "heat"}) {
    CHECK(read_text(folder.path / (std::string(name) + ".png")).starts_with("\x89PNG"));
    const std::string svg = read_text(folder.path / (std::string(name) + ".svg"));
    CHECK(svg.starts_with("<?xml"));
    CHECK(has(svg, "</svg>"));
  }
  // A small heat map is drawn cell by cell, a large one is a picture whose entries stay apart.
  CHECK_FALSE(has(read_text(folder.path / "heat.svg"), "<image"));
  CHECK(draw(HeatPlot{"large", "key", "query", "weight", 1, false, {{"p", 33, 32, std::vector<double>(33 * 32, 0.5)}}}, folder.path / "large"));
  CHECK(has(read_text(folder.path / "large.svg"), "<image style='image-rendering: pixelated' "));
  const std::string svg = read_text(folder.path / "curves.svg");
  CHECK(has(svg, "a_b {c} &lt;d> &amp; 'e'"));
  CHECK(has(svg, "hybrid&lt;hedgehog&lt;8>, it's>"));
  CHECK(has(svg, "diverged (nothing finite)"));
}

TEST_CASE("draw: plots of one point, of one value, and of nothing that can be drawn") {
  const FigureFolder folder;
  LinePlot point{"point", "x", "y", true, true, false, {{"p", {8}, {2}}}};
  BarPlot nothing{"nothing", "y", true, {"a"}, {{"", {0}}}};
  HeatPlot flat{"flat", "x", "y", "z", 1, false, {{"p", 2, 2, {0, 0, 0, 0}}}};
  HeatPlot empty{"empty", "x", "y", "z", 3, true, {{"p", 2, 2, {0, missing, 0, 0}}}};
  const bool drawn = draw(point, folder.path / "point");
  CHECK(draw(nothing, folder.path / "nothing") == drawn);
  CHECK(draw(flat, folder.path / "flat") == drawn);
  CHECK(draw(empty, folder.path / "empty") == drawn);
  CHECK(folder.files() == (drawn ? 8 : 0));
}

TEST_CASE("draw: without gnuplot nothing is written and nothing thrown") {
  const FigureFolder folder;
  const Path none(folder.path.string());
  CHECK_FALSE(draw(curves(), folder.path / "curves"));
  CHECK_FALSE(draw(bars(), folder.path / "bars"));
  CHECK_FALSE(draw(heat(), folder.path / "heat"));
  CHECK(folder.files() == 0);
}

TEST_CASE("draw: a gnuplot that fails is an error with what it said, and leaves no file") {
  const FigureFolder folder;
  write_file_atomically(folder.path / "gnuplot", std::string_view("#!/bin/sh\necho no such terminal >&2\nexit 3\n"));
  std::filesystem::permissions(folder.path / "gnuplot", std::filesystem::perms::owner_all);
  const Path broken(folder.path.string());
  CHECK_THROWS_WITH_AS(draw(bars(), folder.path / "bars"), "gnuplot failed with status 3: no such terminal\n",
                       FileError);
  CHECK(folder.files() == 1);
}

TEST_CASE("draw: bad plots are errors that name the curve, before anything is drawn") {
  LinePlot line = curves();
  line.curves[0].y.pop_back();
  CHECK(message<ShapeError>(line) ==
        "draw: 'hybrid<hedgehog<8>, it's>' has 2 numbers in y, expected 3, as many as in x");
  line = curves();
  line.curves[0].high.pop_back();
  CHECK(has(message<ShapeError>(line), "has 2 numbers in high"));
  line.curves.clear();
  CHECK(message<DataError>(line) == "draw: the plot 'a_b {c} <d> & 'e'' has no curves");

  BarPlot bar = bars();
  bar.series[1].values.push_back(1);
  CHECK(message<ShapeError>(bar) == "draw: 'b' has 3 numbers in values, expected 2, one per group");
  bar = bars();
  bar.series[0].spread.pop_back();
  CHECK(has(message<ShapeError>(bar), "'a' has 1 numbers in spread"));
  bar.series.clear();
  CHECK(has(message<DataError>(bar), "has 0 series and 2 groups"));

  HeatPlot map = heat();
  map.panels[1].values.pop_back();
  CHECK(message<ShapeError>(map) == "draw: 'right' has 1 numbers in values, expected 2, rows times columns");
  map.panels[1].cols = 0;
  CHECK(message<ShapeError>(map) == "draw: the panel 'right' has 1 rows and 0 columns");
  map.panels.clear();
  CHECK(has(message<DataError>(map), "has no panels"));
  map = heat();
  map.columns = 0;
  CHECK(has(message<ConfigError>(map), "has 0 columns"));
}

TEST_CASE("scripts: the numbers as they are, without those that an axis cannot show") {
  CHECK(lolcats::detail::gnuplot_string("it's\n") == "'it''s '");
  LinePlot lines{"many", "x", "y", false, true, false, {}};
  for (int i = 0; i < 9; ++i) lines.curves.push_back({fmt::format("c{}", i), {0, 1, 2}, {0, 2, 4}});
  const std::string script = lolcats::detail::line_script(lines);
  CHECK(has(script, "$points0 << end\n1 2\n2 4\nend\n"));  // no logarithm of 0
  CHECK(has(script, " dt 1 lw 2 lc rgb '#8C8C8C' title 'c7'"));
  CHECK(has(script, " dt 2 lw 2 lc rgb '#0072B2' title 'c8'"));  // colours come again, dashes do not
  lines.curves[0].style = 8;  // whatever its place
  CHECK(has(lolcats::detail::line_script(lines), " dt 2 lw 2 lc rgb '#0072B2' title 'c0'"));

  const std::string bar = lolcats::detail::bar_script(bars());
  CHECK(has(bar, "$bars0 << end\n-0.2 1 0.9 1.1 1\nend\n"));  // place, value, whisker from and to, number
  CHECK(has(bar, "$bars1 << end\n0.2 2 2 2 2\n1.2 3 3 3 3\nend\n"));

  const HeatPlot map{"map", "x", "y", "z", 1, false, {{"p", 2, 3, {1, 2, 3, 4, missing, 6}}}};
  CHECK(has(lolcats::detail::heat_script(map, 0, 1, 0, 1, 0, 0, 1), "$panel0 << end\n1 2 3 \n4 NaN 6 \nend\n"));
}
