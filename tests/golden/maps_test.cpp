// Golden fixtures of feature maps.
#include "handlers.hpp"
#include "operations.hpp"

#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/identity.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <doctest/doctest.h>

namespace golden {

namespace {

template <FeatureMap M, class B>
void check_map(Fixture& f) {
  const Shape shape = f.shape("in.x");  // (B, H, N, d)
  auto x = testing::array<B>(Shape{shape[0] * shape[2], shape[1] * shape[3]}, f.rows("in.x"));
  auto map = M::skip ? trained<B>(f, "param.weight") : map_of<B>(f, "param.weight");
  map.train(B{});
  Parameter<B> bias;
  if constexpr (M::bias != Bias::none) bias = trained<B>(f, "param.bias");
  Tape<B> tape;
  testing::poison(tape);
  const auto input = tape.variable(View<const Scalar<B>>(x.view()));
  const auto phi =
      lolcats::feature_map<M>(tape, input, static_cast<Weight<B>>(map), static_cast<Weight<B>>(bias), shape[1]);
  check_rows<B>(f, "out.y", phi.value());
  pull<B>(tape, phi, f.rows("dout.y"));
  check_rows<B>(f, "grad.x", input.gradient());
  check<B>(f, "grad.weight", map.gradient());
  if (bias) check<B>(f, "grad.bias", bias.gradient());
}

/// With whatever bias and skip connection the file has, as far as they are compiled here: a skip connection as a type of its
/// own where `Modified`, else in the weights.
template <FeatureMap M, bool Modified>
void check_modified(Fixture& f) {
  const auto both = [&]<class Map>(std::type_identity<Map>) {
    on_every_backend([&]<class B>(B) { check_map<Map, B>(f); });
  };
  const bool biased = f.has("param.bias"), skip = f.flag("skip");
  if (!biased && !(Modified && skip)) return both(std::type_identity<M>{});
  if constexpr (Modified) {
    const bool one_per_head = biased && f.shape("param.bias").cols() == 1;
    if (biased && !skip && one_per_head) return both(std::type_identity<Biased<M, Bias::head>>{});
    if (biased && !skip) return both(std::type_identity<Biased<M>>{});
    if (!biased) return both(std::type_identity<Skip<M>>{});
  }
  fail<Error>("{}: a bias that this test does not compile for {}", f.name(), M::name());
}

}  // namespace

#ifndef __CUDACC__
Var<OtherMaps> features(Tape<OtherMaps>& tape, const std::string& activation, Var<OtherMaps> x, const Weight<OtherMaps>& map,
                        Index heads) {
  const auto by = [&]<class M>(std::type_identity<M>) { return lolcats::feature_map<M>(tape, x, map, Weight<OtherMaps>{}, heads); };
  if (activation == "relu") return by(std::type_identity<Relu<dynamic>>{});
  if (activation == "softmax_dim_half") return by(std::type_identity<HedgehogHalf<dynamic>>{});
  if (activation == "exp_dim") return by(std::type_identity<HedgehogExp<dynamic>>{});
  if (activation == "exp_dim_half") return by(std::type_identity<HedgehogExpHalf<dynamic>>{});
  if (activation == "pos_elu") return by(std::type_identity<EluPlusOne<dynamic>>{});
  if (activation == "identity") return by(std::type_identity<Identity<dynamic>>{});
  fail<Error>("unknown activation '{}'", activation);
}
#endif

void feature_map(Fixture& f) {
  const std::string act = f.text("act");
  if (act.starts_with("exp_dim") || f.flag("skip")) f.expect_roundings(2);  // an exponential, or a sum, of what was rounded
  if (act == "softmax_dim") return check_modified<Hedgehog<dynamic>, true>(f);
  if (act == "relu") return check_modified<Relu<dynamic>, true>(f);
  if (act == "softmax_dim_half") return check_modified<HedgehogHalf<dynamic>, false>(f);
  if (act == "exp_dim") return check_modified<HedgehogExp<dynamic>, false>(f);
  if (act == "exp_dim_half") return check_modified<HedgehogExpHalf<dynamic>, false>(f);
  if (act == "pos_elu") return check_modified<EluPlusOne<dynamic>, false>(f);
  if (act == "identity") return check_modified<Identity<dynamic>, false>(f);
  fail<Error>("{}: unknown activation '{}'", f.name(), act);
}

void feature_map_init(Fixture& f) {
  const Shape shape = f.shape("out.weight");  // (H, d, f)
  Rng rng(0);
  std::vector<double> weight;
  for (Index h = 0; h < shape[0]; ++h) {
    for (Index i = 0; i < shape[1]; ++i) {
      for (Index j = 0; j < shape[2]; ++j)
        weight.push_back(IdentityStart::weight(rng, i, j, shape[1], shape[2], false));
    }
  }
  check<Cpu<double>>(f, "out.weight", weight);
}

/// Linear attention over maps.  Hedgehog is fused; other maps are computed by the operation and given.
void linear_attention_gqa(Fixture& f) {
  const std::string act = f.text("act");
  const Shape shape = f.shape("in.q"), kv = f.shape("in.k");
  const Heads heads{shape[1], kv[1], shape[3]};
  const Sequences sequences = Sequences::rectangular(shape[0], shape[2]);
  const bool gradients = f.has("grad.q");
  on_every_backend([&]<class B>(B) {
    const Index rows = sequences.rows();
    auto q_values = testing::array<B>(Shape{rows, heads.queries * heads.size}, f.rows("in.q"));
    auto k_values = testing::array<B>(Shape{rows, heads.keys * heads.size}, f.rows("in.k"));
    auto v_values = testing::array<B>(Shape{rows, heads.keys * heads.size}, f.rows("in.v"));
    auto query_map = trained<B>(f, "param.feature_map_q"), key_map = trained<B>(f, "param.feature_map_k");
    Tape<B> tape;
    const auto variable = [&](auto& x) { return tape.variable(View<const Scalar<B>>(x.view())); };
    const auto q = variable(q_values), k = variable(k_values), v = variable(v_values);
    Var<B> y;
    if (act == "softmax_dim") {
      AttentionWeights<B> w{query_map, {}, key_map, {}, {}};
      y = attend<FileLinear, B>(tape, q, k, v, sequences, heads, w, {});
    } else {
      require<Error>(act == "relu" && !gradients, "{}: activation '{}' with gradients is not compiled here", f.name(),
                     act);
      // A map per query head reads the key of its group.
      std::vector<double> repeated;
      const auto keys = f.rows("in.k");
      for (Index m = 0; m < rows; ++m) {
        for (Index h = 0; h < heads.queries; ++h) {
          for (Index i = 0; i < heads.size; ++i) {
            repeated.push_back(keys[static_cast<std::size_t>((m * heads.keys + h / heads.group()) * heads.size + i)]);
          }
        }
      }
      auto wide = testing::array<B>(Shape{rows, heads.queries * heads.size}, repeated);
      AttentionWeights<B> w;
      w.query_features =
          lolcats::feature_map<Relu<dynamic>>(tape, q, static_cast<Weight<B>>(query_map), Weight<B>{}, heads.queries);
      w.key_features = lolcats::feature_map<Relu<dynamic>>(tape, variable(wide), static_cast<Weight<B>>(key_map),
                                                           Weight<B>{}, heads.queries);
      y = attend<GivenLinear, B>(tape, q, k, v, sequences, heads, w, {});
    }
    check_rows<B>(f, "out.y", y.value());
    if (!gradients) return;
    pull<B>(tape, y, f.rows("dout.y"));
    check_rows<B>(f, "grad.q", q.gradient());
    check_rows<B>(f, "grad.k", k.gradient());
    check_rows<B>(f, "grad.v", v.gradient());
    check<B>(f, "grad.feature_map_q", query_map.gradient());
    check<B>(f, "grad.feature_map_k", key_map.gradient());
  });
}

}  // namespace golden
