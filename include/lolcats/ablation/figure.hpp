// Pictures of studies, drawn by gnuplot: curves with bands, bars, heat maps.
#pragma once

#include <lolcats/ablation/gnuplot.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/io/file.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// Points (x, y) and, where low and high are given, a band around y, as of the spread over seeds.
struct Curve {
  std::string label;
  std::vector<double> x = {}, y = {};
  std::vector<double> low = {}, high = {};
  std::optional<std::size_t> style = {};  // a colour and dash of the palette; by place where it is unset
};
/// Styles from here on are the colours again, dashed.
inline constexpr std::size_t palette_size = 8;

struct LinePlot {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  bool markers_only = false;  // a scatter plot
  std::vector<Curve> curves = {};
};

/// One bar per group, all in one colour.
struct BarSeries {
  std::string label;
  std::vector<double> values = {};
  std::vector<double> spread = {};  // half the height of the error bar; empty: none
};

struct BarPlot {
  std::string title, y_label;
  bool log_y = false;
  std::vector<std::string> groups = {};  // what stands below the bars
  std::vector<BarSeries> series = {};
};

/// values (rows, cols), row 0 on top.
struct HeatPanel {
  std::string title;
  Index rows = 0, cols = 0;
  std::vector<double> values = {};
};

/// Panels under one scale of colours.
struct HeatPlot {
  std::string title, x_label, y_label, value_label;
  Index columns = 1;  // panels per line
  bool log_color = false;
  std::vector<HeatPanel> panels = {};
};

