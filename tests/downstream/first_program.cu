// A first program for a GPU: our feature map, of which nobody has told it anything, on one row.
#include "square_and_decay.hpp"

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/feature_map/cuda.cuh>

#include <fmt/core.h>

#include <cmath>
#include <string>
#include <vector>

using namespace lolcats;

int main() {
  using B = Cuda<float>;
  if (std::string why; !cuda::available(&why)) {
    fmt::print("skipped: {}\n", why);
    return 0;
  }
  const B gpu;
  const auto upload = [&](const Shape& shape, const std::vector<double>& values) {
    Array<B> array(shape);
    gpu.from_host(values.data(), array.data(), array.size());
    return array;
  };
  const std::vector<double> z{1, -2, 0.5, -0.25};  // x = z: W is the identity
  const auto x = upload({1, 4}, z), w = upload({1, 4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}), b = upload({1, 4}, {0, 0, 0, 0});
  Tape<B> tape(gpu);
  const Tape<B>::Scope scope(tape);
  const auto phi = feature_map<downstream::SquareAndDecay<4>>(tape, tape.constant(x.view()), Weight<B>{w.view()}, Weight<B>{b.view()}, 1);
  std::vector<double> got(8);
  gpu.to_host(phi.value().data, got.data(), 8);
  for (std::size_t i = 0; i < 4; ++i) {
    const double square = z[i] * z[i], decay = std::exp(std::min(z[i], 0.0));
    if (std::abs(got[i] - square) > 1e-6 || std::abs(got[4 + i] - decay) > 1e-6) {
      fmt::print("features of {} are {} and {}, expected {} and {}\n", z[i], got[i], got[4 + i], square, decay);
      return 1;
    }
  }
}
