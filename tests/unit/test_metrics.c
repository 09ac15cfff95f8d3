/* Scores against values computed by hand, and what they do at their edges. */
#include "train/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof *(array)))

static void check(const metric_values *v, metric_kind kind, double wanted) { assert_true(fabs(v->value[kind] - wanted) < 1e-12); }

static void check_absent(const metric_values *v, metric_kind kind) { assert_true(isnan(v->value[kind])); }

/* 4 true and 2 false alarms of 10; 3 hits missed, 1 right rejection: tp 4, fp 2, fn 3, tn 1. */
static void two_classes(void **state) {
  (void)state;
  const float label[] = {1, 1, 1, 1, 0, 0, 1, 1, 1, 0}, prediction[] = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
  metric_values v;
  assert_int_equal(metrics_classify(COUNT(label), 2, label, prediction, &v), 0);
  check(&v, METRICS_ACCURACY, 0.5);
  check(&v, METRICS_F1, 8.0 / 13); /* 2 tp / (2 tp + fp + fn), of class 1 */
  check(&v, METRICS_MATTHEWS, (4 * 1 - 2 * 3) / sqrt(6.0 * 7 * 3 * 4));
  check_absent(&v, METRICS_PEARSON);
  check_absent(&v, METRICS_SPEARMAN);
}

static void three_classes(void **state) {
  (void)state;
  const float label[] = {0, 0, 0, 1, 1, 2}, prediction[] = {0, 0, 1, 1, 2, 2};
  metric_values v;
  assert_int_equal(metrics_classify(COUNT(label), 3, label, prediction, &v), 0);
  check(&v, METRICS_ACCURACY, 4.0 / 6);
  check(&v, METRICS_F1, (4.0 / 5 + 2.0 / 4 + 2.0 / 3) / 3);
  /* R_K: (hits n - sum t p) / sqrt((n^2 - sum p^2)(n^2 - sum t^2)), t = 3, 2, 1 and p = 2, 2, 2 */
  check(&v, METRICS_MATTHEWS, (4.0 * 6 - 12) / sqrt((36.0 - 12) * (36 - 14)));
}

/* More classes than have room in a table of pairs: label c, predicted as c in the lower half, as its neighbour in the upper one. */
static void many_classes(void **state) {
  enum { CLASSES = 100000 };
  float *label = calloc(CLASSES, sizeof *label), *prediction = calloc(CLASSES, sizeof *prediction);
  metric_values v;
  (void)state;
  assert_non_null(label);
  assert_non_null(prediction);
  for (int i = 0; i < CLASSES; i++) {
    label[i] = (float)i;
    prediction[i] = (float)(i < CLASSES / 2 ? i : i ^ 1);
  }
  assert_int_equal(metrics_classify(CLASSES, CLASSES, label, prediction, &v), 0);
  check(&v, METRICS_ACCURACY, 0.5);
  assert_true(fabs(v.value[METRICS_F1] - 0.5) < 1e-9);
  check(&v, METRICS_MATTHEWS, (0.5 * CLASSES - 1) / (CLASSES - 1)); /* (hits n - n) / (n^2 - n) */
  free(label);
  free(prediction);
}

static void one_class_only(void **state) {
  (void)state;
  const float label[] = {1, 0, 1, 1}, all[] = {1, 1, 1, 1}, none[] = {0, 0, 0, 0};
  metric_values v;
  assert_int_equal(metrics_classify(4, 2, label, all, &v), 0);
  check(&v, METRICS_MATTHEWS, 0);
  check(&v, METRICS_F1, 6.0 / 7);
  assert_int_equal(metrics_classify(4, 2, label, none, &v), 0);
  check(&v, METRICS_F1, 0);
  check(&v, METRICS_ACCURACY, 0.25);
  assert_int_equal(metrics_classify(4, 2, all, all, &v), 0);
  check(&v, METRICS_ACCURACY, 1);
  check(&v, METRICS_MATTHEWS, 0);
}