namespace detail {

/// A gnuplot string of any text; the terminals run without markup, so `_`, `{` and `<` are themselves.
inline std::string gnuplot_string(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "''";
    else
      out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + "'";
}

/// Colours that colour-blind readers tell apart (Okabe and Ito, without their yellow).
inline constexpr std::array<std::string_view, palette_size> curve_colors{"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                              "#E69F00", "#56B4E9", "#000000", "#8C8C8C"};
inline std::string_view curve_color(std::size_t i) { return curve_colors[i % curve_colors.size()]; }
/// Beyond the eighth colour the dashes change.
inline std::size_t curve_dash(std::size_t i) { return 1 + i / curve_colors.size() % 4; }

/// Numbers that can be drawn on an axis.
inline bool drawable(double value, bool logarithmic) { return std::isfinite(value) && (!logarithmic || value > 0); }

/// The smallest interval that holds what was added.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double value, bool logarithmic) {
    if (!drawable(value, logarithmic)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }

  /// The command that sets it, with some air; from zero for bars, whose length is the value.
  std::string command(std::string_view axis, bool logarithmic, bool from_zero = false) const {
    if (empty()) return fmt::format("set {0}range [1:10]\n", axis);
    if (logarithmic) {
      const double air = std::max(1.1, std::pow(high / low, 0.06));
      return fmt::format("set {}range [{:.6g}:{:.6g}]\n", axis, low / air, high * air);
    }
    double bottom = low, top = high;
    if (from_zero) {
      bottom = std::min(bottom, 0.0);
      top = std::max(top, 0.0);
    }
    double air = 0.06 * (top - bottom);
    if (air == 0) air = top == 0 ? 1 : 0.1 * std::abs(top);
    return fmt::format("set {}range [{:.8g}:{:.8g}]\n", axis, from_zero && bottom == 0 ? 0 : bottom - air,
                       from_zero && top == 0 ? 0 : top + air);
  }

  /// A logarithmic axis, with more ticks the shorter it is, for powers of ten alone would be one or none.
  std::string log_ticks(std::string_view axis) const {
    std::string text = fmt::format("set logscale {}\n", axis);
    if (empty() || high / low > 300) return text;
    std::vector<std::string> ticks;
    const double span = high / low;
    for (double decade = std::pow(10, std::floor(std::log10(low)) - 1); decade <= 10 * high; decade *= 10) {
      std::vector<double> digits{1, 2, 5};
      if (span < 8) digits = {1, 1.5, 2, 3, 4, 5, 7};
      if (span < 2.5)
        digits = {1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9};
      for (const double digit : digits) ticks.push_back(fmt::format("'{0:g}' {0:.8g}", digit * decade));
    }
    return text + fmt::format("set {}tics ({})\n", axis, fmt::join(ticks, ", "));
  }
};

/// What all plots with axes share.  The second line of the x label keeps the legend below it away.
inline std::string frame(std::string_view title, std::string_view x_label, std::string_view y_label) {
  return fmt::format(
      "set title {} font ',17'\nset xlabel {}\nset ylabel {}\n"
      "set border 3 lw 1 lc rgb '#404040'\nset tics nomirror out format '%g'\n"
      "set grid back lt 1 lw 1 lc rgb '#E4E4E4'\n"
      "set key below center Left reverse samplen 2.5 spacing 1.2\n",
      gnuplot_string(title), x_label.empty() ? "''" : gnuplot_string(x_label) + ".\"\\n \"", gnuplot_string(y_label));
}

/// Of parts that each end in a comma.
inline std::string plot_command(const std::string& parts) { return "plot " + parts.substr(0, parts.size() - 2) + "\n"; }

/// Draws `script` at this size in both formats, then writes both.
inline bool draw_script(const std::string& script, Index width, Index height, const std::filesystem::path& path) {
  const auto terminal = [&](std::string_view name) {
    return fmt::format("set terminal {} size {},{} noenhanced font 'Helvetica,14' background rgb 'white'\n", name,
                       width, height);
  };
  auto svg = run_gnuplot(terminal("svg") + script);
  if (!svg) return false;
  // Large heat maps are images in it, whose entries a viewer would blur into each other.
  constexpr std::string_view image = "<image ", sharp = "style='image-rendering: pixelated' ";
  for (std::size_t at = 0; (at = svg->find(image, at)) != std::string::npos; at += image.size()) {
    svg->insert(at + image.size(), sharp);
  }
  const auto png = run_gnuplot(terminal("pngcairo") + script);
  if (!png) return false;
  write_file_atomically(path.string() + ".svg", std::string_view(*svg));
  write_file_atomically(path.string() + ".png", std::string_view(*png));
  return true;
}

inline void check_lengths(std::string_view label, std::size_t want, std::string_view expected,
                          std::initializer_list<std::pair<std::string_view, std::size_t>> got) {
  for (const auto& [name, size] : got) {
    require<ShapeError>(size == want, "draw: '{}' has {} numbers in {}, expected {}, {}", label, size, name, want,
                        expected);
  }
}

inline std::string line_script(const LinePlot& p) {
  std::string data, bands, lines;
  Range x_range, y_range;
  std::set<double> places;
  for (std::size_t i = 0; i < p.curves.size(); ++i) {
    const Curve& c = p.curves[i];
    const std::size_t style = c.style.value_or(i);
    const bool banded = !c.low.empty() || !c.high.empty();
    check_lengths(c.label, c.x.size(), "as many as in x", {{"y", c.y.size()}});
    if (banded) check_lengths(c.label, c.x.size(), "as many as in x", {{"low", c.low.size()}, {"high", c.high.size()}});
    std::string points, band;
    std::size_t count = 0;
    for (std::size_t j = 0; j < c.x.size(); ++j) {
      if (!drawable(c.x[j], p.log_x) || !drawable(c.y[j], p.log_y)) continue;
      points += fmt::format("{:.8g} {:.8g}\n", c.x[j], c.y[j]);
      ++count;
      x_range.add(c.x[j], p.log_x);
      y_range.add(c.y[j], p.log_y);
      if (places.size() <= 12) places.insert(c.x[j]);
      if (!banded || !drawable(c.low[j], p.log_y) || !drawable(c.high[j], p.log_y)) continue;
      band += fmt::format("{:.8g} {:.8g} {:.8g}\n", c.x[j], c.low[j], c.high[j]);
      y_range.add(c.low[j], p.log_y);
      y_range.add(c.high[j], p.log_y);
    }
    const std::string title = c.label.empty() ? "notitle" : "title " + gnuplot_string(c.label);
    if (count == 0) {  // a run that diverged at once keeps its place in the legend
      lines += fmt::format("NaN with lines lw 2 lc rgb '{}' title {}, ", curve_color(style),
                           gnuplot_string(c.label + " (nothing finite)"));
      continue;
    }
    data += fmt::format("$points{} << end\n{}end\n", i, points);
    if (!band.empty()) {
      data += fmt::format("$band{} << end\n{}end\n", i, band);
      bands +=
          fmt::format("$band{} using 1:2:3 with filledcurves fc rgb '{}' fs transparent solid 0.18 noborder notitle, ",
                      i, curve_color(style));
    }
    const std::string marks = fmt::format("pt {} ps {}", 5 + i % 5 * 2, p.markers_only ? 1.0 : 0.7);
    lines += fmt::format("$points{} using 1:2 with {} lw 2 lc rgb '{}' {}, ", i,
                         p.markers_only
                             ? "points " + marks
                             : fmt::format("{} dt {}", count <= 24 ? "linespoints " + marks : "lines", curve_dash(style)),
                         curve_color(style), title);
  }
  std::string script =
      data + frame(p.title, p.x_label, p.y_label) + x_range.command("x", p.log_x) + y_range.command("y", p.log_y);
  if (p.log_x) script += x_range.log_ticks("x");
  const bool whole = std::ranges::all_of(places, [](double x) { return x == std::floor(x); });
  if (whole && p.log_x && !places.empty() &&
      places.size() <= 12) {  // batches, ranks, windows: those that were measured
    std::vector<std::string> ticks;
    for (const double x : places) ticks.push_back(fmt::format("'{0:.8g}' {0:.8g}", x));
    script += fmt::format("set xtics ({})\n", fmt::join(ticks, ", "));
  }
  if (whole && !p.log_x && x_range.high - x_range.low <= 12) script += "set xtics 1\n";  // layers, heads
  if (p.log_y) script += y_range.log_ticks("y");
  return script + plot_command(bands + lines);
}

inline std::string bar_script(const BarPlot& p) {
  std::string data, bars, whiskers, numbers;
  Range range;
  const std::size_t groups = p.groups.size(), count = p.series.size();
  const double width = 0.8 / static_cast<double>(count);
  for (std::size_t i = 0; i < count; ++i) {
    const BarSeries& s = p.series[i];
    check_lengths(s.label, groups, "one per group", {{"values", s.values.size()}});
    if (!s.spread.empty()) check_lengths(s.label, groups, "one per group", {{"spread", s.spread.size()}});
    std::string boxes;
    for (std::size_t g = 0; g < groups; ++g) {
      const double spread = s.spread.empty() || !std::isfinite(s.spread[g]) ? 0 : s.spread[g];
      if (!drawable(s.values[g], p.log_y)) continue;
      const double x = static_cast<double>(g) + width * (static_cast<double>(i) - 0.5 * static_cast<double>(count - 1));
      double bottom = s.values[g] - spread;
      if (!drawable(bottom, p.log_y)) bottom = s.values[g];
      boxes += fmt::format("{:.6g} {:.8g} {:.8g} {:.8g} {:.4g}\n", x, s.values[g], bottom, s.values[g] + spread,
                           s.values[g]);
      range.add(s.values[g], p.log_y);
      range.add(bottom, p.log_y);
      range.add(s.values[g] + spread, p.log_y);
    }
    const std::string title = s.label.empty() ? "notitle" : "title " + gnuplot_string(s.label);
    if (boxes.empty()) {
      bars += fmt::format("NaN with boxes fs solid 0.85 noborder fc rgb '{}' {}, ", curve_color(i), title);
      continue;
    }
    data += fmt::format("$bars{} << end\n{}end\n", i, boxes);
    bars +=
        fmt::format("$bars{} using 1:2 with boxes fs solid 0.85 noborder fc rgb '{}' {}, ", i, curve_color(i), title);
    if (!s.spread.empty()) {
      whiskers += fmt::format("$bars{} using 1:3:(0):($4-$3) with vectors nohead lw 2 lc rgb '#202020' notitle, ", i);
    }
    if (groups * count <= 20) {
      numbers += fmt::format("$bars{} using 1:4:5 with labels offset 0,0.6 font ',11' notitle, ", i);
    }
  }
  std::vector<std::string> ticks;
  std::size_t longest = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    ticks.push_back(fmt::format("{} {}", gnuplot_string(p.groups[g]), g));
    longest = std::max(longest, p.groups[g].size());
  }
  std::string script = data + frame(p.title, "", p.y_label) + range.command("y", p.log_y, true);
  if (p.log_y) script += range.log_ticks("y");
  const bool slanted = longest * groups > 90;
  if (slanted) {  // gnuplot makes room below the axis, but none to the left of the first name
    const double text = 0.0104 * static_cast<double>(longest), half_group = 0.5 / static_cast<double>(groups);
    script += fmt::format("set lmargin at screen {:.3f}\n", std::clamp(text - half_group, 0.1, 0.45));
  }
  script += fmt::format("set xrange [-0.6:{:.1f}]\nset boxwidth {:.4f}\nset grid noxtics\nset xtics scale 0 {}({})\n",
                        static_cast<double>(groups) - 0.4, 0.92 * width,
                        slanted ? "rotate by 30 right font ',12' " : "", fmt::join(ticks, ", "));
  return script + plot_command(bars + whiskers + numbers);
}

