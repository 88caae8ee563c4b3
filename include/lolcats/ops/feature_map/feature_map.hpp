// phi(x) = max(f(xW + b), floor) per head, on the tape.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>
#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend and map:
///   forward(backend, x (M, G * D), map (H, D, f), bias, heads = H, phi (M, H * F))   map h reads head h / (H / G) of x
///   backward(backend, x, map, bias, heads, dphi, Sink dx)   dx unless it is null, and the gradients of map and bias,
///                                                           added in Real, where they are trained
template <Backend B, FeatureMap M>
struct FeatureMapKernel;

/// phi (M, H * F) of x (M, H * D), heads side by side, with map (H, D, f) and, if the map has one, bias of H * f
/// elements (Bias::vector) or H (Bias::head).  x may have fewer heads, (M, G * D), each read by the H / G maps of a group.
///
/// Attention fuses its maps and does not need this operation: it is for looking at features, for attentions over
/// GivenFeatures, and for memories that are an operation of their own.  Saves nothing; the backward pass projects again.
/// Throws ShapeError naming the argument.
template <FeatureMap M, Backend B>
Var<B> feature_map(Tape<B>& tape, Var<B> x, Weight<B> map, Weight<B> bias, Index heads) {
  const auto divides = [](Index n, Index of) { return n > 0 && of % n == 0; };
  const Index given = map && map.shape().rank() == 3 ? map.shape()[1] : 0;
  const bool grouped = divides(given, x.cols()) && divides(x.cols() / given, heads);
  require<ShapeError>(heads > 0 && x.shape().rank() == 2 && (grouped || x.cols() % heads == 0),
                      "feature_map: x has shape {}, expected (M, {} * D) or the columns of heads that maps share", to_string(x.shape()), heads);
  const Index size = grouped ? given : x.cols() / heads;
  const Index projected = M::projected == dynamic && map ? map.shape().cols() : M::projected;
  check_shape("feature_map", "map", map.shape(), Shape{heads, size, projected});
  require<ShapeError>(!M::skip || projected == size, "feature_map: map projects onto {} features, expected {} for {}",
                      projected, size, M::name());
  if constexpr (M::bias != Bias::none) {
    const Index want = M::bias == Bias::head ? heads : heads * projected;
    require<ShapeError>(bias && bias.shape().size() == want,
                        "feature_map: bias has shape {}, expected {} elements for {}", to_string(bias.shape()), want,
                        M::name());
  } else {
    require<ShapeError>(!bias, "feature_map: bias has shape {}, but {} has none", to_string(bias.shape()), M::name());
  }

  auto [phi, out] = tape.result(Shape{x.rows(), heads * feature_count<M>(projected)},
                                x.wants_gradient() || map.trained() || bias.trained());
  FeatureMapKernel<B, M>::forward(tape.backend(), x.value(), map, bias, heads, out);
  tape.record(phi, [&tape, x, map, bias, heads, phi = phi] {
    const Sink<Scalar<B>> dx = x.wants_gradient() ? x.sink() : Sink<Scalar<B>>{};
    FeatureMapKernel<B, M>::backward(tape.backend(), x.value(), map, bias, heads, phi.gradient(), dx);
  });
  return phi;
}

}  // namespace lolcats
