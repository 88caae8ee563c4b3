// An operation that a backend lacks is an error that names the kernel and the backend.
// expected: incomplete type.*LinearKernel<|undefined template.*LinearKernel<
#include <lolcats/ops/linear/linear.hpp>

#include <algorithm>

using namespace lolcats;

struct Loops {
  using Scalar = double;
  using Real = double;
  using Space = Host;
  static constexpr std::string_view name() { return "loops"; }
  static void zero(double* data, Index n) { std::fill_n(data, n, 0.0); }
  static void copy(const double* from, double* to, Index n) { std::copy_n(from, n, to); }
  static void to_host(const double* from, double* to, Index n) { std::copy_n(from, n, to); }
  static void from_host(const double* from, double* to, Index n) { std::copy_n(from, n, to); }
  friend bool operator==(const Loops&, const Loops&) = default;
};

#ifndef MUST_FAIL
template <>
struct lolcats::LinearKernel<Loops> {
  static void forward(const Loops&, View<const double>, View<const double>, Sink<double>) {}
  static void input_gradient(const Loops&, View<const double>, View<const double>, Sink<double>) {}
  static void weight_gradient(const Loops&, View<const double>, View<const double>, View<double>) {}
  static void spread(const Loops&, View<const double>, View<double>) {}
  static void bias_gradient(const Loops&, View<const double>, View<double>) {}
};
#endif

Var<Loops> apply(Tape<Loops>& tape, Var<Loops> x, Weight<Loops> w) { return linear(tape, x, w); }
