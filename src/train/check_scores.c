/* Scores: predictions give the evaluations, evaluations the choice of the step and the result. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "train/check_private.h"

/* Another build may round the last bits of a quotient otherwise; the losses were summed from floats in groups. */
#define METRIC_TOLERANCE 1e-12
#define LOSS_TOLERANCE 1e-5

static int equal(double a, double b, double tolerance) { return (isnan(a) && isnan(b)) || fabs(a - b) <= tolerance * fmax(1, fabs(b)); }

static int is_of(const check_evaluation *e, int which) { return !strcmp(e->split, check_split_names[which]); }

static metric_kind metric_of(const check_run *r) { return (metric_kind)r->config->task.metric; }

/* ---- the rows of /evaluation ---- */

static int is_superseded(const check_run *r, int64_t row) {
  const check_evaluation *e = &r->evaluations[row];
  for (int64_t i = row + 1; i < r->evaluation_count; i++) {
    const check_evaluation *later = &r->evaluations[i];
    if (later->attempt > e->attempt && later->step == e->step && !strcmp(later->split, e->split)) return 1;
  }
  return 0;
}

static void keep_last_attempts(check_run *r) {
  int64_t kept = 0;
  for (int64_t i = 0; i < r->evaluation_count; i++)
    if (r->evaluations[i].attempt > 0 && (r->attempt_count <= 1 || !is_superseded(r, i))) r->evaluations[kept++] = r->evaluations[i]; /* looks ahead only */
  r->evaluation_count = kept;
}

static int check_rows(check_run *r) {
  keep_last_attempts(r);
  for (int64_t i = 0; i < r->evaluation_count; i++) {
    const check_evaluation *e = &r->evaluations[i];
    if (!is_of(e, CHECK_VALIDATION) && !is_of(e, CHECK_TEST)) TRY(CHECK_REASON(r, "/evaluation: '%s' is no split", e->split));
    if (e->count > 0 && !isfinite(e->loss)) TRY(CHECK_REASON(r, "/evaluation, step %lld, %s: the loss is %g", (long long)e->step, e->split, e->loss));
    double named = metric_of(r) == METRICS_LOSS ? e->loss : e->value[metric_of(r)];
    if (!equal(e->metric, named, 0))
      TRY(CHECK_REASON(r, "/evaluation, step %lld, %s: metric is %.9g, but its %s %.9g", (long long)e->step, e->split, e->metric, metric_names[metric_of(r)],
                       named));
  }
  return ERROR_NONE;
}

/* ---- which step was kept ---- */

/* Of one step as they were written. */
static int by_step(const void *x, const void *y) {
  const check_evaluation *a = *(const check_evaluation *const *)x, *b = *(const check_evaluation *const *)y;
  if (a->step != b->step) return a->step < b->step ? -1 : 1;
  return (a > b) - (a < b);
}

static int check_choice(check_run *r) {
  int64_t best_step = 0, last_step = 0;
  double best = NAN;
  const check_evaluation **rows;
  if (!r->is_complete || r->result.best_step == CHECK_ABSENT) return ERROR_NONE;
  TRY(arena_take(r->memory, (size_t)r->evaluation_count, sizeof *rows, &rows));
  for (int64_t i = 0; i < r->evaluation_count; i++) rows[i] = &r->evaluations[i];
  if (r->evaluation_count) qsort(rows, (size_t)r->evaluation_count, sizeof *rows, by_step);
  for (int64_t i = 0; i < r->evaluation_count; i++) {
    const check_evaluation *e = rows[i];
    if (!is_of(e, CHECK_VALIDATION) || e->step <= last_step) continue; /* the final evaluation repeats that of the kept step */
    last_step = e->step;
    if (r->config->train.keep == KEEP_LAST || !best_step || metrics_better(metric_of(r), e->metric, best)) {
      best = e->metric;
      best_step = e->step;
    }
  }
  if (last_step != r->config->train.steps) TRY(CHECK_REASON(r, "/evaluation: no validation after the last step (%lld)", (long long)r->config->train.steps));
  if (best_step == r->result.best_step) return ERROR_NONE;
  return CHECK_REASON(r, "/result: best_step is %lld, but by the validations it is %lld", (long long)r->result.best_step, (long long)best_step);
}

/* ---- the result ---- */

/* The last row of a split at the kept step, NULL: none. Also counts those whose metric is not that of the result. */
static const check_evaluation *final_row(const check_run *r, int which, double metric, int *others, double *other) {
  const check_evaluation *last = NULL;
  for (int64_t i = 0; i < r->evaluation_count; i++) {
    const check_evaluation *e = &r->evaluations[i];
    if (!is_of(e, which) || e->step != r->result.best_step) continue;
    last = e;
    if (equal(e->metric, metric, 0)) continue;
    ++*others;
    *other = e->metric;
  }
  return last;
}

