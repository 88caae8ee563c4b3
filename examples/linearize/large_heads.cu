// Students for heads of 128, on the GPU.
#include "large_heads.cpp"
