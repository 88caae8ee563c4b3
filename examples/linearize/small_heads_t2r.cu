// T2R students for small heads, and the softmax control, on the GPU.
#include "small_heads_t2r.cpp"
