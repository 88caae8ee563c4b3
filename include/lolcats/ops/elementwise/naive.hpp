// Arithmetic of elements as plain loops in double: what every backend must reproduce.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// a + b.
inline std::vector<double> add(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> y(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) y[i] = a[i] + b[i];
  return y;
}

/// a * b.
inline std::vector<double> multiply(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> y(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) y[i] = a[i] * b[i];
  return y;
}

/// e^x.
inline std::vector<double> exp(const std::vector<double>& x) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = std::exp(x[i]);
  return y;
}

/// factor * x.
inline std::vector<double> scale(const std::vector<double>& x, double factor) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = factor * x[i];
  return y;
}

/// The sum of all elements.
inline double sum(const std::vector<double>& x) {
  long double total = 0;  // so that differences of two such sums mean something
  for (const double value : x) total += value;
  return static_cast<double>(total);
}

}  // namespace lolcats::naive
