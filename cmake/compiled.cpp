// The instantiations that compiled.hpp keeps from all other units.
#define LOLCATS_COMPILED template
#include "compiled.hpp"
