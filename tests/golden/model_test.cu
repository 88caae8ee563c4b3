// On CUDA.
#include "model_test.cpp"
