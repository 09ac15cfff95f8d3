/* In the place of onednn.c where the program is built without oneDNN, and in the double build: nothing is there to be run. */
#if !defined(PEFTSCALE_ONEDNN) || defined(PEFTSCALE_DOUBLE)

#include <stddef.h>

#include "base/error.h"
#include "linalg/map_private.h"

const char *onednn_version(void) { return "none"; }

int onednn_check(linalg_precision precision) {
  (void)precision;
  return FAIL(ERROR_USAGE, "install oneDNN (Debian: libdnnl-dev) and build again, or use linalg=openblas", "this program was built without oneDNN");
}

int onednn_kernels_create(linalg_precision precision, int out, int in, onednn_kernels **result) {
  (void)out;
  (void)in;
  *result = NULL;
  return onednn_check(precision);
}

void onednn_kernels_destroy(onednn_kernels *k) { (void)k; }

int64_t onednn_layout_bytes(const onednn_kernels *k, int is_backward) {
  (void)k;
  (void)is_backward;
  return 0;
}

int onednn_lay_out(const onednn_kernels *k, int is_backward, const real *w, void *target) {
  (void)k;
  (void)is_backward;
  (void)w;
  (void)target;
  return onednn_check(LINALG_F32);
}

int onednn_arguments_create(const onednn_kernels *k, onednn_arguments **result) {
  (void)k;
  *result = NULL;
  return onednn_check(LINALG_F32);
}

void onednn_arguments_destroy(onednn_arguments *a) { (void)a; }

int64_t onednn_arguments_bytes(const onednn_arguments *a) {
  (void)a;
  return 0;
}

int onednn_run(const onednn_kernels *k, onednn_arguments *a, map_product product, const void *w, const real *bias, int n, const void *x, real *y) {
  (void)k, (void)a, (void)product, (void)w, (void)bias, (void)n, (void)x, (void)y;
  return onednn_check(LINALG_F32);
}

#endif
