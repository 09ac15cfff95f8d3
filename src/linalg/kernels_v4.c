/* The kernels for x86-64-v4: the Makefile compiles this file alone with AVX-512, where the compiler has it and the program is not compiled for it anyway. */
#include <stddef.h>

#include "linalg/kernels.h"

#ifdef LINALG_V4
#define LEVEL_TABLE kernels_of_v4
#include "linalg/level/table.h"
const kernel_table *const kernels_v4 = &kernels_of_v4;
#else
const kernel_table *const kernels_v4 = NULL;
#endif
