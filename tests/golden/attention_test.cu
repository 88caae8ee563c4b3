// On CUDA.
#include "attention_test.cpp"
