/* Attention of one head, forward and backward, at every level of kernels against plain loops in double: any length and width, dropout, what stands around it.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "linalg/linalg.h"
#include "support/levels.h"

#ifdef PEFTSCALE_DOUBLE
static const double slack = 1e-13;
#else
static const double slack = 1e-6;
#endif

static const int lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 97, 130}, widths[] = {1, 5, 8, 12, 16, 17, 32, 48, 64, 80};
enum { LENGTHS = sizeof lengths / sizeof *lengths, WIDTHS = sizeof widths / sizeof *widths };

static void *take(int64_t count, size_t size) {
  void *values = aligned_alloc(64, ((size_t)(count + 1) * size + 63) / 64 * 64);
  assert_non_null(values);
  memset(values, 0, (size_t)(count + 1) * size);
  return values;
}

static real *draw(uint64_t stream, int64_t count, double deviation) {
  real *values = take(count, sizeof *values);
  random_fill_normal(random_key_make(14, RANDOM_TEST, 0), stream, count, (real)deviation, values);
  return values;
}

/* ---- a head between its neighbours ---- */

enum { IN, DIN = 3, OUT = 6, DOUT }; /* q, k, v, their gradients, context and its gradient, each as the columns of a wider matrix */

typedef struct head {
  linalg_attention a;
  real *values[8]; /* [length + 2][stride of it] the head's numbers begin in row 1 */
  real *share, *scratch;
  int64_t scratch_count;
} head;

enum { SIDE = 3 }; /* columns of neighbours on either side */

static int ld_of(const head *h, int which) { return which < OUT ? h->a.stride : h->a.context_stride; }
static real *at(const head *h, int which) { return h->values[which] + ld_of(h, which) + SIDE; }

static void head_make(head *h, int length, int width, double p) {
  *h = (head){
      .a = {.length = length, .width = width, .stride = width + 2 * SIDE + 1, .context_stride = width + 2 * SIDE, .scale = (real)(1 / sqrt((double)width))}};
  h->a.p = p;
  h->a.key = random_key_make(9, RANDOM_DROP_ATTENTION, 4);
  h->a.stream = (UINT64_C(12) << 32) + 5;
  for (int i = 0; i < 8; i++) h->values[i] = draw((uint64_t)i, (int64_t)(length + 2) * ld_of(h, i), 1.5);
  h->share = draw(8, (int64_t)length * length, 1);
  h->scratch_count = linalg_attention_scratch(length, width);
  h->scratch = take(h->scratch_count, sizeof *h->scratch);
  for (int64_t i = 0; i <= h->scratch_count; i++) h->scratch[i] = (real)NAN; /* nothing is expected there, and nothing written behind it */
}

static void head_free(head *h) {
  for (int i = 0; i < 8; i++) free(h->values[i]);
  free(h->share);
  free(h->scratch);
}

static void head_run(head *h) {
  const real *q = at(h, IN), *k = at(h, IN + 1), *v = at(h, IN + 2);
  linalg_attention_forward(&h->a, q, k, v, h->share, at(h, OUT), h->scratch);
  linalg_attention_backward(&h->a, q, k, v, h->share, at(h, DOUT), at(h, DIN), at(h, DIN + 1), at(h, DIN + 2), h->scratch);
  assert_true(isnan(h->scratch[h->scratch_count]));
}

/* ---- in double ---- */

/* context, dq, dk, dv: [length][width] each */
static void reference(const head *h, double *context, double *dq, double *dk, double *dv) {
  const linalg_attention *a = &h->a;
  int n = a->length, w = a->width, ld = a->stride;
  const real *q = at(h, IN), *k = at(h, IN + 1), *v = at(h, IN + 2), *dcontext = at(h, DOUT);
  double *share = take(n, sizeof *share), *factor = take(n, sizeof *factor), *change = take(n, sizeof *change);
  for (int i = 0; i < n * w; i++) context[i] = dq[i] = dk[i] = dv[i] = 0;
  for (int i = 0; i < n; i++) {
    double largest = -INFINITY, sum = 0, dot = 0;
    for (int j = 0; j < n; j++) {
      share[j] = 0;
      for (int p = 0; p < w; p++) share[j] += (double)a->scale * (double)q[i * ld + p] * (double)k[j * ld + p];
      largest = fmax(largest, share[j]);
      factor[j] = a->p <= 0 ? 1 : random_uniform(a->key, a->stream, ((uint64_t)i << 20) + (uint64_t)j) >= a->p ? 1 / (1 - a->p) : 0;
    }
    for (int j = 0; j < n; j++) sum += share[j] = exp(share[j] - largest);
    for (int j = 0; j < n; j++) {
      share[j] /= sum;
      change[j] = 0;
      for (int p = 0; p < w; p++) {
        double d = (double)dcontext[i * a->context_stride + p];
        context[i * w + p] += share[j] * factor[j] * (double)v[j * ld + p];
        dv[j * w + p] += share[j] * factor[j] * d;
        change[j] += factor[j] * d * (double)v[j * ld + p];
      }
      dot += change[j] * share[j];
    }
    for (int j = 0; j < n; j++) {
      double d = (double)a->scale * share[j] * (change[j] - dot);
      for (int p = 0; p < w; p++) {
        dq[i * w + p] += d * (double)k[j * ld + p];
        dk[j * w + p] += d * (double)q[i * ld + p];
      }
    }
  }
  free(share);
  free(factor);
  free(change);
}

