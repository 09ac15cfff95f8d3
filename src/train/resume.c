/* Going on from a checkpoint, and leaving one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "train/former_private.h"
#include "train/stop.h"
#include "train/training_private.h"

enum { PATH_BYTES = 4200 };

static checkpoint_arrays arrays_of(const training *t, int64_t *rank_wire_bytes) {
  const run *r = t->r;
  checkpoint_arrays a = {.numbers = r->theta_count,
                         .segments = model_segment_count(r->model),
                         .ranks = comm_size(r->comm),
                         .theta = r->theta,
                         .first_moment = optim_first_moment(t->optim),
                         .second_moment = optim_second_moment(t->optim),
                         .chosen = r->chosen,
                         .step_counts = optim_step_counts(t->optim),
                         .rank_wire_bytes = rank_wire_bytes};
  if (r->exact) a.level = exact_levels(r->exact, &a.levels);
  return a;
}

static double next_checkpoint_s(const training *t) {
  double every = t->r->config->output.checkpoint_s;
  return comm_rank(t->r->comm) == 0 && every > 0 ? clock_wall_s() + every : INFINITY;
}

/* ---- going on ---- */

/* Other nodes need not see the file. */
static int send_arrays(comm *c, const checkpoint_arrays *a) {
  const struct {
    void *bytes;
    size_t count;
  } parts[] = {{a->theta, (size_t)a->numbers * sizeof(real)},
               {a->first_moment, (size_t)a->numbers * sizeof(real)},
               {a->second_moment, (size_t)a->numbers * sizeof(real)},
               {a->chosen, (size_t)a->numbers * sizeof(real)},
               {a->step_counts, (size_t)a->segments * sizeof(int64_t)},
               {a->rank_wire_bytes, (size_t)a->ranks * sizeof(int64_t)},
               {a->level, (size_t)a->levels}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) TRY(comm_broadcast(c, COMM_CHECKPOINT, 0, parts[i].bytes, parts[i].count));
  return ERROR_NONE;
}

static void take_head(training *t, const checkpoint_head *h) {
  t->done = t->first_step = h->step;
  t->validated = h->validated;
  t->best = h->best;
  t->best_step = h->best_step;
  t->last_validation = h->last_validation;
  t->totals = t->earlier = h->totals;
  t->shown_tokens = h->totals.tokens;
  t->shown_communication_s = h->totals.communication_s;
  t->has_checkpoint = 1;
}

static int go_on(training *t, const former *f) {
  comm *c = t->r->comm;
  checkpoint_head head = f->head;
  int64_t *wire = calloc((size_t)comm_size(c), sizeof *wire);
  checkpoint_arrays a = arrays_of(t, wire);
  int code = wire ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
  if (!code && comm_rank(c) == 0) code = checkpoint_read(f->file, &head, &a);
  code = comm_agree(c, code);
  if (!code) code = comm_broadcast(c, COMM_CHECKPOINT, 0, &head, sizeof head);
  if (!code) code = send_arrays(c, &a);
  if (!code) {
    take_head(t, &head);
    t->earlier_wire_bytes = wire[comm_rank(c)];
    log_info("goes on after step %lld of %lld", (long long)head.step, (long long)head.steps);
  }
  free(wire);
  return code;
}

static int begin(training *t, former *f) {
  run *r = t->r;
  comm *c = r->comm;
  int speaks = comm_rank(c) == 0, code = ERROR_NONE;
  if (speaks) code = record_create(r, &t->record);
  if (speaks && !code) code = former_find(r, f);
  TRY(comm_agree(c, code));
  TRY(comm_broadcast(c, COMM_CHECKPOINT, 0, &f->continues, sizeof f->continues));
  if (f->continues) TRY(go_on(t, f));
  TRY(comm_agree(c, speaks ? record_start(t->record, f) : ERROR_NONE));
  if (speaks && !f->continues && f->count) log_info("attempt %lld at this run; there is no checkpoint to go on from", (long long)f->attempt);
  t->attempt = f->attempt;
  r->checkpoint_at_s = next_checkpoint_s(t);
  return ERROR_NONE;
}