/* ---- predictions ---- */

static double cross_entropy(int classes, const float *logits, int target) {
  double largest = logits[0], sum = 0;
  for (int j = 1; j < classes; j++)
    if (logits[j] > largest) largest = logits[j];
  for (int j = 0; j < classes; j++) sum += exp(logits[j] - largest);
  return log(sum) - (logits[target] - largest);
}

/* One example; what is wrong with it, or NULL. */
static const char *judge_example(const check_predictions *p, int64_t i, int classify, double *loss) {
  const float *score = p->score + i * p->classes;
  int best = 0;
  for (int j = 0; j < p->classes; j++) {
    if (!isfinite(score[j])) return "a score is not finite";
    if (score[j] > score[best]) best = j;
  }
  if (!classify) {
    if (p->prediction[i] != score[0]) return "the prediction is not its score";
    *loss += ((double)score[0] - (double)p->label[i]) * ((double)score[0] - (double)p->label[i]);
    return isfinite(p->label[i]) ? NULL : "the label is not finite";
  }
  if (!(p->label[i] >= 0 && p->label[i] < (float)p->classes && p->label[i] == floorf(p->label[i]))) return "the label is no class";
  if (p->prediction[i] != (float)best) return "the prediction is not the class of its largest score";
  *loss += cross_entropy(p->classes, score, (int)p->label[i]);
  return NULL;
}

static int check_predictions_of(check_run *r, int which, const check_evaluation *e) {
  const check_predictions *p = &r->predictions[which];
  int classify = r->config->task.objective == OBJECTIVE_CLASSIFY;
  int64_t wrong = 0, first = 0;
  const char *what = NULL;
  double loss = 0;
  metric_values values;
  if (p->count != e->count)
    return CHECK_REASON(r, "/predictions/%s has %lld rows, of %lld examples", check_split_names[which], (long long)p->count, (long long)e->count);
  for (int64_t i = 0; i < p->count; i++) {
    const char *found = judge_example(p, i, classify, &loss);
    if (found && !wrong++) {
      what = found;
      first = i;
    }
  }
  if (wrong)
    return CHECK_REASON(r, "/predictions/%s: example %lld: %s%s", check_split_names[which], (long long)p->example[first], what,
                        wrong > 1 ? " (and others)" : "");
  TRY(classify ? metrics_classify(p->count, p->classes, p->label, p->prediction, &values) : metrics_regress(p->count, p->label, p->prediction, &values));
  for (int m = 0; m < METRICS_LOSS; m++)
    if (!equal(e->value[m], values.value[m], METRIC_TOLERANCE))
      TRY(CHECK_REASON(r, "%s %s: /evaluation has %.9g, the predictions give %.9g", check_split_names[which], metric_names[m], e->value[m], values.value[m]));
  loss /= (double)(p->count ? p->count : 1);
  if (p->count && !equal(e->loss, loss, LOSS_TOLERANCE))
    return CHECK_REASON(r, "%s loss: /evaluation has %.9g, the scores of the predictions give %.9g", check_split_names[which], e->loss, loss);
  return ERROR_NONE;
}

static int check_split(check_run *r, int which) {
  const char *name = check_split_names[which];
  double metric = which == CHECK_TEST ? r->result.test_metric : r->result.validation_metric, other = NAN;
  int others = 0;
  const check_evaluation *e = final_row(r, which, metric, &others, &other);
  if (which == CHECK_TEST && !r->config->output.test)
    return e || !isnan(metric) ? CHECK_REASON(r, "the test split has a score, but output.test is false") : ERROR_NONE;
  if (!e) return isnan(metric) ? ERROR_NONE : CHECK_REASON(r, "/result: %s_metric is %.9g, but /evaluation has no such row", name, metric);
  if (others) TRY(CHECK_REASON(r, "/result: %s_metric is %.9g, but /evaluation has %.9g", name, metric, other));
  if (e->count == 0 || !r->config->output.predictions || r->config->task.objective == OBJECTIVE_MLM) return ERROR_NONE;
  if (r->predictions[which].count < 0) return CHECK_REASON(r, "/predictions/%s is not there, or cannot be read", name);
  return check_predictions_of(r, which, e);
}

int check_scores(check_run *r) {
  if (!r->config || !r->evaluations || r->config->task.metric < 0 || r->config->task.metric >= METRICS_COUNT) return ERROR_NONE;
  TRY(check_rows(r));
  if (!r->is_complete) return ERROR_NONE;
  if (*r->result.metric && strcmp(r->result.metric, metric_names[metric_of(r)]))
    TRY(CHECK_REASON(r, "/result: metric is %s, /config says %s", r->result.metric, metric_names[metric_of(r)]));
  TRY(check_choice(r));
  for (int which = 0; which < CHECK_SPLITS; which++) TRY(check_split(r, which));
  return ERROR_NONE;
}