static void near(const head *h, const char *what, const double *want, int which, double scale) {
  for (int i = 0; i < h->a.length; i++)
    for (int p = 0; p < h->a.width; p++) {
      double got = (double)at(h, which)[i * ld_of(h, which) + p], expected = want[i * h->a.width + p];
      if (!(fabs(got - expected) <= slack * scale))
        fail_msg("length %d, width %d, dropout %g: %s[%d][%d] is %.9g, not %.9g", h->a.length, h->a.width, h->a.p, what, i, p, got, expected);
    }
}

static void equals_plain_loops(void **state) {
  (void)state;
  for (int l = 0; l < LENGTHS; l++)
    for (int k = 0; k < WIDTHS; k++)
      for (int dropped = 0; dropped < 2; dropped++) {
        head h, before;
        int64_t count = (int64_t)lengths[l] * widths[k];
        double *want[4];
        for (int i = 0; i < 4; i++) want[i] = take(count, sizeof **want);
        head_make(&h, lengths[l], widths[k], dropped ? 0.3 : 0);
        head_make(&before, lengths[l], widths[k], dropped ? 0.3 : 0);
        head_run(&h);
        reference(&h, want[0], want[1], want[2], want[3]);
        double size = sqrt((double)lengths[l]) * sqrt((double)widths[k]);
        near(&h, "context", want[0], OUT, 10 + size);
        near(&h, "dq", want[1], DIN, 10 + 10 * size);
        near(&h, "dk", want[2], DIN + 1, 10 + 10 * size);
        near(&h, "dv", want[3], DIN + 2, 10 + 4 * size);
        for (int i = 0; i < 8; i++) { /* what is given stays, and so does what lies around what is written */
          int ld = ld_of(&h, i), written = i >= DIN && i <= OUT;
          for (int row = 0; row < lengths[l] + 2; row++)
            for (int j = 0; j < ld; j++) {
              int inside = row >= 1 && row <= lengths[l] && j >= SIDE && j < SIDE + widths[k];
              if (!(written && inside)) assert_memory_equal(h.values[i] + row * ld + j, before.values[i] + row * ld + j, sizeof(real));
            }
        }
        for (int i = 0; i < 4; i++) free(want[i]);
        head_free(&h);
        head_free(&before);
      }
}

/* A head's bits depend on nothing around it, nor on where it lies in memory. */
static void neighbours_do_not_matter(void **state) {
  (void)state;
  for (int l = 0; l < LENGTHS; l++)
    for (int k = 0; k < WIDTHS; k++) {
      head h, other;
      head_make(&h, lengths[l], widths[k], 0.2);
      head_make(&other, lengths[l], widths[k], 0.2);
      other.a.stride += 6; /* other distances, other neighbours */
      other.a.context_stride += 5;
      for (int i = 0; i < 8; i++) {
        int ld = ld_of(&h, i), wide = ld_of(&other, i);
        free(other.values[i]);
        other.values[i] = take((int64_t)(lengths[l] + 2) * wide, sizeof(real));
        for (int64_t j = 0; j < (int64_t)(lengths[l] + 2) * wide; j++) other.values[i][j] = (real)NAN;
        for (int row = 0; row < lengths[l]; row++) memcpy(at(&other, i) + row * wide, at(&h, i) + row * ld, (size_t)widths[k] * sizeof(real));
      }
      head_run(&h);
      head_run(&other);
      for (int i = DIN; i <= OUT; i++)
        for (int row = 0; row < lengths[l]; row++)
          assert_memory_equal(at(&other, i) + row * ld_of(&other, i), at(&h, i) + row * ld_of(&h, i), (size_t)widths[k] * sizeof(real));
      head_free(&h);
      head_free(&other);
    }
}

/* A token whose query is not a number spoils its own output, and nobody else's. */
static void a_bad_query_is_its_own_loss(void **state) {
  (void)state;
  for (int l = 2; l < LENGTHS; l++) {
    head h, good;
    int n = lengths[l], bad = n - 1; /* the last: its numbers also fill the lanes that are left over */
    head_make(&h, n, 32, 0);
    head_make(&good, n, 32, 0);
    at(&h, IN)[bad * h.a.stride + 7] = (real)NAN;
    head_run(&h);
    head_run(&good);
    for (int i = 0; i < n; i++) {
      const real *out = at(&h, OUT) + i * h.a.context_stride;
      if (i != bad) assert_memory_equal(out, at(&good, OUT) + i * h.a.context_stride, 32 * sizeof(real));
      else assert_true(isnan(out[0]) && isnan(out[31]));
    }
    head_free(&h);
    head_free(&good);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equals_plain_loops),
      cmocka_unit_test(neighbours_do_not_matter),
      cmocka_unit_test(a_bad_query_is_its_own_loss),
  };
  int failed = 0;
  for (int i = 0; i < LEVELS; i++)
    if (level_use(i)) failed += cmocka_run_group_tests_name(level_names[i], tests, NULL, NULL);
  return failed;
}
