#include "sweep/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "store/file.h"
#include "sweep/attempts.h"
#include "sweep/claim.h"
#include "train/run.h"
#include "train/stop.h"

enum { PAUSE_NS = 200000000, VALUE_BYTES = 256 };

/* What rank 0 tells the others about the next run. */
typedef struct order {
  int32_t index; /* of the plan; NOTHING: there are no more, STOP: asked to stop, TROUBLE: rank 0 has an error */
  char tuned_value[VALUE_BYTES];
} order;
enum { NOTHING = -1, STOP = -2, TROUBLE = -3 };

typedef struct worker {
  comm *comm;
  plan *plan;
  const work_request *request;
  work_counts *counts;
  claim *held; /* rank 0 */
  double began_s;
} worker;

static int leads(const worker *w) { return comm_rank(w->comm) == 0; }

/* ---- rank 0: which run next ---- */

static int may_take(const worker *w) {
  const work_request *r = w->request;
  if (r->most > 0 && w->counts->done + w->counts->failed >= r->most) return 0;
  return r->until_s <= 0 || clock_wall_s() - w->began_s < r->until_s;
}

/* Claims the first open run of this group's size. *index stays NOTHING where there is none; *hopes: one may still become open. */
static int take_next(worker *w, int *index, int *hopes) {
  plan *p = w->plan;
  *index = NOTHING;
  *hopes = 0;
  TRY(plan_look(p));
  for (int i = 0; i < p->count; i++) {
    plan_run *entry = &p->runs[i];
    char path[PLAN_PATH_BYTES];
    if (entry->asked->ranks != comm_size(w->comm) || entry->same_as >= 0) continue;
    if (entry->state == PLAN_WAITING && !entry->is_stuck) *hopes = 1;
    if (!plan_is_open(entry)) continue;
    TRY(plan_path(p, entry, path));
    TRY(claim_take(path, &w->held));
    if (!w->held) continue;
    plan_look_at(p, entry); /* another may have had it since we looked, and done it, or failed */
    if (plan_is_open(entry)) {
      *index = i;
      return ERROR_NONE;
    }
    claim_release(w->held);
    w->held = NULL;
  }
  return ERROR_NONE;
}

static int decide(worker *w, order *o) {
  const struct timespec pause = {.tv_nsec = PAUSE_NS};
  *o = (order){.index = NOTHING};
  for (;;) {
    int index, hopes;
    if (stop_requested()) {
      o->index = STOP;
      return ERROR_NONE;
    }
    if (!may_take(w)) return ERROR_NONE;
    TRY(take_next(w, &index, &hopes));
    if (index >= 0) {
      o->index = index;
      snprintf(o->tuned_value, sizeof o->tuned_value, "%s", w->plan->runs[index].tuned_value);
      return ERROR_NONE;
    }
    if (!hopes || !w->request->waits) return ERROR_NONE;
    nanosleep(&pause, NULL);
  }
}

/* ---- one run ---- */

static int train_it(worker *w, const plan_run *entry) {
  config *conf = NULL;
  struct run *r;
  int code = comm_agree(w->comm, plan_compose(w->plan, entry, &conf));
  if (code) {
    config_destroy(conf);
    return code;
  }
  machine_forget_peak(); /* that of the run before is not this one's */
  TRY(run_create(w->comm, conf, 1, &r));
  if (leads(w)) run_observe(r, claim_progress, w->held);
  code = run_train(r);
  run_destroy(r);
  return comm_agree(w->comm, code);
}

/* Rank 0 writes down how it ended. */
static int note_end(const char *path, int code) {
  const error *e = error_last();
  char reason[ATTEMPTS_REASON_BYTES];
  if (!code) {
    attempts_clear(path);
    return ERROR_NONE;
  }
  int has_hint = *e->hint && code != ERROR_STOPPED && code != ERROR_DIVERGED; /* what to do stands in the status as well */
  snprintf(reason, sizeof reason, "%.300s%s%.180s%s", e->text, has_hint ? " (" : "", has_hint ? e->hint : "", has_hint ? ")" : "");
  return attempts_finish(path, code == ERROR_STOPPED ? ATTEMPT_STOPPED : code == ERROR_DIVERGED ? ATTEMPT_DIVERGED : ATTEMPT_FAILED, reason);
}

