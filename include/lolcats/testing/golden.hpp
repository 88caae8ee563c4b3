// Golden fixtures: safetensors files that hold inputs, outputs and gradients of one computation.
#pragma once

#include <lolcats/io/json.hpp>
#include <lolcats/io/safetensors.hpp>
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats::testing {

/// (B, H, N, d) -> (B * N, H * d): heads side by side, as activations lie in this library.
inline std::vector<double> heads_beside(const std::vector<double>& x, const Shape& shape) {
  const Index B = shape[0], H = shape[1], N = shape[2], d = shape[3];
  std::vector<double> y(x.size());
  for (Index b = 0; b < B; ++b) {
    for (Index h = 0; h < H; ++h) {
      for (Index n = 0; n < N; ++n) {
        for (Index i = 0; i < d; ++i) {
          y[static_cast<std::size_t>(((b * N + n) * H + h) * d + i)] =
              x[static_cast<std::size_t>(((b * H + h) * N + n) * d + i)];
        }
      }
    }
  }
  return y;
}

/// One fixture.  Names: `in.*` inputs, `param.*` parameters, `dout.*` upstream gradients, `out.*` expected outputs,
/// `grad.*` expected gradients; the metadata has a config.  Every expected array must be checked: see `unchecked`.
class Fixture {
 public:
  explicit Fixture(const std::filesystem::path& path) : name_(path.stem().string()), file_(path) {
    const auto config = file_.metadata().find("config");
    require<FormatError>(config != file_.metadata().end(), "{}: the metadata has no config", path.string());
    config_ = parse_json(config->second, path.string());
  }

  const std::string& name() const { return name_; }
  const nlohmann::json& config() const { return config_; }
  /// A number of the config; `otherwise` if it is missing or null.
  double number(const char* key, double otherwise) const {
    return config_.contains(key) && !config_[key].is_null() ? config_[key].get<double>() : otherwise;
  }
  bool flag(const char* key) const { return config_.contains(key) && config_[key].get<bool>(); }
  std::string text(const char* key) const {
    return config_.contains(key) ? config_[key].get<std::string>() : std::string();
  }

  bool has(std::string_view name) const { return file_.contains(name); }
  std::vector<std::string> names() const { return file_.names(); }
  Shape shape(std::string_view name) const {
    Shape shape;
    for (const Index extent : file_.info(name).shape) shape.append(extent);
    return shape;
  }
  std::vector<double> numbers(std::string_view name) const { return as_doubles(file_.read<double>(name)); }
  std::vector<Index> integers(std::string_view name) const {
    const auto tensor = file_.read<std::int64_t>(name);
    return {tensor.span().begin(), tensor.span().end()};
  }
  /// An array (B, H, N, d) as (B * N, H * d).
  std::vector<double> rows(std::string_view name) const { return heads_beside(numbers(name), shape(name)); }

  /// Is `got` the expected array?  T is the type it was computed in; the tolerances are those that came with the
  /// fixtures: 1e-12 and 1e-8 (outputs and gradients) in double, 1e-5 and 1e-4 in float, of the largest entry.  In bf16,
  /// which rounds the inputs to 4e-3, 1e-2 of the largest entry, and for gradients 2e-2 of the norm.
  template <class T, class Numbers>
  void check(const std::string& name, const Numbers& got) {
    compare<T>(name, numbers(name), got);
  }
  /// The same for an array (B, H, N, d) against (B * N, H * d).
  template <class T, class Numbers>
  void check_rows(const std::string& name, const Numbers& got) {
    compare<T>(name, rows(name), got);
  }
  template <class T>
  void check_number(const std::string& name, double got) {
    compare<T>(name, numbers(name), std::vector{got});
  }
  void check_integers(const std::string& name, const std::vector<Index>& got) {
    INFO(name_, ": ", name);
    CHECK(integers(name) == got);
    checked_.insert(name);
  }
  /// For arrays that a test compares in its own way.
  void mark(const std::string& name) { checked_.insert(name); }

  /// Expected arrays that nothing was compared with.
  std::vector<std::string> unchecked() const {
    std::vector<std::string> left;
    for (const std::string& name : names()) {
      if ((name.starts_with("out.") || name.starts_with("grad.")) && !checked_.contains(name)) left.push_back(name);
    }
    return left;
  }
  /// Whole models round at every operation: bf16 may differ by so many times more.
  void expect_roundings(double times) { roundings_ = times; }

 private:
  template <class T, class Numbers>
  void compare(const std::string& name, const std::vector<double>& want, const Numbers& got) {
    const bool gradient = name.starts_with("grad.");
    constexpr bool single = std::is_same_v<T, float>, half = std::is_same_v<T, bf16>;
    INFO(name_, ": ", name, std::string(half ? " in bf16" : single ? " in float" : " in double"));
    // Expected gradients come from differences and err by 5e-11: what is smaller is zero, and has no scale of its own.
    const bool zero = gradient && std::all_of(want.begin(), want.end(), [](double x) { return std::abs(x) < 1e-10; });
    const std::vector<double> expected = zero ? std::vector<double>(want.size()) : want;
    if (half && gradient && !zero) {
      CHECK(close_in_norm(expected, got, 2e-2 * roundings_));
    } else if (half) {
      CHECK(close(expected, got, 1e-2 * roundings_));
    } else {
      CHECK(close(expected, got, single ? (gradient ? 1e-4 : 1e-5) : (gradient ? 1e-8 : 1e-12)));
    }
    checked_.insert(name);
  }

  std::string name_;
  Safetensors file_;
  nlohmann::json config_;
  std::set<std::string> checked_;
  double roundings_ = 1;
};

/// The fixtures of a folder, by name.
inline std::vector<std::filesystem::path> fixtures_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace lolcats::testing
