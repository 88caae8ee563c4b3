// The attention operation on the CPU.  What every attention promises is checked in tests/policy/attention*_test.cpp.
#include <lolcats/ops/attention/eigen.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

double phi(double x) { return x > 0 ? x + 1 : std::exp(x); }  // EluPlusOne with W = 1

/// Two tokens, one head of size 1, by hand.
struct TwoTokens {
  double q0 = 0.3, q1 = -0.7, k0 = 0.9, k1 = 0.4, v0 = 2, v1 = -3, factor = -0.5;
  double gamma() const { return 1 / (1 + std::exp(-factor)); }
};

template <AttentionPolicy A>
std::vector<double> run(const TwoTokens& t) {
  AttentionCase<A> c{{1, 1, 1}, 1, {}, Sequences::rectangular(1, 2), {}};
  c.in = {{"q", {t.q0, t.q1}}, {"k", {t.k0, t.k1}}, {"v", {t.v0, t.v1}},
          {"query_map", {1}},  {"key_map", {1}},    {"window_factors", {t.factor}}};
  return run_attention<Cpu<double>>(c, {false, false, false}).at("y");
}

}  // namespace

TEST_CASE("two tokens by hand") {
  const TwoTokens t;
  {  // both near
    const double p0 = std::exp(t.q1 * t.k0), p1 = std::exp(t.q1 * t.k1);
    CHECK(close(std::vector{t.v0, (p0 * t.v0 + p1 * t.v1) / (p0 + p1)}, run<Softmax<Everything>>(t), 1e-14));
  }
  {  // the first far from the second: the near term is gamma exp(0), as the shift is the score itself
    const double far = phi(t.q1) * phi(t.k0), near = t.gamma();
    CHECK(close(std::vector{t.v0, (far * t.v0 + near * t.v1) / (far + near)}, run<Hybrid<EluPlusOne<1>, Sliding<1>>>(t),
                1e-14));
    const double less = (1 - near) * far;
    CHECK(close(std::vector{t.v0, (less * t.v0 + near * t.v1) / (less + near)},
                run<Hybrid<EluPlusOne<1>, Sliding<1>, Affine>>(t), 1e-14));
  }
  {  // linear: the own key is far, too
    const double far0 = phi(t.q1) * phi(t.k0), far1 = phi(t.q1) * phi(t.k1);
    CHECK(close(std::vector{t.v0, (far0 * t.v0 + far1 * t.v1) / (far0 + far1)}, run<Linear<EluPlusOne<1>>>(t), 1e-11));
  }
}

TEST_CASE("a query sees its own sequence and no padding") {
  using A = Hybrid<EluPlusOne<1>, Sliding<1>>;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  AttentionCase<A> c{{1, 1, 1}, 1, {}, Sequences(5, {{1, 2, 0}, {4, 1, 0}}), {}};
  const TwoTokens t;
  c.in = {{"q", {nan, t.q0, t.q1, nan, 1}},
          {"k", {nan, t.k0, t.k1, nan, 1}},
          {"v", {nan, t.v0, t.v1, nan, 7}},
          {"query_map", {1}},
          {"key_map", {1}},
          {"window_factors", {t.factor}}};
  const auto pair = run<A>(t);
  CHECK(close(std::vector{0.0, pair[0], pair[1], 0.0, 7.0},
              run_attention<Cpu<double>>(c, {false, false, false}).at("y"), 1e-15));
}

TEST_CASE("wrong arguments are named") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto x = array<B>(Shape{4, 6}, std::vector<double>(24, 0.5));
  const auto var = tape.constant(View<const double>(x.view()));
  const auto message = [&](const Heads& heads, const Sequences& sequences) {
    try {
      attention<Softmax<Everything>>(tape, var, var, var, sequences, heads);
    } catch (const ShapeError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(message({2, 2, 3}, Sequences::rectangular(1, 4)) == "accepted");
  CHECK(message({3, 2, 2}, Sequences::rectangular(1, 4)).find("expected a multiple") != std::string::npos);
  CHECK(message({2, 1, 3}, Sequences::rectangular(1, 4)).find("k has shape") != std::string::npos);
  CHECK(message({2, 2, 3}, Sequences::rectangular(1, 5)).find("q has shape") != std::string::npos);
}
