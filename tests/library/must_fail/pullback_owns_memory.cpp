// A pullback that owns memory would leak it: closures are never destroyed.
// expected: a pullback holds handles and plain numbers
#include <lolcats/backend/cpu.hpp>
#include <lolcats/tape/tape.hpp>

#include <vector>

void record(lolcats::Tape<lolcats::Cpu<float>>& tape, lolcats::Var<lolcats::Cpu<float>> y) {
#ifdef MUST_FAIL
  tape.record(y, [kept = std::vector<float>(3)] { (void)kept; });
#else
  tape.record(y, [kept = 3.0f] { (void)kept; });
#endif
}
