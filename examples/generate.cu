// generate on the GPU, in bf16.
#include "generate.cpp"
