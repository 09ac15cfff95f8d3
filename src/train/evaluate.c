/* Evaluation of a split, spread over ranks and threads or by one rank alone. Groups are a function of the lengths alone, so a prediction's bits depend on
 * neither. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "data/order.h"
#include "train/internal.h"
#include "train/stop.h"

static const uint64_t evaluation_step = 0xFFFFFFFFu; /* random streams of evaluation (masks) never meet those of training */

void predictions_free(predictions *p) {
  free(p->outputs);
  free(p->prediction);
  *p = (predictions){0};
}

/* What one group contributes; sent to rank 0 with its examples' outputs. */
typedef struct group_sums {
  double loss;
  int64_t count;
} group_sums;

typedef struct grouping {
  int64_t groups, begin, end; /* all, and this rank's range */
  int32_t *length, *member, *first;
  int64_t *row;
} grouping;

int evaluation_measure(const split *s, batch_sizes *sizes) {
  int64_t groups, n = s->count;
  int32_t *space = malloc((size_t)(3 * n + 1) * sizeof *space);
  if (!space) return FAIL(ERROR_MEMORY, NULL, "out of memory to group %lld examples", (long long)n);
  for (int64_t i = 0; i < n; i++) space[i] = (int32_t)(s->offset[i + 1] - s->offset[i]);
  int code = order_pack(space, n, EVALUATION_TOKENS, space + n, space + 2 * n, &groups);
  for (int64_t g = 0; !code && g < groups; g++) {
    const int32_t *first = space + 2 * n;
    batch_sizes_add(sizes, space, space + n + first[g], first[g + 1] - first[g]);
  }
  free(space);
  return code;
}

static int group_split(const split *s, int size, int rank, arena *memory, grouping *g) {
  size_t n = (size_t)s->count;
  TRY(arena_take(memory, n, sizeof *g->length, &g->length));
  TRY(arena_take(memory, n, sizeof *g->member, &g->member));
  TRY(arena_take(memory, n + 1, sizeof *g->first, &g->first));
  TRY(arena_take(memory, n, sizeof *g->row, &g->row));
  for (int64_t i = 0; i < s->count; i++) {
    g->length[i] = (int32_t)(s->offset[i + 1] - s->offset[i]);
    g->row[i] = i;
  }
  TRY(order_pack(g->length, s->count, EVALUATION_TOKENS, g->member, g->first, &g->groups));
  order_share(g->groups, size, rank, &g->begin, &g->end);
  return ERROR_NONE;
}

/* This rank's groups: outputs behind each other in group order, sums per group. Told to stop, a rank leaves off at once: the others learn it from its error. */
static int evaluate_mine(run *r, const split *s, const grouping *g, int classes, float *outputs, group_sums *sums) {
  error failed = {0};
#pragma omp parallel for num_threads(r->threads) schedule(dynamic)
  for (int64_t i = g->begin; i < g->end; i++) {
    int thread = omp_get_thread_num(), count = g->first[i + 1] - g->first[i];
    model_sums total = {0};
    if (stop_requested()) continue;
    const batch *b = batch_pack_fill(r->packs[thread], s, g->row, g->member + g->first[i], count, evaluation_step, &r->masking);
    float *place = classes ? outputs + (int64_t)(g->first[i] - g->first[g->begin]) * classes : NULL;
    if (model_predict(r->model, r->workspaces[thread], b, place, &total)) {
#pragma omp critical
      failed = *error_last();
    }
    sums[i - g->begin] = (group_sums){total.loss, total.count};
  }
  if (failed.code) return error_restore(&failed);
  return stop_requested() ? FAIL(ERROR_STOPPED, NULL, "stopped during an evaluation, as asked") : ERROR_NONE;
}

static int predict_class(const float *row, int classes) {
  int best = 0;
  for (int j = 1; j < classes; j++)
    if (row[j] > row[best]) best = j;
  return best;
}

/* Outputs in example order, predictions and metrics. */
static int judge(const run *r, const split *s, const grouping *g, int classes, const float *gathered, evaluation *result, predictions *details) {
  predictions p = {.count = s->count, .classes = classes};
  int regress = r->config->task.objective == OBJECTIVE_REGRESS;
  p.outputs = malloc(((size_t)s->count * (size_t)classes + 1) * sizeof *p.outputs);
  p.prediction = malloc(((size_t)s->count + 1) * sizeof *p.prediction);
  int code = p.outputs && p.prediction ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory for %lld predictions", (long long)s->count);
  for (int64_t i = 0; !code && i < s->count; i++) {
    float *row = p.outputs + (int64_t)g->member[i] * classes;
    memcpy(row, gathered + i * classes, (size_t)classes * sizeof *row);
    p.prediction[g->member[i]] = regress ? row[0] : (float)predict_class(row, classes);
  }
  if (!code)
    code = regress ? metrics_regress(s->count, s->label, p.prediction, &result->metrics)
                   : metrics_classify(s->count, classes, s->label, p.prediction, &result->metrics);
  if (code || !details) predictions_free(&p);
  else *details = p;
  return code;
}

