/* One step: expand, the shards that are mine, one sum, the head's rows where they travel beside it, one update. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "data/order.h"
#include "linalg/linalg.h"
#include "train/internal.h"
#include "train/stop.h"

/* Threads tell how far their gradient is complete during their last shard. Thread 0, the only one that may call MPI, adds finished ranges of all threads into
 * the message and hands them to the sum, which hides the transfer behind the rest of backward: between its own products, and when it has no more of them, until
 * the other threads are done. */
typedef struct overlap {
  run *r;
  _Atomic int64_t *ready; /* [threads] */
  _Atomic int working;    /* threads' parts that are not done */
  int64_t combined;       /* message[apart .. combined) holds all threads' sum */
  int64_t early;          /* message[apart .. early) may leave before all of it is known */
  int code;
} overlap;

enum { DRIVE_PAUSE_NS = 50000 }; /* between looks at the network while others compute: well below what a bucket takes on any */

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
  if (!o->code && o->early) o->code = comm_sum_ready(o->r->comm, (o->combined < o->early ? o->combined : o->early) - o->r->apart);
}

/* Only the thread itself writes its place. */
static void tell(void *context, int64_t ready) {
  overlap_seat *seat = context;
  _Atomic int64_t *place = &seat->shared->ready[seat->thread];
  if (ready > atomic_load_explicit(place, memory_order_relaxed)) atomic_store_explicit(place, ready, memory_order_release);
  if (seat->thread == 0) drive(seat->shared);
}

static void drive_while_others_work(overlap *o) {
  const struct timespec pause = {.tv_nsec = DRIVE_PAUSE_NS};
  while (atomic_load_explicit(&o->working, memory_order_acquire) > 0) {
    drive(o);
    nanosleep(&pause, NULL);
  }
}

static void add_sums(model_sums *to, const model_sums *from) {
  to->loss += from->loss;
  to->count += from->count;
  to->tokens += from->tokens;
}

/* One shard: gradient += its part (of the factors: in the workspace until model_gather). */
static int work_shard(run *r, int64_t step, int64_t shard, int thread, model_sums *sums, const model_progress *progress) {
  const batch_plan *plan = &r->plan;
  const batch *b = batch_pack_fill(r->packs[thread], plan->source, plan->row, plan->member + plan->first[shard], plan->first[shard + 1] - plan->first[shard],
                                   (uint64_t)step, &r->masking);
  return model_gradient_apart(r->model, r->workspaces[thread], b, head_rows_of(r, shard), r->gradient[thread], sums, progress);
}

static void clear_gradient(run *r, int thread) { memset(r->gradient[thread], 0, (size_t)r->theta_count * sizeof(real)); }

/* A thread's shards summed in floats. */
static int work_shards(run *r, overlap *o, int64_t step, int64_t begin, int64_t end, int thread, model_sums *sums) {
  overlap_seat seat = {o, thread};
  model_progress progress = {tell, &seat};
  clear_gradient(r, thread);
  for (int64_t s = begin; s < end; s++) TRY(work_shard(r, step, s, thread, sums, s + 1 == end && o->early ? &progress : NULL));
  TRY(model_gather(r->model, r->workspaces[thread], r->gradient[thread]));
  atomic_store_explicit(&o->ready[thread], r->theta_count, memory_order_release);
  return ERROR_NONE;
}

/* The same for an exact sum: each shard by itself, and into fixed point. */
static int work_shards_exactly(run *r, int64_t step, int64_t begin, int64_t end, int thread, model_sums *sums) {
  for (int64_t s = begin; s < end; s++) {
    model_sums own = {0};
    clear_gradient(r, thread);
    TRY(work_shard(r, step, s, thread, &own, NULL));
    TRY(model_gather(r->model, r->workspaces[thread], r->gradient[thread]));
    if (r->thread_packed) model_pack(r->model, r->gradient[thread], r->thread_packed[thread]);
    exact_add(r->exact, thread, (r->thread_packed ? r->thread_packed[thread] : r->gradient[thread]) + r->apart, &own);
    add_sums(sums, &own);
  }
  return ERROR_NONE;
}

static void add_times(run *r, step_times *times) {
  for (int t = 0; t < r->threads; t++) {
    model_times part = model_workspace_times(r->workspaces[t]);
    if (part.forward_s > times->forward_s) times->forward_s = part.forward_s;
    if (part.backward_s > times->backward_s) times->backward_s = part.backward_s;
    if (part.gather_s > times->gather_s) times->gather_s = part.gather_s;
    if (part.adapter_s > times->adapter_s) times->adapter_s = part.adapter_s;
  }
}

