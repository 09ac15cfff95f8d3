#include "train/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"

const char *const metric_names[METRICS_COUNT] = {"accuracy", "f1", "matthews", "pearson", "spearman", "loss"};

static void clear(metric_values *values) {
  for (int i = 0; i < METRICS_COUNT; i++) values->value[i] = NAN;
}

/* Examples of a class: with that label, with that prediction, with both. Whole numbers. */
typedef struct class_count {
  double labelled, predicted, hit;
} class_count;

static double f1_of(const class_count *c) { return c->hit > 0 ? 2 * c->hit / (c->labelled + c->predicted) : 0; }

int metrics_classify(int64_t n, int classes, const float *label, const float *prediction, metric_values *values) {
  clear(values);
  if (n == 0) return ERROR_NONE;
  class_count *counts = calloc((size_t)classes, sizeof *counts);
  if (!counts) return FAIL(ERROR_MEMORY, NULL, "out of memory for counts of %d classes", classes);
  for (int64_t i = 0; i < n; i++) {
    counts[(int)label[i]].labelled++;
    counts[(int)prediction[i]].predicted++;
    if (label[i] == prediction[i]) counts[(int)label[i]].hit++;
  }
  double hits = 0, f1 = 0, cross = 0, label_squares = 0, prediction_squares = 0;
  for (const class_count *c = counts; c < counts + classes; c++) {
    hits += c->hit;
    f1 += f1_of(c) / classes;
    cross += c->labelled * c->predicted;
    label_squares += c->labelled * c->labelled;
    prediction_squares += c->predicted * c->predicted;
  }
  double total = (double)n, spread = (total * total - label_squares) * (total * total - prediction_squares);
  values->value[METRICS_ACCURACY] = hits / total;
  values->value[METRICS_F1] = classes == 2 ? f1_of(counts + 1) : f1;
  values->value[METRICS_MATTHEWS] = spread > 0 ? (hits * total - cross) / sqrt(spread) : 0; /* one class only: no association, as the field reports it */
  free(counts);
  return ERROR_NONE;
}

static double correlation(int64_t n, const double *a, const double *b) {
  double mean_a = 0, mean_b = 0, ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; i++) {
    mean_a += a[i] / (double)n;
    mean_b += b[i] / (double)n;
  }
  for (int64_t i = 0; i < n; i++) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

typedef struct ranked {
  double value;
  int64_t index;
} ranked;

static int by_value(const void *x, const void *y) {
  const ranked *a = x, *b = y;
  if (a->value != b->value) return a->value < b->value ? -1 : 1;
  return (a->index > b->index) - (a->index < b->index);
}

static void average_ranks(int64_t n, const double *x, ranked *work, double *rank) {
  for (int64_t i = 0; i < n; i++) work[i] = (ranked){x[i], i};
  qsort(work, (size_t)n, sizeof *work, by_value);
  for (int64_t i = 0, j; i < n; i = j) {
    for (j = i + 1; j < n && work[j].value == work[i].value;) j++;
    for (int64_t k = i; k < j; k++) rank[work[k].index] = 0.5 * (double)(i + j - 1) + 1;
  }
}

int metrics_regress(int64_t n, const float *label, const float *prediction, metric_values *values) {
  clear(values);
  if (n < 2) return ERROR_NONE;
  double *space = malloc((size_t)n * 4 * sizeof *space);
  ranked *work = malloc((size_t)n * sizeof *work);
  if (!space || !work) {
    free(space);
    free(work);
    return FAIL(ERROR_MEMORY, NULL, "out of memory for %lld predictions", (long long)n);
  }
  double *a = space, *b = a + n, *rank_a = b + n, *rank_b = rank_a + n;
  for (int64_t i = 0; i < n; i++) {
    a[i] = label[i];
    b[i] = prediction[i];
  }
  average_ranks(n, a, work, rank_a);
  average_ranks(n, b, work, rank_b);
  values->value[METRICS_PEARSON] = correlation(n, a, b);
  values->value[METRICS_SPEARMAN] = correlation(n, rank_a, rank_b);
  free(space);
  free(work);
  return ERROR_NONE;
}

int metrics_better(metric_kind kind, double a, double b) {
  if (isnan(a)) return 0;
  if (isnan(b)) return 1;
  return kind == METRICS_LOSS ? a < b : a > b;
}
