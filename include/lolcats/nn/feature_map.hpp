// The weights of a feature map, and maps that are composed of tape operations.
#pragma once

#include <lolcats/nn/projection.hpp>
#include <lolcats/ops/attention/attention.hpp>

#include <cmath>
#include <string>
#include <vector>

namespace lolcats {

/// A map that does not work row by row: a policy with a name and a nested layer of tape operations.  It works
/// everywhere, unfused.
///
///   struct MyMap {
///     static std::string name();
///     template <Backend B> struct Layer {
///       Layer();                                                          empty
///       Layer(const B&, const Heads&, Index count, std::uint64_t seed);   fresh, for `count` heads of x: H or G
///       Var<B> operator()(Tape<B>&, Var<B> x, Heads) const;               x is q (M, H * D) or k (M, G * D)
///       void visit_maps(const std::string& at, f);                        f(name, shape, Parameter<B>&) for each
///     };
///   };
///
/// Features of queries are (M, H * F), of keys (M, H * F) or (M, G * F), heads side by side, and not negative.
/// Queries and keys have a layer each, from the same seed; SharedMaps gives both the layer of the queries.
// clang-format off
template <class M, class B>
concept ComposedFeatureMap = Backend<B> && !FeatureMap<M> && requires(
    typename M::template Layer<B> layer, const typename M::template Layer<B> fixed, Tape<B>& tape, Var<B> x,
    Heads heads, void (*f)(const std::string&, const Shape&, Parameter<B>&)) {
  { M::name() } -> std::convertible_to<std::string>;
  typename M::template Layer<B>;
  requires std::constructible_from<typename M::template Layer<B>, const B&, const Heads&, Index, std::uint64_t>;
  { fixed(tape, x, heads) } -> std::same_as<Var<B>>;
  layer.visit_maps(std::string(), f);
};
// clang-format on

/// Hybrid or, with W = Nothing, linear attention over a composed map: near keys by softmax, far keys by features.  Its memory is
/// Sum: a cache maps keys again when they leave it, which composed maps cannot.  Of the options it takes SharedMaps and, beside
/// near keys, Affine.
template <class M, Window W, class... Options>
  requires(W::has_far && !FeatureMap<M> && detail::known_options<Options...> &&
           !detail::has_option<KeyMapsPerGroup, Options...> && detail::memories_among<Options...> == 0 &&
           detail::window_dropouts_among<Options...> == 0 && (W::has_near || !detail::has_option<Affine, Options...>))
struct Composed {
  using Map = M;
  using Window = W;
  static constexpr bool affine = detail::has_option<Affine, Options...>;
  static constexpr bool shared_maps = detail::has_option<SharedMaps, Options...>;
  static constexpr bool key_maps_per_group = false;
  static std::string name() {
    return "composed<" + M::name() + ", " + W::name() + detail::option_names<Options...>() + ">";
  }
};

/// The weights of one side of a row map: `heads` maps (D, f), with a bias if the map has one.
template <Backend B, FeatureMap M>
class FeatureMapLayer {
 public:
  static_assert(M::projected != dynamic, "a model's feature map has a fixed number of features");

  FeatureMapLayer() = default;

  /// Fresh weights.  W starts by the map's own rule; the bias as the published code's initialisation of its
  /// (1, H, 1, width) tensor: uniform in +-sqrt(6 / (H width)), width 1 for Bias::head [QUIRKS 18].
  FeatureMapLayer(const B& backend, Index heads, Index size, std::uint64_t seed, std::uint64_t stream)
      : heads_(heads), size_(size) {
    require<ConfigError>(!M::skip || M::projected == size, "{}: projects onto {} features, expected the head size {}",
                         M::name(), M::projected, size);
    Rng rng(seed, detail::map_streams + 2 * stream);
    std::vector<double> weight;
    weight.reserve(static_cast<std::size_t>(map_shape().size()));
    for (Index h = 0; h < heads; ++h) {
      for (Index i = 0; i < size; ++i) {
        for (Index j = 0; j < M::projected; ++j) {
          weight.push_back(M::Initialization::weight(rng, i, j, size, M::projected, M::skip));
        }
      }
    }
    weight_ = detail::make_parameter(backend, map_shape(), weight);
    if constexpr (M::bias != Bias::none) {
      Rng draws(seed, detail::map_streams + 2 * stream + 1);
      const double bound = std::sqrt(6.0 / static_cast<double>(bias_shape().size()));
      std::vector<double> bias(static_cast<std::size_t>(bias_shape().size()));
      for (double& value : bias) value = draws.uniform(-bound, bound);
      bias_ = detail::make_parameter(backend, bias_shape(), bias);
    }
  }

  /// The maps of every `group`-th head of `from`, the same values: how the key maps start [QUIRKS 19].
  static FeatureMapLayer every(const B& backend, const FeatureMapLayer& from, Index group) {
    FeatureMapLayer copy = from;  // shares the values until one of the two is trained
    if (group == 1) return copy;
    copy.heads_ = from.heads_ / group;
    const auto select = [&](const Parameter<B>& all, const Shape& shape) {
      Array<B> some(shape);
      const Index part = shape.size() / shape[0];
      for (Index g = 0; g < shape[0]; ++g) {
        backend.copy(all.value().data + g * group * part, some.data() + g * part, part);
      }
      return Parameter<B>(std::move(some));
    };
    copy.weight_ = select(from.weight_, copy.map_shape());
    if constexpr (M::bias != Bias::none) copy.bias_ = select(from.bias_, copy.bias_shape());
    return copy;
  }

  Weight<B> weight() const { return weight_; }
  Weight<B> bias() const { return bias_; }

  /// f(name, shape, parameter).
  template <class F>
  void visit_maps(const std::string& at, F&& f) {
    f(at + ".mlp.layer", map_shape(), weight_);
    if constexpr (M::bias != Bias::none) f(at + ".mlp.bias", bias_shape(), bias_);
  }

 private:
  Shape map_shape() const { return {heads_, size_, M::projected}; }
  Shape bias_shape() const { return {heads_, M::bias == Bias::head ? 1 : M::projected}; }

  Index heads_ = 0, size_ = 0;
  Parameter<B> weight_;  // (H, D, f)
  Parameter<B> bias_;    // (H, f) or (H, 1)
};

}  // namespace lolcats