/* All of this rank's shards over its threads. *total: their sums. */
static int work(run *r, overlap *o, int64_t step, model_sums *total, step_times *times) {
  int64_t mine_begin, mine_end;
  double cpu_before = clock_process_cpu_s();
  model_sums sums[r->threads];
  error failed = {0};
  order_share(r->shards, comm_size(r->comm), comm_rank(r->comm), &mine_begin, &mine_end);
  for (int t = 0; t < r->threads; t++) sums[t] = (model_sums){0};
    /* A loop, so that a smaller team than asked for (OMP_THREAD_LIMIT) still does all of it; number 0 falls to the master thread. */
#pragma omp parallel num_threads(r->threads)
  {
#pragma omp for schedule(static, 1) nowait
    for (int t = 0; t < r->threads; t++) {
      int64_t begin, end;
      order_share(mine_end - mine_begin, r->threads, t, &begin, &end);
      int code = o ? work_shards(r, o, step, mine_begin + begin, mine_begin + end, t, &sums[t])
                   : work_shards_exactly(r, step, mine_begin + begin, mine_begin + end, t, &sums[t]);
      if (code) {
#pragma omp critical
        failed = *error_last();
      }
      if (o) atomic_fetch_sub_explicit(&o->working, 1, memory_order_release);
    }
#pragma omp master
    if (o && o->early) drive_while_others_work(o);
  }
  times->work_cpu_s += clock_process_cpu_s() - cpu_before;
  *total = (model_sums){0};
  for (int t = 0; t < r->threads; t++) add_sums(total, &sums[t]);
  return failed.code ? error_restore(&failed) : ERROR_NONE;
}

/* Asked right before the sum: what a rank learns later waits for the next step. */
static step_wish wish_of(const run *r, int code) {
  if (code) return WISH_FAILED;
  if (stop_requested()) return WISH_STOP;
  return comm_rank(r->comm) == 0 && clock_wall_s() >= r->checkpoint_at_s ? WISH_CHECKPOINT : WISH_NONE;
}

/* Wishes as numbers whose sum over ranks says which was the largest: rank 0 alone adds 1 for a checkpoint, so 2 means that some rank stops, and fewer than 2^19
 * ranks that all do (524,287; with the checkpoint's 1) stay below what one error adds. Without errors every partial sum, in whatever order, is a whole number
 * below 2^20, of which a float (24 bits) loses nothing; with errors it may lose low bits, but a sum of numbers that are not negative never rounds below its
 * largest, and that is enough. */
static const real wish_weights[] = {[WISH_NONE] = 0, [WISH_CHECKPOINT] = 1, [WISH_STOP] = 2, [WISH_FAILED] = 1 << 20};

static step_wish wish_in(real sum) {
  int wish = WISH_FAILED;
  while (sum < wish_weights[wish]) wish--;
  return (step_wish)wish;
}

/* In a sampled step all ranks meet before the sum: what came before is waiting for the slowest, what follows is transfer. */
static void wait_if_sampled(run *r, step_result *result) {
  if (result->sampled) result->times.wait_s = comm_wait(r->comm);
}

static void set_result(step_result *result, const model_sums *all) {
  result->count = all->count;
  result->tokens = all->tokens;
  result->loss = all->count ? all->loss / (double)all->count : 0;
}

/* Sums in floats. A rank in trouble still takes part, and says so in the message itself: nobody is left waiting. */
static int sum_floats(run *r, int64_t step, int code, step_result *result) {
  int64_t theta = r->theta_count;
  _Atomic int64_t ready[r->threads];
  overlap o = {.r = r, .ready = ready, .combined = r->apart, .early = !r->packed ? theta : r->packed == r->message ? model_packs_in_place(r->model) : 0};
  model_sums mine = {0};
  for (int t = 0; t < r->threads; t++) atomic_init(&ready[t], 0);
  atomic_init(&o.working, r->threads);
  int64_t count = (r->packed ? model_packed_count(r->model) : theta) - r->apart;
  real *message = (r->packed ? r->packed : r->message) + r->apart;
  int begun = comm_sum_begin(r->comm, message, count + TAIL_FLOATS);
  if (!code) {
    code = work(r, &o, step, &mine, &result->times);
    if (!code) code = o.code;
  }
  combine(&o, theta);
  if (r->packed) model_pack(r->model, r->message, r->packed);
  add_times(r, &result->times);
  real *tail = message + count;
  tail[TAIL_LOSS] = (real)mine.loss;
  tail[TAIL_COUNT] = (real)mine.count;
  tail[TAIL_TOKENS] = (real)mine.tokens;
  tail[TAIL_ERRORS] = wish_weights[wish_of(r, code)];
  if (begun) return begun;
  wait_if_sampled(r, result);
  TRY(comm_sum_end(r->comm));
  result->wish = wish_in(tail[TAIL_ERRORS]);
  if (result->wish == WISH_FAILED) return comm_agree(r->comm, code);
  set_result(result, &(model_sums){.loss = (double)tail[TAIL_LOSS], .count = (int64_t)tail[TAIL_COUNT], .tokens = (int64_t)tail[TAIL_TOKENS]});
  if (r->packed) model_unpack(r->model, r->packed, r->message); /* the tail may be in the way */
  TRY(head_form(r, &result->times));
  result->my_tokens = mine.tokens;
  return ERROR_NONE;
}

