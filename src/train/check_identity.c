/* What a run claims to be: identities against configuration and content hashes, theta and its segments, the schedule. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "train/check_private.h"
#include "train/identity.h"
#include "train/internal.h"

enum { MAX_STEPS = 10000000 }; /* no run has more (run.c): a damaged number must not keep us busy for hours */

/* The first line in which two canonical texts differ, of each; both may be at their end. */
static void first_difference(const char **a, const char **b) {
  for (;;) {
    size_t length = strcspn(*a, "\n");
    if (length != strcspn(*b, "\n") || strncmp(*a, *b, length) || !**a || !**b) return;
    *a += length + ((*a)[length] == '\n');
    *b += length + ((*b)[length] == '\n');
  }
}

static int check_config(check_run *r) {
  char *text;
  if (!r->config || !*r->canonical) return ERROR_NONE;
  TRY(config_canonical(r->config, &text));
  const char *a = text, *b = r->canonical;
  int code = ERROR_NONE;
  if (strcmp(a, b)) {
    first_difference(&a, &b);
    code = CHECK_REASON(r, "/config and /config_canonical differ: '%.*s' and '%.*s'", (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
  }
  free(text);
  return code;
}

static int check_ids(check_run *r) {
  const check_provenance *p = &r->provenance;
  char experiment_id[HASH_TEXT_BYTES], run_id[HASH_TEXT_BYTES], backend[IDENTITY_BACKEND_BYTES];
  if (!r->config || !*r->canonical || !*p->weights_hash || !*p->dataset_hash) return ERROR_NONE;
  const identity_parts parts = {.canonical = r->canonical,
                                .weights_hash = p->weights_hash,
                                .dataset_hash = p->dataset_hash,
                                .start_hash = p->start_hash,
                                .backend = *p->backend ? p->backend : identity_backend(r->config, backend), /* files of older versions do not say it */
                                .ranks = (int)p->ranks,
                                .threads = (int)p->threads,
                                .nodes = (int)p->nodes,
                                .config = r->config};
  TRY(identity_of(&parts, experiment_id, run_id));
  if (strcmp(experiment_id, r->experiment_id))
    return CHECK_REASON(r, "experiment_id is %.8s, but /config_canonical and the hashes of weights and data give %.8s", r->experiment_id, experiment_id);
  if (p->ranks < 0 || p->nodes < 0 || p->threads < 0 || !strcmp(run_id, r->run_id)) return ERROR_NONE;
  return CHECK_REASON(r, "run_id is %.8s, but experiment_id, ranks, threads, nodes and the execution keys give %.8s", r->run_id, run_id);
}

static int check_attempts(check_run *r) {
  const check_provenance *p = &r->provenance;
  if (r->config && p->threads > 0 && r->config->threads != p->threads)
    TRY(CHECK_REASON(r, "threads: %lld in /config, %lld in /provenance", (long long)r->config->threads, (long long)p->threads));
  if (r->attempt_count == 0) return r->attempts ? CHECK_REASON(r, "/attempts has no rows") : ERROR_NONE;
  const check_attempt *last = &r->attempts[r->attempt_count - 1];
  if (p->ranks > 0 && (last->ranks != p->ranks || last->threads != p->threads || last->nodes != p->nodes))
    TRY(CHECK_REASON(r, "/attempts says %lld ranks x %lld threads on %lld nodes, /provenance %lld x %lld on %lld", (long long)last->ranks,
                     (long long)last->threads, (long long)last->nodes, (long long)p->ranks, (long long)p->threads, (long long)p->nodes));
  return ERROR_NONE;
}

/* The segments lie in theta without gaps, in order. */
static int check_segments(check_run *r) {
  int64_t next = 0, head = 0;
  if (!r->segments) return ERROR_NONE;
  for (int64_t i = 0; i < r->segment_count; i++) {
    const check_segment *s = &r->segments[i];
    if (s->offset != next || s->rows < 1 || s->cols < 1 || s->rows > INT32_MAX || s->cols > INT32_MAX || next > INT64_MAX / 2)
      return CHECK_REASON(r, "/segments: '%s' (%lld x %lld from %lld on) does not follow on the one before it", s->name, (long long)s->rows, (long long)s->cols,
                          (long long)s->offset);
    next += s->rows * s->cols;
    if (!strcmp(s->counts_as, "head")) head += s->rows * s->cols;
  }
  const check_accounting *a = &r->accounting;
  if (a->trainable != CHECK_ABSENT && a->trainable_head != CHECK_ABSENT && (a->trainable != next || a->trainable_head != head))
    return CHECK_REASON(r, "/accounting says %lld numbers are trained, %lld of them the head's; /segments gives %lld and %lld", (long long)a->trainable,
                        (long long)a->trainable_head, (long long)next, (long long)head);
  return ERROR_NONE;
}

static int check_schedule(check_run *r) {
  char text[HASH_TEXT_BYTES];
  optim_segment *segments;
  if (!r->config || !r->segments || !*r->provenance.schedule_hash || r->config->train.steps < 1 || r->config->train.steps > MAX_STEPS) return ERROR_NONE;
  TRY(arena_take(r->memory, (size_t)r->segment_count, sizeof *segments, &segments));
  for (int64_t i = 0; i < r->segment_count; i++) segments[i] = (optim_segment){.rate = r->segments[i].lr, .decay = r->segments[i].decay};
  const optim_options options = schedule_options(r->config);
  TRY(optim_schedule_hash(&options, segments, (int)r->segment_count, text));
  if (!strcmp(text, r->provenance.schedule_hash)) return ERROR_NONE;
  return CHECK_REASON(r, "schedule_hash is %.8s, but /config and the rates and decays of /segments give %.8s", r->provenance.schedule_hash, text);
}

static int check_theta(check_run *r) {
  char text[HASH_TEXT_BYTES];
  if (!r->theta) return ERROR_NONE;
  if (r->accounting.trainable != CHECK_ABSENT && r->theta_count != r->accounting.trainable)
    return CHECK_REASON(r, "/theta has %lld numbers, of %lld that are trained", (long long)r->theta_count, (long long)r->accounting.trainable);
  for (int64_t i = 0; i < r->theta_count; i++)
    if (!isfinite(r->theta[i])) return CHECK_REASON(r, "/theta: number %lld is %g", (long long)i, (double)r->theta[i]);
  if (!*r->result.theta_hash) return ERROR_NONE;
  hash_bytes(r->theta, (size_t)r->theta_count * sizeof *r->theta, text);
  if (!strcmp(text, r->result.theta_hash)) return ERROR_NONE;
  return CHECK_REASON(r, "/theta's hash is %.8s, but theta_hash of /result %.8s", text, r->result.theta_hash);
}

int check_identity(check_run *r) {
  if (r->config && (r->config->train.steps < 1 || r->config->train.steps > MAX_STEPS))
    TRY(CHECK_REASON(r, "/config: train.steps is not a number of steps that a run can have"));
  TRY(check_config(r));
  TRY(check_ids(r));
  TRY(check_attempts(r));
  TRY(check_segments(r));
  TRY(check_schedule(r));
  return check_theta(r);
}
