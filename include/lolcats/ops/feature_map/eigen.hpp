// Feature maps on the CPU: tiles of rows, one head at a time, by the code that attention fuses.
#pragma once

#include <lolcats/ops/attention/eigen_features.hpp>
#include <lolcats/ops/feature_map/feature_map.hpp>

#include <algorithm>

namespace lolcats {

template <class T, FeatureMap M>
struct FeatureMapKernel<Cpu<T>, M> {
  using B = Cpu<T>;

  static void forward(const B&, View<const T> x, const Weight<B>& map, const Weight<B>& bias, Index heads,
                      View<T> phi) {
    const Index features = phi.cols() / heads;
    parallel_ranges(x.rows(), tile, [&](Index first, Index last) {
      eigen::Columns<T> out(last - first, features);
      for (Index head = 0; head < heads; ++head) {
        source(x, map, bias, heads, head).forward(first, last - first, out);
        eigen::rows(phi.data + first * phi.cols() + head * features, last - first, features, phi.cols()) = out;
      }
    });
  }

  /// Heads of x are independent, and the maps and tiles of a head are summed in order: the same bits on any number of threads.
  static void backward(const B& backend, View<const T> x, const Weight<B>& map, const Weight<B>& bias, Index heads,
                       View<const T> dphi, Sink<T> dx) {
    const Index features = dphi.cols() / heads;
    if (dx.gradient && !dx.add) backend.zero(dx.gradient.data, dx.gradient.size());
    const Index size = map.shape()[1], read_by = heads / (x.cols() / size);  // maps that read a head of x
    parallel_for(x.cols() / size, [&](Index from) {
      for (Index head = from * read_by; head < (from + 1) * read_by; ++head) {
        const eigen::FeatureGradients<T> to{dx.gradient ? dx.gradient.data + from * size : nullptr,
                                            slice(map.gradient, heads, head), slice(bias.gradient, heads, head)};
        for (Index first = 0; first < x.rows(); first += tile) {
          const Index count = std::min(tile, x.rows() - first);
          source(x, map, bias, heads, head)
              .backward(first, count,
                        eigen::rows(dphi.data + first * dphi.cols() + head * features, count, features, dphi.cols()), to);
        }
      }
    });
  }

 private:
  static constexpr Index tile = 64;

  /// The part of a weight that belongs to a head.
  template <class U>
  static U* slice(View<U> weight, Index heads, Index head) {
    return weight ? weight.data + head * (weight.size() / heads) : nullptr;
  }
  static eigen::MappedFeatures<T, M> source(View<const T> x, const Weight<B>& map, const Weight<B>& bias, Index heads,
                                            Index head) {
    const Index size = map.shape()[1], from = head / (heads / (x.cols() / size));
    return {eigen::rows(x.data + from * size, x.rows(), size, x.cols()), slice(map.value, heads, head),
            map.shape().cols(), slice(bias.value, heads, head)};
  }
};

}  // namespace lolcats