static void tell(const worker *w, plan_run *entry, int code, double seconds) {
  if (code == ERROR_STOPPED) {
    log_info("stopped  %s", entry->asked->label);
  } else if (code) {
    log_info("failed   %s: %s", entry->asked->label, error_last()->text);
  } else {
    plan_look_at(w->plan, entry);
    log_info("done     %s: validation %s %.4f  (%.1f s)", entry->asked->label, entry->outcome.metric, entry->outcome.validation, seconds);
  }
}

static int do_run(worker *w, const order *o) {
  plan_run *entry = &w->plan->runs[o->index];
  char path[PLAN_PATH_BYTES];
  double began = clock_wall_s();
  if (!leads(w)) { /* they do not look at the results: what rank 0 found, and a name that they will not use */
    entry->tuned_value = o->tuned_value;
    snprintf(entry->name, sizeof entry->name, "run");
  }
  int code = ERROR_NONE;
  if (leads(w)) {
    code = plan_path(w->plan, entry, path);
    if (!code) code = attempts_begin(path);
  }
  TRY(comm_agree(w->comm, code));
  log_setup(leads(w), LOG_QUIET); /* a run's own lines are for whoever watches a single one */
  code = train_it(w, entry);
  log_setup(leads(w), LOG_NORMAL);
  const error ended = *error_last();
  int noted = leads(w) ? note_end(path, code) : ERROR_NONE;
  if (code) error_restore(&ended);
  if (leads(w)) tell(w, entry, code, clock_wall_s() - began);
  if (leads(w)) {
    claim_release(w->held);
    w->held = NULL;
  }
  if (!leads(w)) entry->tuned_value = "";
  w->counts->done += code == ERROR_NONE;
  w->counts->failed += code != ERROR_NONE && code != ERROR_STOPPED;
  TRY(comm_agree(w->comm, noted)); /* results that cannot be written to: no use in going on */
  return code == ERROR_STOPPED ? code : ERROR_NONE;
}

static int loop(worker *w) {
  for (;;) {
    order o = {.index = NOTHING};
    int code = leads(w) ? decide(w, &o) : ERROR_NONE;
    if (code) o.index = TROUBLE;
    TRY(comm_broadcast(w->comm, COMM_CONTROL, 0, &o, sizeof o));
    if (o.index == TROUBLE) return comm_agree(w->comm, code);
    if (o.index == NOTHING) return ERROR_NONE;
    if (o.index == STOP) return FAIL(ERROR_STOPPED, "the same command goes on with what is left", "asked to stop between two runs");
    TRY(do_run(w, &o));
  }
}

/* The ranks must mean the same by the number of a run. */
static int compare_plans(worker *w) {
  const plan *p = w->plan;
  char text[HASH_TEXT_BYTES];
  hash *h;
  int same;
  TRY(comm_agree(w->comm, hash_create(&h)));
  for (int i = 0; i < p->count; i++) hash_add_text(h, p->runs[i].asked->label);
  hash_finish(h, text);
  TRY(comm_same_text(w->comm, text, &same));
  return same ? ERROR_NONE : FAIL(ERROR_INPUT, "give all nodes the same study and the same words", "the ranks read different studies");
}

static int prepare(worker *w) {
  char directory[PLAN_PATH_BYTES];
  TRY(plan_create(&w->request->plan, &w->plan));
  if (w->plan->study->action == STUDY_COUNT)
    return FAIL(ERROR_USAGE, "peftscale sweep run counts them", "%s: its runs are counts, there is nothing to train", w->plan->study->path);
  if (!leads(w)) return ERROR_NONE;
  TRY(text_format(directory, sizeof directory, "%s/runs", w->plan->results));
  return file_make_directory(directory);
}

int work(comm *c, const work_request *request, work_counts *counts) {
  worker w = {.comm = c, .request = request, .counts = counts, .began_s = clock_wall_s()};
  *counts = (work_counts){0};
  int code = comm_agree(c, prepare(&w));
  if (!code) code = compare_plans(&w);
  if (!code) code = comm_agree(c, stop_listen());
  if (!code) code = loop(&w);
  stop_end();
  claim_release(w.held);
  plan_destroy(w.plan);
  return code;
}
