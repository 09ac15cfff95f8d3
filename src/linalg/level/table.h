/* All kernels of one level: whoever includes this defines LEVEL_TABLE, the name of the table that they become. Everything else is static. */
#include "linalg/kernels.h"
#include "linalg/level/bf16.h"
#include "linalg/level/lanes.h"

const kernel_table LEVEL_TABLE = {
    .level = LEVEL_NAME,
    .to_bf16 = to_bf16,
};
