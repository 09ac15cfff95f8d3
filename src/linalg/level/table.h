/* All kernels of one level: whoever includes this defines LEVEL_TABLE, the name of the table that they become. Everything else is static. */
#include "linalg/kernels.h"
#include "linalg/level/attention.h"
#include "linalg/level/bf16.h"
#include "linalg/level/dropout.h"
#include "linalg/level/gelu.h"
#include "linalg/level/norm.h"
#include "linalg/level/rows.h"
#include "linalg/level/skinny.h"

const kernel_table LEVEL_TABLE = {
    .level = LEVEL_NAME,
    .to_bf16 = to_bf16,
    .column_sum = column_sum,
    .scale_rows = scale_rows,
    .scale_rows_backward = scale_rows_backward,
    .multiply = multiply,
    .tanh = tanh_of,
    .softmax = softmax,
    .multiply_to_bf16 = multiply_to_bf16,
    .gelu = gelu,
    .gelu_to_bf16 = gelu_to_bf16,
    .join_norm_forward = join_norm_forward,
    .join_norm_backward = join_norm_backward,
    .dropout = dropout,
    .attention_scratch = attention_scratch,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .skinny_reduce = skinny_reduce,
    .skinny_spread = skinny_spread,
    .skinny_outer = skinny_outer,
    .skinny_outer_times = skinny_outer_times,
};
