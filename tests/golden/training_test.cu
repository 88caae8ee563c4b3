// On CUDA.
#include "training_test.cpp"