inline std::string heat_script(const HeatPlot& p, double left, double right, double bottom, double top, double gap_x,
                               double gap_y, Index lines) {
  Range range;
  std::string script;
  for (std::size_t i = 0; i < p.panels.size(); ++i) {
    const HeatPanel& panel = p.panels[i];
    require<ShapeError>(panel.rows > 0 && panel.cols > 0, "draw: the panel '{}' has {} rows and {} columns",
                        panel.title, panel.rows, panel.cols);
    check_lengths(panel.title, static_cast<std::size_t>(panel.rows * panel.cols), "rows times columns",
                  {{"values", panel.values.size()}});
    script += fmt::format("$panel{} << end\n", i);
    for (Index r = 0; r < panel.rows; ++r) {
      for (Index c = 0; c < panel.cols; ++c) {
        const double value = panel.values[static_cast<std::size_t>(r * panel.cols + c)];
        range.add(value, p.log_color);
        if (drawable(value, p.log_color))
          script += fmt::format("{:.5g} ", value);
        else
          script += "NaN ";
      }
      script += "\n";
    }
    script += "end\n";
  }
  if (range.empty()) range = {1, 10};
  if (range.low == range.high) range.high = range.low + std::max(1e-12, std::abs(range.low));
  // From white to black through a hue, darker as it goes: what is zero looks empty, and it prints in grey.
  script +=
      "set palette defined (0 '#FFFFFF', 0.15 '#FEDCA8', 0.35 '#FD9A6A', 0.55 '#E3516A', 0.75 '#8C2981', "
      "0.9 '#3B0F70', 1 '#000004')\n";
  script += fmt::format("set cbrange [{:.6g}:{:.6g}]\nset cblabel {} font ',12'\nset border lw 0.5 lc rgb '#404040'\n",
                        range.low, range.high, gnuplot_string(p.value_label));
  if (p.log_color) script += "set logscale cb\n";
  script += fmt::format(
      "unset key\nset tics out nomirror scale 0.4 font ',11' format '%g'\n"
      "set multiplot layout {},{} title {} font ',17' margins {:.4f},{:.4f},{:.4f},{:.4f} spacing {:.4f},{:.4f}\n",
      lines, p.columns, gnuplot_string(p.title), left, right, bottom, top, gap_x, gap_y);
  const auto count = static_cast<Index>(p.panels.size());
  for (Index i = 0; i < count; ++i) {
    const HeatPanel& panel = p.panels[static_cast<std::size_t>(i)];
    const bool first = i % p.columns == 0, last = i + p.columns >= count;
    if (i + 1 == count) {
      script += fmt::format("set colorbox vertical user origin screen {:.4f},{:.4f} size screen {:.4f},{:.4f}\n",
                            right + 0.14 * (1 - right), bottom, 0.16 * (1 - right), top - bottom);
    } else {
      script += "unset colorbox\n";
    }
    script += fmt::format(
        "set title {} font ',12' offset 0,-0.6\n"
        "set xlabel {} font ',12' offset 0,0.5\nset ylabel {} font ',12' offset 1,0\n",
        gnuplot_string(panel.title), gnuplot_string(last ? p.x_label : ""), gnuplot_string(first ? p.y_label : ""));
    script += fmt::format("set xrange [-0.5:{}.5]\nset yrange [{}.5:-0.5]\n", panel.cols - 1, panel.rows - 1);
    const auto step = [](Index size) { return size <= 12 ? 1 : size <= 40 ? 8 : (size + 31) / 64 * 16; };
    script += fmt::format("set xtics {} format '{}'\nset ytics {} format '{}'\n", step(panel.cols), last ? "%g" : "",
                          step(panel.rows), first ? "%g" : "");
    // Small maps cell by cell: not every viewer leaves the entries of an image as they are.
    script += fmt::format("plot $panel{} matrix with image{}\n", i, panel.rows * panel.cols <= 1024 ? " pixels" : "");
  }
  return script + "unset multiplot\n";
}

}  // namespace detail

