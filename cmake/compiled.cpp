// The instantiations that compiled_programs.hpp keeps from all other units, and the functions that LOLCATS_ONCE does.
#define LOLCATS_COMPILED_KERNELS
#define LOLCATS_COMPILED template
#include "compiled_programs.hpp"

#include <lolcats/io/safetensors_json.hpp>
