// A key that loses its place in a cache is mapped again, which nobody can do where features are given.
// expected: a cache stands beside
#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/attention/attention.hpp>

using namespace lolcats;

struct Given {
  using Map = GivenFeatures;
  using Window = Sliding<4>;
#ifdef MUST_FAIL
  using Memory = Kept<8, LearnedScore>;
#else
  using Memory = Decay<HeadGate>;
#endif
  static constexpr bool affine = false, shared_maps = false, key_maps_per_group = false;
  static std::string name() { return "given"; }
};

template void detail::check_attention<Given>(const Shape&, const Shape&, const Shape&, const Sequences&, const Heads&,
                                             const AttentionWeights<Cpu<double>>&);
