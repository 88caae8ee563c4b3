// A window whose size is not in its type is given to the operation; it has no size of its own.
// expected: window_of_type
#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/attention/eigen.hpp>

using namespace lolcats;

template <Backend B>
Var<B> softmax(Tape<B>& tape, Var<B> x, const Sequences& sequences, const Heads& heads) {
#ifdef MUST_FAIL
  return attention<Softmax<>>(tape, x, x, x, sequences, heads);
#else
  return attention<Softmax<>>(tape, x, x, x, sequences, heads, {}, Sliding<>(4));
#endif
}

template Var<Cpu<float>> softmax(Tape<Cpu<float>>&, Var<Cpu<float>>, const Sequences&, const Heads&);
