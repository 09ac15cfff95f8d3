/* Scores from predictions. Not collective (rank 0 has all predictions), thread-safe. */
#ifndef PEFTSCALE_METRICS_H
#define PEFTSCALE_METRICS_H

#include <stdint.h>

typedef enum metric_kind { METRICS_ACCURACY, METRICS_F1, METRICS_MATTHEWS, METRICS_PEARSON, METRICS_SPEARMAN, METRICS_LOSS, METRICS_COUNT } metric_kind;
extern const char *const metric_names[METRICS_COUNT];

/* Fields that make no sense for a task are NaN. */
typedef struct metric_values {
  double value[METRICS_COUNT];
} metric_values;

/* Classification: label and prediction are class numbers. F1: of class 1 with two classes, else the unweighted mean over classes. Matthews: the
 * generalisation to several classes (Gorodkin's R_K). Errors: ERROR_MEMORY. */
int metrics_classify(int64_t n, int classes, const float *label, const float *prediction, metric_values *values);

/* Regression: Pearson's r, and Spearman's with average ranks for ties; NaN where one side is constant. Errors: ERROR_MEMORY. */
int metrics_regress(int64_t n, const float *label, const float *prediction, metric_values *values);

/* Whether value a is better than b under a metric (loss: lower); a NaN is never better, and anything finite is better than NaN. */
int metrics_better(metric_kind kind, double a, double b);

#endif