static int pass(run *r, int64_t step, model_sums *mine, step_times *times) {
  for (int i = 0; i < model_segment_count(r->model); i++) {
    const segment *s = model_segment(r->model, i);
    r->segment_counts[i] = r->apart && s->role == SEGMENT_HEAD ? 0 : r->packed ? model_packed(r->model, i) : (int64_t)s->rows * s->cols;
  }
  exact_begin(r->exact, r->segment_counts);
  return work(r, NULL, step, mine, times);
}

/* Sums in integers (exact.h). */
static int sum_exactly(run *r, int64_t step, int code, step_result *result) {
  int again, agreed;
  model_sums mine = {0}, all;
  if (!code) code = pass(r, step, &mine, &result->times);
  wait_if_sampled(r, result);
  TRY(exact_agree(r->exact, r->comm, wish_of(r, code), &again, &agreed));
  result->wish = (step_wish)agreed;
  if (result->wish == WISH_FAILED) return comm_agree(r->comm, code);
  if (again) TRY(comm_agree(r->comm, pass(r, step, &mine, &result->times)));
  add_times(r, &result->times);
  real *message = (r->packed ? r->packed : r->message) + r->apart;
  TRY(exact_sum(r->exact, r->comm, message, &all));
  if (r->packed) model_unpack(r->model, r->packed, r->message);
  TRY(head_form(r, &result->times));
  set_result(result, &all);
  result->my_tokens = mine.tokens;
  return ERROR_NONE;
}

/* What the bytes of this step follow from. */
static void count_message(const run *r, step_result *result) {
  int64_t begin, end;
  order_share(r->shards, comm_size(r->comm), comm_rank(r->comm), &begin, &end);
  result->my_examples = r->plan.first[end] - r->plan.first[begin];
  result->sent_floats = (r->packed ? model_packed_count(r->model) : r->theta_count) - model_role_count(r->model, SEGMENT_HEAD);
}

int step_gradient(run *r, int64_t step, step_result *result) {
  *result = (step_result){0};
  double start = clock_wall_s();
  /* Also by a rank in trouble: what every rank knows of a step decides how many numbers travel. It fails on all ranks or on none. */
  TRY(batch_plan_step(&r->plan, step));
  TRY(model_choose(r->model, step));
  if (r->packed) batch_plan_reach(&r->plan, r->model);
  int code = r->pending.code ? error_restore(&r->pending) : model_expand(r->model, r->theta);
  result->times.expand_s = clock_wall_s() - start;
  count_message(r, result);
  int64_t every = r->config->sample_every;
  result->sampled = comm_size(r->comm) > 1 && every > 0 && (step + 1) % every == 0;
  comm_meter before = comm_meter_read(r->comm, COMM_GRADIENT);
  if (result->sampled && before.wire_bytes < 0) before.wire_bytes = comm_wire_bytes(r->comm);
  TRY(r->exact ? sum_exactly(r, step, code, result) : sum_floats(r, step, code, result));
  comm_meter after = comm_meter_read(r->comm, COMM_GRADIENT);
  if (result->sampled && after.wire_bytes < 0) after.wire_bytes = comm_wire_bytes(r->comm);
  result->times.communication_s = after.seconds - before.seconds + result->times.wait_s;
  result->payload_bytes = after.payload_bytes - before.payload_bytes;
  result->wire_bytes = before.wire_bytes < 0 || after.wire_bytes < 0 ? -1 : after.wire_bytes - before.wire_bytes;
  return ERROR_NONE;
}

/* All ranks hold the same numbers after the same updates of the same sums, or something is broken (memory, a library, a mixture of machines): a rank that
 * drifts away would send what the others take for something else. */
static int check_theta(run *r, int64_t step, int64_t digest) {
  char text[32];
  int same;
  snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
  TRY(comm_same_text(r->comm, text, &same));
  return same ? ERROR_NONE
              : FAIL(ERROR_SYSTEM, "are all nodes of one kind, with one build of the program and its libraries? reduce=exact rules out the network's order",
                     "after step %lld the ranks hold different numbers", (long long)step + 1);
}

/* How evenly the ranks' shards were cut, in CPU time, which no waiting is in. Outside of every part of the step that is timed. */
static int compare_work(run *r, step_times *times) {
  double sum = times->work_cpu_s, most = sum;
  TRY(comm_sum_doubles(r->comm, COMM_CONTROL, &sum, 1));
  TRY(comm_max_doubles(r->comm, COMM_CONTROL, &most, 1));
  times->work_mean_s = sum / comm_size(r->comm);
  times->work_max_s = most;
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
  int checks = r->config->check_every > 0 && (step + 1 == r->steps || (step + 1) % r->config->check_every == 0);
  if (r->exact || checks) result->theta_hash = hash_number(r->theta, (size_t)r->theta_count * sizeof(real));
  result->times.optimizer_s = clock_wall_s() - middle;
  if (checks && comm_size(r->comm) > 1) TRY(check_theta(r, step, result->theta_hash));
  result->times.step_s = clock_wall_s() - start;
  return result->sampled ? compare_work(r, &result->times) : ERROR_NONE;
}
