// Functions that lolcats::kernels holds where it is linked, and that are inline where it is not.
#pragma once

#ifdef LOLCATS_COMPILED_KERNELS
#define LOLCATS_ONCE
#else
#define LOLCATS_ONCE inline
#endif