/* What all groups together say, from their sums and outputs in group order. */
static int conclude(const run *r, const split *s, const grouping *g, int classes, const group_sums *sums, const float *outputs, evaluation *result,
                    predictions *details) {
  double loss = 0;
  for (int64_t i = 0; i < g->groups; i++) {
    loss += sums[i].loss;
    result->count += sums[i].count;
  }
  result->loss = result->count ? loss / (double)result->count : NAN;
  for (int i = 0; i < METRICS_COUNT; i++) result->metrics.value[i] = NAN;
  if (classes) TRY(judge(r, s, g, classes, outputs, result, details));
  result->metrics.value[METRICS_LOSS] = result->loss;
  return ERROR_NONE;
}

static int collect(run *r, const split *s, const grouping *g, int classes, const float *outputs, const group_sums *sums, evaluation *result,
                   predictions *details) {
  comm *c = r->comm;
  int64_t examples = g->first[g->end] - g->first[g->begin];
  int64_t *counts = calloc((size_t)comm_size(c), sizeof *counts);
  void *all_sums = NULL, *all_outputs = NULL;
  int code = comm_agree(c, counts ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory"));
  if (!code) code = comm_gather(c, COMM_EVALUATION, sums, (g->end - g->begin) * (int64_t)sizeof *sums, counts, &all_sums);
  if (!code) code = comm_gather(c, COMM_EVALUATION, outputs, examples * classes * (int64_t)sizeof *outputs, counts, &all_outputs);
  if (!code && comm_rank(c) == 0) code = conclude(r, s, g, classes, all_sums, all_outputs, result, details);
  free(counts);
  free(all_sums);
  free(all_outputs);
  return comm_agree(c, code);
}

/* This rank's groups of `size` ranks, with memory for what they give. */
typedef struct share {
  arena *memory;
  grouping g;
  int classes;
  float *outputs;
  group_sums *sums;
} share;

static int work_share(run *r, const real *theta, const split *s, int size, int rank, share *mine) {
  grouping *g = &mine->g;
  mine->classes = model_output_count(r->model);
  TRY(arena_create(&mine->memory));
  TRY(group_split(s, size, rank, mine->memory, g));
  TRY(arena_take(mine->memory, (size_t)(g->first[g->end] - g->first[g->begin]) * (size_t)mine->classes, sizeof *mine->outputs, &mine->outputs));
  TRY(arena_take(mine->memory, (size_t)(g->end - g->begin), sizeof *mine->sums, &mine->sums));
  TRY(model_choose(r->model, METHOD_EVALUATION));
  TRY(model_expand(r->model, theta));
  return evaluate_mine(r, s, g, mine->classes, mine->outputs, mine->sums);
}

int run_evaluate(run *r, const real *theta, split_name which, evaluation *result, predictions *details) {
  const split *s = &r->data->splits[which];
  double start = clock_wall_s();
  share mine = {0};
  *result = (evaluation){0};
  if (details) *details = (predictions){0};
  int code = comm_agree(r->comm, work_share(r, theta, s, comm_size(r->comm), comm_rank(r->comm), &mine));
  if (!code) code = collect(r, s, &mine.g, mine.classes, mine.outputs, mine.sums, result, details);
  if (!code) code = comm_broadcast(r->comm, COMM_EVALUATION, 0, result, sizeof *result);
  result->seconds = clock_wall_s() - start;
  arena_destroy(mine.memory);
  return code;
}

int evaluate_alone(run *r, const real *theta, const split *s, evaluation *result) {
  double start = clock_wall_s();
  share mine = {0};
  *result = (evaluation){0};
  int code = work_share(r, theta, s, 1, 0, &mine);
  if (!code) code = conclude(r, s, &mine.g, mine.classes, mine.sums, mine.outputs, result, NULL);
  result->seconds = clock_wall_s() - start;
  arena_destroy(mine.memory);
  return code;
}
