/* The task head in a step's traffic. Its gradient is a sum of outer products, one (or, with a dense layer, two) per example. Where the rows of all examples are
 * fewer bytes than the sum, they travel instead (head_reduce=factors): an all-gather behind the sum, and every rank forms the gradient of the whole batch. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "data/order.h"
#include "train/internal.h"

/* ---- what it costs, and the choice ---- */

/* Of a step, over all ranks: the last one of an epoch may have fewer. */
static double mean_examples(const run *r) {
  const batch_plan *plan = &r->plan;
  int64_t epochs = r->steps / plan->steps_per_epoch, rest = r->steps % plan->steps_per_epoch * plan->batch;
  return (double)(epochs * plan->examples + (rest < plan->examples ? rest : plan->examples)) / (double)r->steps;
}

int head_settle(run *r, int64_t rest_bytes, int64_t width) {
  config *c = r->config;
  int ranks = comm_size(r->comm);
  int64_t row = model_head_row(r->model);
  head_account *a = &r->head;
  *a = (head_account){.dense_bytes = width * model_role_count(r->model, SEGMENT_HEAD)};
  a->dense_wire_bytes = llround(comm_sum_bytes(ranks, (double)(rest_bytes + a->dense_bytes)) - comm_sum_bytes(ranks, (double)rest_bytes));
  if (row == 0) {
    if (c->head_reduce == HEAD_REDUCE_FACTORS)
      return FAIL(ERROR_USAGE, "leave head_reduce out",
                  "head_reduce=factors: the head of masked language modelling works on tokens, not on one vector per example");
    return c->head_reduce < 0 ? config_resolve(c, "head_reduce", "dense") : ERROR_NONE;
  }
  double own = mean_examples(r) / ranks * (double)row * (double)sizeof(real);
  a->factor_bytes = llround(own);
  a->factor_wire_bytes = llround(comm_all_gather_bytes(ranks, own));
  if (c->head_reduce >= 0) return ERROR_NONE;
  return config_resolve(c, "head_reduce", a->factor_wire_bytes < a->dense_wire_bytes ? "factors" : "dense");
}

int head_take(run *r) {
  const batch_plan *plan = &r->plan;
  if (r->config->head_reduce != HEAD_REDUCE_FACTORS) return ERROR_NONE;
  int64_t most = plan->batch < plan->examples ? plan->batch : plan->examples, row = model_head_row(r->model);
  r->apart = model_role_count(r->model, SEGMENT_HEAD);
  TRY(arena_take(r->memory, (size_t)comm_size(r->comm) + 1, sizeof *r->head_first, &r->head_first));
  return arena_take(r->memory, (size_t)most, (size_t)row * sizeof(real), &r->head_rows);
}

/* ---- a step ---- */

/* Shards lie behind each other, and so do the ranges of shards that the ranks have. */
static int64_t place_of(const run *r, int64_t shard) { return r->plan.first[shard] * model_head_row(r->model); }

real *head_rows_of(const run *r, int64_t shard) { return r->apart ? r->head_rows + place_of(r, shard) : NULL; }

static void add_shard(const run *r, int64_t shard, real *grad) {
  model_head_gradient(r->model, r->plan.first[shard + 1] - r->plan.first[shard], head_rows_of(r, shard), grad);
}

static int gather_rows(run *r) {
  int ranks = comm_size(r->comm);
  for (int rank = 0; rank < ranks; rank++) {
    int64_t begin, end;
    order_share(r->shards, ranks, rank, &begin, &end);
    r->head_first[rank] = place_of(r, begin);
    r->head_first[rank + 1] = place_of(r, end);
  }
  return comm_all_gather(r->comm, COMM_GRADIENT, r->head_rows, r->head_first);
}

static void clear(const run *r, real *grad) { memset(grad, 0, (size_t)r->apart * sizeof *grad); }

/* In the shards' order, so that all ranks get the same bits. */
static void form_in_floats(run *r) {
  clear(r, r->message);
  for (int64_t s = 0; s < r->shards; s++) add_shard(r, s, r->message);
}

/* Shard by shard into fixed point, as the ranks would have done for their own: see work_shards_exactly. */
static void add_exactly(run *r) {
#pragma omp parallel for num_threads(r->threads) schedule(static, 1)
  for (int t = 0; t < r->threads; t++) {
    int64_t begin, end;
    order_share(r->shards, r->threads, t, &begin, &end);
    for (int64_t s = begin; s < end; s++) {
      clear(r, r->gradient[t]);
      add_shard(r, s, r->gradient[t]);
      exact_add(r->exact, t, r->gradient[t], &(model_sums){0});
    }
  }
}

/* The levels of the head's segments are the same state as ever, and so is what makes a second pass necessary; only that each rank has all of the shards, and
 * finds for itself what all find. */
static int form_exactly(run *r) {
  int again, none_wished;
  model_sums none;
  for (int i = 0; i < model_segment_count(r->model); i++) {
    const segment *s = model_segment(r->model, i);
    r->segment_counts[i] = s->role == SEGMENT_HEAD ? (int64_t)s->rows * s->cols : 0;
  }
  exact_begin(r->exact, r->segment_counts);
  add_exactly(r);
  TRY(exact_agree(r->exact, NULL, 0, &again, &none_wished));
  if (again) {
    exact_begin(r->exact, r->segment_counts);
    add_exactly(r);
  }
  return exact_sum(r->exact, NULL, r->message, &none);
}

int head_form(run *r, step_times *times) {
  if (!r->apart) return ERROR_NONE;
  TRY(gather_rows(r));
  double start = clock_wall_s();
  if (r->exact) TRY(form_exactly(r));
  else form_in_floats(r);
  times->backward_s += clock_wall_s() - start;
  return ERROR_NONE;
}
