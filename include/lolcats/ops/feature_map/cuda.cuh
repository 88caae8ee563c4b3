// Feature maps on a GPU, by the kernels that general attention uses.
#pragma once

#include <lolcats/ops/attention/cuda_backward_maps.cuh>
#include <lolcats/ops/feature_map/feature_map.hpp>

namespace lolcats {

template <class T, FeatureMap M>
struct FeatureMapKernel<Cuda<T>, M> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> x, const Weight<B>& map, const Weight<B>& bias, Index heads,
                      View<T> phi) {
    if (x.rows() == 0) return;
    const auto in = inputs(x, map, bias, heads);
    if constexpr (std::is_same_v<T, float>) {
      general::map_features<M>(backend.stream(), in, tiles(x), phi.data);
    } else {
      cuda::Scratch<float> wide(phi.size(), backend.stream());
      general::map_features<M>(backend.stream(), in, tiles(x), wide.data());
      backend.copy(static_cast<const float*>(wide.data()), phi.data, phi.size());
    }
  }

  /// Sums over rows are taken in one order: the same bits every time.
  static void backward(const B& backend, View<const T> x, const Weight<B>& map, const Weight<B>& bias, Index heads,
                       View<const T> dphi, Sink<T> dx) {
    if (x.rows() == 0) return;
    const auto in = inputs(x, map, bias, heads);
    cuda::Scratch<float> dz(dphi.size(), backend.stream());
    backend.copy(dphi.data, dz.data(), dphi.size());
    general::pull_map<M>(backend.stream(), in, tiles(x), dz.data(), map, bias, 0);
    if (!dx.gradient) return;
    const general::ThroughMap<T> through{.dz = dz.data(),
                                         .dz_stride = M::count * in.width,
                                         .map = in.map,
                                         .size = in.size,
                                         .width = in.width,
                                         .maps = in.maps,
                                         .skip = M::skip};
    general::launch_pull_inputs(backend.stream(), through, in.per_head, x.rows(), dx);
  }

 private:
  static int tiles(View<const T> x) { return static_cast<int>((x.rows() + general::tile - 1) / general::tile); }
  static general::MapInputs<T> inputs(View<const T> x, const Weight<B>& map, const Weight<B>& bias, Index heads) {
    general::MapInputs<T> in;
    in.segments = general::Segments::one(x.rows());
    in.x = x.data;
    in.x_stride = x.cols();
    in.size = static_cast<int>(map.shape()[1]);
    in.per_head = static_cast<int>(heads / (x.cols() / in.size));
    in.width = static_cast<int>(map.shape().cols());
    in.maps = static_cast<int>(heads);
    in.map = map.value.data;
    in.bias = bias.value.data;
    return in;
  }
};

}  // namespace lolcats