int resume_begin(training *t) {
  former f = {0};
  int code = begin(t, &f);
  former_free(&f);
  return code;
}

/* ---- leaving a checkpoint ---- */

static checkpoint_head head_of(const training *t) {
  const run *r = t->r;
  checkpoint_head h = {.ranks = comm_size(r->comm),
                       .threads = r->threads,
                       .nodes = comm_nodes(r->comm),
                       .attempt = t->attempt,
                       .step = t->done,
                       .steps = r->steps,
                       .validated = t->validated,
                       .best_step = t->best_step,
                       .best = t->best,
                       .last_validation = t->last_validation,
                       .totals = training_totals(t)};
  memcpy(h.experiment_id, r->experiment_id, sizeof h.experiment_id);
  memcpy(h.run_id, r->run_id, sizeof h.run_id);
  memcpy(h.binary_hash, r->binary_hash, sizeof h.binary_hash);
  return h;
}

/* Rank 0. The rows come first: a checkpoint without them would be of no use. */
static int write_file(training *t, int64_t *rank_wire_bytes) {
  char path[PATH_BYTES], size[32];
  double start = clock_wall_s();
  checkpoint_arrays a = arrays_of(t, rank_wire_bytes);
  TRY(former_checkpoint_path(t->r, path, sizeof path));
  TRY(record_sync(t->record));
  t->totals.checkpoints++;
  checkpoint_head head = head_of(t);
  int code = checkpoint_write(path, &head, &a);
  double took = clock_wall_s() - start;
  t->totals.checkpoint_s += took;
  if (code) {
    t->totals.checkpoints--;
    return code;
  }
  t->has_checkpoint = 1;
  log_detail("checkpoint after step %lld: %s in %.3f s", (long long)t->done, text_bytes(3.0 * sizeof(real) * (double)a.numbers, size), took);
  return ERROR_NONE;
}

/* Collective. *written: of rank 0 alone, which the others need not know of. */
static int leave_checkpoint(training *t, int *written) {
  comm *c = t->r->comm;
  int64_t own = training_wire_bytes(t), *counts = calloc((size_t)comm_size(c), sizeof *counts);
  void *all = NULL;
  *written = ERROR_NONE;
  int code = training_note_ranks(t);
  if (!code) code = training_note_energy(t);
  if (!code) code = comm_agree(c, counts ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory"));
  if (!code) code = comm_gather(c, COMM_CHECKPOINT, &own, sizeof own, counts, &all);
  if (!code && t->record) *written = write_file(t, all);
  t->r->checkpoint_at_s = next_checkpoint_s(t);
  free(all);
  free(counts);
  return code;
}

int resume_checkpoint(training *t) {
  int written;
  TRY(leave_checkpoint(t, &written));
  if (written) log_warning("no checkpoint after step %lld: %s", (long long)t->done, error_last()->text);
  return ERROR_NONE;
}

int resume_stop(training *t) {
  run *r = t->r;
  char by[64] = "another rank was told to", text[128];
  int written, number = stop_requested();
  if (number) snprintf(by, sizeof by, "%s", stop_signal_name(number));
  TRY(comm_agree(r->comm, r->pending.code ? error_restore(&r->pending) : ERROR_NONE));
  TRY(leave_checkpoint(t, &written));
  TRY(comm_agree(r->comm, written));
  if (t->record) {
    snprintf(text, sizeof text, "after step %lld of %lld (%s)", (long long)t->done, (long long)r->steps, by);
    record_stop(t->record, text);
    t->record = NULL;
  }
  return FAIL(ERROR_STOPPED, NULL, "stopped at a checkpoint after step %lld of %lld (%s); the same command goes on from there", (long long)t->done,
              (long long)r->steps, by);
}

void resume_end(const training *t) {
  char path[PATH_BYTES];
  if (t->has_checkpoint && !former_checkpoint_path(t->r, path, sizeof path)) unlink(path);
}
