/* Between map.c, which knows both backends, and onednn.c. Not for others. */
#ifndef PEFTSCALE_MAP_PRIVATE_H
#define PEFTSCALE_MAP_PRIVATE_H

#include "linalg/linalg.h"

/* The products of a map: y = x W^T, the same with a bias, dx = dy W, and dx += dy W. */
typedef enum map_product { MAP_FORWARD, MAP_FORWARD_BIAS, MAP_BACKWARD, MAP_BACKWARD_ADD, MAP_PRODUCTS } map_product;

/* ---- onednn.c: kernels for one shape, and a thread's arguments for them ---- */

typedef struct onednn_kernels onednn_kernels;
typedef struct onednn_arguments onednn_arguments;

const char *onednn_version(void);
int onednn_check(linalg_precision precision);
int onednn_kernels_create(linalg_precision precision, int out, int in, onednn_kernels **result);
void onednn_kernels_destroy(onednn_kernels *k);
int64_t onednn_layout_bytes(const onednn_kernels *k, int is_backward);
int onednn_lay_out(const onednn_kernels *k, int is_backward, const real *w, void *target);

int onednn_arguments_create(const onednn_kernels *k, onednn_arguments **result);
void onednn_arguments_destroy(onednn_arguments *a);
int64_t onednn_arguments_bytes(const onednn_arguments *a);

/* x: float, or bfloat16 where the precision is that; room for whole blocks of rows as linalg.h says. */
int onednn_run(const onednn_kernels *k, onednn_arguments *a, map_product product, const void *w, const real *bias, int n, const void *x, real *y);

#endif
