// General CUDA attention between guards: it reads and writes nothing outside of its arrays.
#include <lolcats/ops/attention/cuda_general.cuh>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/attention_suite_reference.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/guarded.cuh>

#include <doctest/doctest.h>

#include <map>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// A pass over `c` by the general kernels; inputs, outputs and gradients stand between guards.
template <Backend B, AttentionPolicy A>
void check_guards(const AttentionCase<A>& c, const AttentionNumbers& want, double tolerance,
                  double gradient_tolerance) {
  using Map = typename A::Map;
  using W = typename A::Window;
  std::map<std::string, Guarded<B>> in, out;
  std::map<std::string, Guarded<B, float>> learned;
  for (const auto& [name, shape] : c.shapes()) {
    in.try_emplace(name, shape, c.in.at(name));
    if (name == "q" || name == "k" || name == "v")
      out.try_emplace(name, shape);
    else
      learned.try_emplace(name, shape, std::vector<double>(static_cast<std::size_t>(shape.size())));
  }
  const Shape wide = c.shapes().at("q"), rows{c.sequences.rows(), c.heads.queries};
  Guarded<B> y(wide), dy(wide, c.in.at("dy"));
  Guarded<B, float> largest(rows), inverse(rows);
  Guarded<B, float> largest_at(rows);  // of the size of an int32
  const auto weight = [&](const char* name) { return Weight<B>{in.at(name).view(), learned.at(name).view()}; };
  AttentionProblem<B, W> p{c.heads,           &c.sequences,      c.window,          A::affine,
                           in.at("q").view(), in.at("k").view(), in.at("v").view(), {}};
  p.weights = {weight("query_map"), weight("query_bias"), weight("key_map"), weight("key_bias"),
               weight("window_factors")};
  const AttentionStatistics<B> statistics{
      largest.view(), inverse.view(), {reinterpret_cast<std::int32_t*>(largest_at.view().data), rows}};
  Tape<B> tape;
  poison(tape);
  general::forward<Map>(tape.backend(), p, y.view(), statistics);
  const View<const Scalar<B>> out_y = y.view(), out_dy = dy.view();
  const AttentionSinks<B> sinks{{out.at("q").view()}, {out.at("k").view()}, {out.at("v").view()}, {}, {}};
  general::backward<Map>(tape, p, out_y, out_dy, statistics, sinks);
  CHECK(close(want.at("y"), y.host(), tolerance));
  for (auto& [name, x] : out) {
    INFO(name);
    CHECK(close_in_norm(want.at(name), x.host(), gradient_tolerance));
    CHECK(x.intact());
  }
  for (auto& [name, x] : learned) {
    INFO(name);
    CHECK(close_in_norm(want.at(name), x.host(), gradient_tolerance));
    CHECK(x.intact());
  }
  for (auto& [name, x] : in) {
    INFO(name);
    CHECK(x.intact());
  }
  CHECK((y.intact() && dy.intact() && largest.intact() && inverse.intact() && largest_at.intact()));
}

}  // namespace

TEST_CASE_TEMPLATE("nothing outside of the arrays is read or written", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  using A = Hybrid<T2R<dynamic>, Sliding<>, Affine>;
  for (const Index size : {1, 3, 24, 72}) {
    for (const Index width : {1, 9, 70}) {
      CAPTURE(size);
      CAPTURE(width);
      auto c = random_attention_case<A>(Sliding<>(width), {4, 2, size},
                                        Sequences(300, {{0, 63, 0}, {63, 65, 0}, {130, 127, 0}, {299, 1, 0}}), 7);
      for (auto& [name, values] : c.in) values = rounded<B>(values);
      constexpr bool single = std::is_same_v<Scalar<B>, float>;
      check_guards<B>(c, reference_attention(c), single ? 1e-5 : 1e-2, single ? 1e-4 : 3e-2);
    }
  }
}
