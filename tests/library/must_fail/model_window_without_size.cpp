// A student's window has its size in its type; the checkpoint's own softmax takes the config's.
// expected: a model's window has its size in its type
#include <lolcats/backend/cpu.hpp>
#include <lolcats/nn/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Layer = AttentionLayer<Cpu<float>, Hybrid<Hedgehog<4>, Sliding<>>>;
#else
using Layer = AttentionLayer<Cpu<float>, Hybrid<Hedgehog<4>, Sliding<8>>>;
#endif
constexpr std::size_t size = sizeof(Layer);
