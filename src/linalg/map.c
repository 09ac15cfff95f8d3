/* Products with frozen weights: which backend, and a thread's desk. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "linalg/map_private.h"

const char *const linalg_backend_names[2] = {"openblas", "onednn"};
const char *const linalg_precision_names[2] = {"f32", "bf16"};

struct linalg_map {
  linalg_precision precision;
  int out, in;
  onednn_kernels *kernels; /* NULL: OpenBLAS */
};

/* What a thread keeps for one map. */
typedef struct desk_entry {
  const linalg_map *map;
  onednn_arguments *arguments;
} desk_entry;

struct linalg_desk {
  uint16_t *rounded; /* [rows][widest] the operand in bfloat16; NULL: never wanted */
  int64_t bytes, room;
  desk_entry *entries;
  int count, capacity;
};

const char *linalg_onednn(void) { return onednn_version(); }

int linalg_backend_check(linalg_backend backend, linalg_precision precision) {
  if (backend == LINALG_ONEDNN) return onednn_check(precision);
  if (precision == LINALG_F32) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "use linalg=onednn, where the program is built with it, or precision=f32", "OpenBLAS has no products of bfloat16 numbers");
}

int linalg_map_create(linalg_backend backend, linalg_precision precision, int out, int in, linalg_map **result) {
  *result = NULL;
  TRY(linalg_backend_check(backend, precision));
  linalg_map *m = calloc(1, sizeof *m);
  if (!m) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  *m = (linalg_map){.precision = precision, .out = out, .in = in};
  int code = backend == LINALG_ONEDNN ? onednn_kernels_create(precision, out, in, &m->kernels) : ERROR_NONE;
  if (code) linalg_map_destroy(m);
  else *result = m;
  return code;
}

void linalg_map_destroy(linalg_map *m) {
  if (!m) return;
  onednn_kernels_destroy(m->kernels);
  free(m);
}

int64_t linalg_map_forward_bytes(const linalg_map *m) { return m->kernels ? onednn_layout_bytes(m->kernels, 0) : 0; }
int64_t linalg_map_backward_bytes(const linalg_map *m) { return m->kernels ? onednn_layout_bytes(m->kernels, 1) : 0; }

int linalg_map_lay_out(const linalg_map *m, const real *w, void *forward, void *backward) {
  if (!m->kernels) return ERROR_NONE;
  if (forward) TRY(onednn_lay_out(m->kernels, 0, w, forward));
  return backward ? onednn_lay_out(m->kernels, 1, w, backward) : ERROR_NONE;
}

int linalg_desk_create(int64_t rows, int64_t widest, linalg_precision precision, linalg_desk **result) {
  linalg_desk *d = *result = calloc(1, sizeof *d);
  if (!d) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  if (precision == LINALG_F32) return ERROR_NONE;
  d->room = (rows + LINALG_ROW_BLOCK - 1) * widest;
  d->bytes = (d->room * (int64_t)sizeof *d->rounded + 63) / 64 * 64;
  d->rounded = aligned_alloc(64, (size_t)d->bytes);
  if (!d->rounded) {
    int code = FAIL(ERROR_MEMORY, NULL, "out of memory: %lld bytes wanted", (long long)d->bytes);
    linalg_desk_destroy(d);
    *result = NULL;
    return code;
  }
  memset(d->rounded, 0, (size_t)d->bytes); /* rows behind the last are worked on, too */
  return ERROR_NONE;
}

void linalg_desk_destroy(linalg_desk *d) {
  if (!d) return;
  for (int i = 0; i < d->count; i++) onednn_arguments_destroy(d->entries[i].arguments);
  free(d->entries);
  free(d->rounded);
  free(d);
}

int64_t linalg_desk_bytes(const linalg_desk *d) {
  int64_t bytes = d->bytes + (int64_t)(sizeof *d + (size_t)d->capacity * sizeof *d->entries);
  for (int i = 0; i < d->count; i++) bytes += onednn_arguments_bytes(d->entries[i].arguments);
  return bytes;
}

/* A model has a handful of shapes, so that looking through them costs nothing beside a product. */
static int find_entry(linalg_desk *d, const linalg_map *m, onednn_arguments **arguments) {
  int i = 0;
  while (i < d->count && d->entries[i].map != m) i++;
  if (i == d->count) {
    if (d->count == d->capacity) {
      int capacity = d->capacity ? 2 * d->capacity : 8;
      desk_entry *more = realloc(d->entries, (size_t)capacity * sizeof *more);
      if (!more) return FAIL(ERROR_MEMORY, NULL, "out of memory");
      d->entries = more;
      d->capacity = capacity;
    }
    TRY(onednn_arguments_create(m->kernels, &d->entries[i].arguments));
    d->entries[d->count++].map = m;
  }
  *arguments = d->entries[i].arguments;
  return ERROR_NONE;
}

static int run(const linalg_map *m, linalg_desk *d, map_product product, const void *w, const real *bias, int n, int in, const real *x, real *y) {
  onednn_arguments *arguments = NULL;
  const void *operand = x;
  TRY(find_entry(d, m, &arguments));
  if (m->precision == LINALG_BF16) {
    if ((int64_t)n * in > d->room) return FAIL(ERROR_INTERNAL, NULL, "%d rows of %d numbers are more than the desk has room for", n, in);
    if (x) linalg_to_bf16((int64_t)n * in, x, d->rounded);
    operand = d->rounded;
  }
  return onednn_run(m->kernels, arguments, product, w, bias, n, operand, y);
}

uint16_t *linalg_map_operand(const linalg_map *m, linalg_desk *d, const linalg_weight *w, int is_backward) {
  return m->kernels && m->precision == LINALG_BF16 && (is_backward ? w->backward : w->forward) ? d->rounded : NULL;
}

int linalg_map_forward(const linalg_map *m, linalg_desk *d, const linalg_weight *w, const real *bias, int n, const real *x, real *y) {
  if (n <= 0) return ERROR_NONE;
  if (m->kernels && w->forward) return run(m, d, bias ? MAP_FORWARD_BIAS : MAP_FORWARD, w->forward, bias, n, m->in, x, y);
  if (bias) linalg_set_rows(n, m->out, bias, y, m->out);
  linalg_product_nt(n, m->out, m->in, 1, x, m->in, w->plain, m->in, bias != NULL, y, m->out);
  return ERROR_NONE;
}

int linalg_map_backward(const linalg_map *m, linalg_desk *d, const linalg_weight *w, int n, const real *dy, int add, real *dx) {
  if (n <= 0) return ERROR_NONE;
  if (m->kernels && w->backward) return run(m, d, add ? MAP_BACKWARD_ADD : MAP_BACKWARD, w->backward, NULL, n, m->out, dy, dx);
  linalg_product_nn(n, m->in, m->out, 1, dy, m->out, w->plain, m->in, add != 0, dx, m->in);
  return ERROR_NONE;
}
