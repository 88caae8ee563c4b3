// What lolcats::cuda_kernels holds: the instantiations that compiled.hpp keeps from units that nvcc compiles.
#define LOLCATS_COMPILED_CUDA_KERNELS
#define LOLCATS_COMPILED template
#include "compiled.hpp"
