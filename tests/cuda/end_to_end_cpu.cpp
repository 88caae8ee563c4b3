// The CPU's part of the tests beside this file.
#include "end_to_end.hpp"

#include <lolcats/model/cpu.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/cpu.hpp>

namespace end_to_end {
Outcome on_cpu() { return run<Cpu<float>>(); }
Text hybrid_text_on_cpu() { return write<Cpu<float>, WindowsAndMaps>(); }
Text softmax_text_on_cpu() { return write<Cpu<float>, Softmax<>>(); }
Outcome qwen_on_cpu() { return run<Cpu<float>>(qwen_config()); }
Text qwen_text_on_cpu() { return write<Cpu<float>, WindowsAndMaps>(qwen_config()); }
}  // namespace end_to_end
