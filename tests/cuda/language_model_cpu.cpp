// The CPU's part of the tests beside this file.
#include "language_model.hpp"

#include <lolcats/model/cpu.hpp>

namespace language_model {
Scores hybrid_on_cpu() { return score<Cpu<float>, end_to_end::WindowsAndMaps>(); }
Scores softmax_on_cpu() { return score<Cpu<float>, Softmax<>>(); }
}  // namespace language_model
