// On CUDA.
#include "maps_test.cpp"
