/* All kernels of one level: whoever includes this defines LEVEL_TABLE, the name of the table that they become. Everything else is static. */
#include "linalg/kernels.h"
#include "linalg/level/bf16.h"
#include "linalg/level/lanes.h"
#include "linalg/level/skinny.h"

const kernel_table LEVEL_TABLE = {
    .level = LEVEL_NAME,
    .to_bf16 = to_bf16,
    .skinny_reduce = skinny_reduce,
    .skinny_spread = skinny_spread,
    .skinny_outer = skinny_outer,
    .skinny_outer_times = skinny_outer_times,
};
