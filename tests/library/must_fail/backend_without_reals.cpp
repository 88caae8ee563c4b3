// A type that only stores numbers is no backend.
// expected: Backend<
#include <lolcats/backend/cpu.hpp>
#include <lolcats/tape/tape.hpp>

struct Storage {
  using Scalar = float;
};

#ifdef MUST_FAIL
using Wrong = lolcats::Tape<Storage>;
#endif

using Right = lolcats::Tape<lolcats::Cpu<float>>;
