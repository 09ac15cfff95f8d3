/* One step: expand, the shards that are mine, one sum, one update. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "data/order.h"
#include "linalg/linalg.h"
#include "train/internal.h"

/* Threads tell how far their gradient is complete during their last shard. Thread 0, the only one that may call MPI, adds finished ranges of all threads into
 * the message and hands them to the sum, which hides the transfer behind the rest of backward. */
typedef struct overlap {
  run *r;
  _Atomic int64_t *ready; /* [threads] */
  int64_t combined;       /* message[0 .. combined) holds all threads' sum */
  int code;
} overlap;

typedef struct overlap_seat {
  overlap *shared;
  int thread;
} overlap_seat;

static void combine(overlap *o, int64_t upto) {
  for (int t = 1; t < o->r->threads; t++) linalg_add(upto - o->combined, o->r->gradient[t] + o->combined, o->r->message + o->combined);
  o->combined = upto;
}

static void drive(overlap *o) {
  int64_t upto = INT64_MAX;
  for (int t = 0; t < o->r->threads; t++) {
    int64_t ready = atomic_load_explicit(&o->ready[t], memory_order_acquire);
    if (ready < upto) upto = ready;
  }
  if (upto > o->combined) combine(o, upto);
  if (!o->code) o->code = comm_sum_ready(o->r->comm, o->combined);
}

static void tell(void *context, int64_t ready) {
  overlap_seat *seat = context;
  atomic_store_explicit(&seat->shared->ready[seat->thread], ready, memory_order_release);
  if (seat->thread == 0) drive(seat->shared);
}

static int work_shards(run *r, overlap *o, int64_t step, int64_t begin, int64_t end, int thread, model_sums *sums) {
  const batch_plan *plan = &r->plan;
  overlap_seat seat = {o, thread};
  model_progress progress = {tell, &seat};
  memset(r->gradient[thread], 0, (size_t)r->theta_count * sizeof(real));
  for (int64_t s = begin; s < end; s++) {
    const batch *b = batch_pack_fill(r->packs[thread], plan->source, plan->row, plan->member + plan->first[s], plan->first[s + 1] - plan->first[s],
                                     (uint64_t)step, &r->masking);
    TRY(model_gradient(r->model, r->workspaces[thread], b, r->gradient[thread], sums, s + 1 == end ? &progress : NULL));
  }
  TRY(model_gather(r->model, r->workspaces[thread], r->gradient[thread]));
  atomic_store_explicit(&o->ready[thread], r->theta_count, memory_order_release);
  return ERROR_NONE;
}

static void add_times(run *r, step_times *times) {
  for (int t = 0; t < r->threads; t++) {
    model_times part = model_workspace_times(r->workspaces[t]);
    if (part.forward_s > times->forward_s) times->forward_s = part.forward_s;
    if (part.backward_s > times->backward_s) times->backward_s = part.backward_s;
    if (part.gather_s > times->gather_s) times->gather_s = part.gather_s;
  }
}

int step_gradient(run *r, int64_t step, step_result *result) {
  int64_t mine_begin, mine_end, theta = r->theta_count;
  _Atomic int64_t ready[r->threads];
  overlap o = {.r = r, .ready = ready};
  model_sums sums[r->threads];
  error failed = {0};
  *result = (step_result){0};
  for (int t = 0; t < r->threads; t++) {
    atomic_init(&ready[t], 0);
    sums[t] = (model_sums){0};
  }
  double start = clock_wall_s();
  int code = r->pending.code ? error_restore(&r->pending) : batch_plan_step(&r->plan, step);
  if (!code) code = model_choose(r->model, step);
  if (!code) code = model_expand(r->model, r->theta);
  result->times.expand_s = clock_wall_s() - start;
  order_share(r->shards, comm_size(r->comm), comm_rank(r->comm), &mine_begin, &mine_end);
  double before = comm_meter_read(r->comm, COMM_GRADIENT).seconds;
  int begun = comm_sum_begin(r->comm, r->message, theta + TAIL_FLOATS);
  if (!code) {
    /* A loop, so that a smaller team than asked for (OMP_THREAD_LIMIT) still does all of it; number 0 falls to the master thread. */
#pragma omp parallel for num_threads(r->threads) schedule(static, 1)
    for (int t = 0; t < r->threads; t++) {
      int64_t begin, end;
      order_share(mine_end - mine_begin, r->threads, t, &begin, &end);
      if (work_shards(r, &o, step, mine_begin + begin, mine_begin + end, t, &sums[t])) {
#pragma omp critical
        failed = *error_last();
      }
    }
    code = failed.code ? error_restore(&failed) : o.code;
  }
  combine(&o, theta);
  model_sums total = {0};
  for (int t = 0; t < r->threads; t++) {
    total.loss += sums[t].loss;
    total.count += sums[t].count;
    total.tokens += sums[t].tokens;
  }
  add_times(r, &result->times);
  /* A rank in trouble still takes part, and says so in the message itself: nobody is left waiting. */
  r->message[theta + TAIL_LOSS] = (real)total.loss;
  r->message[theta + TAIL_COUNT] = (real)total.count;
  r->message[theta + TAIL_TOKENS] = (real)total.tokens;
  r->message[theta + TAIL_ERRORS] = code != 0;
  if (begun) return begun;
  TRY(comm_sum_end(r->comm));
  result->times.communication_s = comm_meter_read(r->comm, COMM_GRADIENT).seconds - before;
  if (r->message[theta + TAIL_ERRORS] != 0) return comm_agree(r->comm, code);
  result->count = (int64_t)r->message[theta + TAIL_COUNT];
  result->tokens = (int64_t)r->message[theta + TAIL_TOKENS];
  result->my_tokens = total.tokens;
  result->loss = result->count ? (double)r->message[theta + TAIL_LOSS] / (double)result->count : 0;
  return ERROR_NONE;
}

int step_train(run *r, optim *o, int64_t step, step_result *result) {
  double start = clock_wall_s();
  TRY(step_gradient(r, step, result));
  double middle = clock_wall_s();
  if (result->count > 0) { /* nothing was masked: nothing to learn from */
    result->norm = optim_step(o, step, r->theta, r->message, 1.0 / (double)result->count, model_active(r->model));
    if (!isfinite(result->norm) || !isfinite(result->loss)) /* the sum is the same on all ranks, so all leave here */
      return FAIL(ERROR_DIVERGED, "use a smaller learning rate (train.lr) or clip gradients (train.clip)", "diverged at step %lld: loss %g, gradient norm %g",
                  (long long)step + 1, result->loss, result->norm);
  }
  result->times.optimizer_s = clock_wall_s() - middle;
  result->times.step_s = clock_wall_s() - start;
  return ERROR_NONE;
}
