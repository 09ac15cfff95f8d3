/* The kernels for the processor level that the program is compiled for. */
#define LEVEL_TABLE kernels_base
#include "linalg/level/table.h"
