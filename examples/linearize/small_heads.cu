// Students for small heads, on the GPU.
#include "small_heads.cpp"