/// Writes path.svg and path.png, each whole or not at all; false, and nothing written, where gnuplot is not installed.
/// Numbers that are not finite, or not positive on a logarithmic axis, are left out.
///
/// Errors: ShapeError naming the curve, series or panel whose lists differ in length; DataError for an empty plot;
/// FileError if gnuplot fails or the files cannot be written.
inline bool draw(const LinePlot& plot, const std::filesystem::path& path) {
  require<DataError>(!plot.curves.empty(), "draw: the plot '{}' has no curves", plot.title);
  const auto legend = static_cast<Index>(plot.curves.size());
  return detail::draw_script(detail::line_script(plot), 960, 560 + 12 * legend, path);
}

inline bool draw(const BarPlot& plot, const std::filesystem::path& path) {
  require<DataError>(!plot.series.empty() && !plot.groups.empty(), "draw: the plot '{}' has {} series and {} groups",
                     plot.title, plot.series.size(), plot.groups.size());
  return detail::draw_script(detail::bar_script(plot), 960, 600, path);
}

inline bool draw(const HeatPlot& plot, const std::filesystem::path& path) {
  require<DataError>(!plot.panels.empty(), "draw: the plot '{}' has no panels", plot.title);
  require<ConfigError>(plot.columns > 0, "draw: the plot '{}' has {} columns, expected at least 1", plot.title,
                       plot.columns);
  // Pixels: panels keep the shape of their matrix, within reason.
  const auto count = static_cast<Index>(plot.panels.size());
  const Index columns = std::min(plot.columns, count), lines = (count + columns - 1) / columns;
  const HeatPanel& shape = plot.panels.front();
  const double across = columns == 1 ? 560 : columns == 2 ? 400 : columns <= 4 ? 240 : 180;
  const double ratio =
      static_cast<double>(std::max<Index>(1, shape.rows)) / static_cast<double>(std::max<Index>(1, shape.cols));
  const double down = across * std::clamp(ratio, 0.4, 1.6);
  const double gap_x = 20, gap_y = 34, left = 76, right = 140, above = 80, below = 70;
  const double width = left + across * static_cast<double>(columns) + gap_x * static_cast<double>(columns - 1) + right;
  const double height = above + down * static_cast<double>(lines) + gap_y * static_cast<double>(lines - 1) + below;
  HeatPlot drawn = plot;
  drawn.columns = columns;
  const std::string script = detail::heat_script(drawn, left / width, 1 - right / width, below / height,
                                                 1 - above / height, gap_x / width, gap_y / height, lines);
  return detail::draw_script(script, static_cast<Index>(width), static_cast<Index>(height), path);
}

}  // namespace lolcats
