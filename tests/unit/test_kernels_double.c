/* The same in double precision, which the reference of the gradient tests is made in. */
#include "unit/test_kernels.c"
