// On CUDA.
#include "golden_test.cpp"