static void right_and_wrong_throughout(void **state) {
  (void)state;
  const float label[] = {0, 1, 0, 1}, opposite[] = {1, 0, 1, 0};
  metric_values v;
  assert_int_equal(metrics_classify(4, 2, label, label, &v), 0);
  check(&v, METRICS_MATTHEWS, 1);
  check(&v, METRICS_F1, 1);
  assert_int_equal(metrics_classify(4, 2, label, opposite, &v), 0);
  check(&v, METRICS_MATTHEWS, -1);
  check(&v, METRICS_ACCURACY, 0);
}

static void no_examples(void **state) {
  (void)state;
  metric_values v;
  assert_int_equal(metrics_classify(0, 2, NULL, NULL, &v), 0);
  for (int i = 0; i < METRICS_COUNT; i++) check_absent(&v, i);
  assert_int_equal(metrics_regress(0, NULL, NULL, &v), 0);
  for (int i = 0; i < METRICS_COUNT; i++) check_absent(&v, i);
  const float one = 3;
  assert_int_equal(metrics_regress(1, &one, &one, &v), 0);
  check_absent(&v, METRICS_PEARSON);
}

/* a = 1 2 3 4 5, b = 2 1 4 3 7: deviations -2 -1 0 1 2 and -1.4 -2.4 .6 -.4 3.6, products 12, squares 10 and 21.2; ranks of b 2 1 4 3 5. */
static void correlations(void **state) {
  (void)state;
  const float a[] = {1, 2, 3, 4, 5}, b[] = {2, 1, 4, 3, 7};
  metric_values v;
  assert_int_equal(metrics_regress(5, a, b, &v), 0);
  check(&v, METRICS_PEARSON, 12 / sqrt(10 * 21.2));
  check(&v, METRICS_SPEARMAN, 0.8);
  check_absent(&v, METRICS_ACCURACY);
  const float falling[] = {0, -1, -20, -21, -500};
  assert_int_equal(metrics_regress(5, a, falling, &v), 0);
  check(&v, METRICS_SPEARMAN, -1);
  assert_true(v.value[METRICS_PEARSON] > -1 && v.value[METRICS_PEARSON] < 0);
}

/* Ties share the mean of their ranks: a has 1.5 1.5 3 4, b has 1 2.5 2.5 4. */
static void ties(void **state) {
  (void)state;
  const float a[] = {5, 5, 6, 9}, b[] = {-1, 0, 0, 2};
  metric_values v;
  assert_int_equal(metrics_regress(4, a, b, &v), 0);
  check(&v, METRICS_SPEARMAN, 3.75 / 4.5);
}

static void a_constant_has_no_correlation(void **state) {
  (void)state;
  const float a[] = {1, 2, 3}, b[] = {4, 4, 4};
  metric_values v;
  assert_int_equal(metrics_regress(3, a, b, &v), 0);
  check_absent(&v, METRICS_PEARSON);
  check_absent(&v, METRICS_SPEARMAN);
}

static void better(void **state) {
  (void)state;
  assert_true(metrics_better(METRICS_ACCURACY, 0.6, 0.5));
  assert_false(metrics_better(METRICS_ACCURACY, 0.5, 0.5)); /* the earlier one stays */
  assert_false(metrics_better(METRICS_MATTHEWS, -0.1, 0));
  assert_true(metrics_better(METRICS_LOSS, 0.5, 0.6));
  assert_false(metrics_better(METRICS_LOSS, 0.6, 0.5));
  assert_true(metrics_better(METRICS_PEARSON, -1, NAN));
  assert_true(metrics_better(METRICS_LOSS, 100, NAN));
  assert_false(metrics_better(METRICS_PEARSON, NAN, -1));
  assert_false(metrics_better(METRICS_LOSS, NAN, NAN));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_classes),
      cmocka_unit_test(three_classes),
      cmocka_unit_test(many_classes),
      cmocka_unit_test(one_class_only),
      cmocka_unit_test(right_and_wrong_throughout),
      cmocka_unit_test(no_examples),
      cmocka_unit_test(correlations),
      cmocka_unit_test(ties),
      cmocka_unit_test(a_constant_has_no_correlation),
      cmocka_unit_test(better),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
