// One product on the tape: y = x W^T with W = 2 I, so y = 2 x.
#include <lolcats/ops/linear/eigen.hpp>

#include <fmt/core.h>

using namespace lolcats;

int main() {
  using B = Cpu<float>;
  const float x[] = {1, 2, 3, 4}, w[] = {2, 0, 0, 2};
  Tape<B> tape;
  const Tape<B>::Scope scope(tape);
  const auto y = linear(tape, tape.constant({x, {2, 2}}), Weight<B>{{w, {2, 2}}});
  for (int i = 0; i < 4; ++i) {
    if (y.value().data[i] != 2 * x[i]) {
      fmt::print("y[{}] is {}, expected {}\n", i, y.value().data[i], 2 * x[i]);
      return 1;
    }
  }
}
