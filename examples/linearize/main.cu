// linearize on the GPU, in bf16.
#include "main.cpp"
