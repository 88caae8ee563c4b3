// On CUDA.
#include "parts_test.cpp"
