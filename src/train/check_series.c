/* The steps: all of them there, in order, finite, at the scheduled rate, with the hashes that the settings ask for. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "train/check_private.h"
#include "train/internal.h"

int check_say(check_run *r, const check_finding *f) {
  if (!f->count) return ERROR_NONE;
  if (f->count == 1) return CHECK_REASON(r, "%s", f->text);
  return CHECK_REASON(r, "%s; and %lld more such steps", f->text, (long long)f->count - 1);
}

/* ---- one row per step ---- */

static int by_step(const void *x, const void *y) {
  const check_step *a = x, *b = y;
  if (a->step != b->step) return a->step < b->step ? -1 : 1;
  return (a->attempt > b->attempt) - (a->attempt < b->attempt);
}

/* Rows that were never written whole (a finished file has none), and of steps that there cannot be, are left out. */
static int drop_impossible(check_run *r) {
  int64_t kept = 0, unwritten = 0, last = r->config ? r->config->train.steps : INT32_MAX;
  check_finding beyond = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    int is_whole = s->attempt > 0, is_possible = s->step >= 1 && s->step <= last;
    unwritten += !is_whole;
    if (is_whole && !is_possible) FIND(beyond, "/series/steps: step %lld is none of the %lld steps of this run", (long long)s->step, (long long)last);
    if (is_whole && is_possible) r->steps[kept++] = *s;
  }
  r->step_count = kept;
  if (unwritten && r->is_complete) TRY(CHECK_REASON(r, "/series/steps: %lld rows were never written whole", (long long)unwritten));
  return check_say(r, &beyond);
}

/* As they were written: within an attempt step after step, each attempt behind the one before. */
static int check_row_order(check_run *r) {
  check_finding f = {.count = 0};
  for (int64_t i = 1; i < r->step_count; i++) {
    const check_step *before = &r->steps[i - 1], *s = &r->steps[i];
    if (s->attempt < before->attempt || (s->attempt == before->attempt && s->step < before->step))
      FIND(f, "/series/steps: step %lld of attempt %lld stands behind step %lld of attempt %lld", (long long)s->step, (long long)s->attempt,
           (long long)before->step, (long long)before->attempt);
  }
  return check_say(r, &f);
}

static int keep_last_attempts(check_run *r) {
  check_finding twice = {.count = 0};
  int64_t kept = 0;
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    if (kept && r->steps[kept - 1].step == s->step) {
      if (r->steps[kept - 1].attempt == s->attempt)
        FIND(twice, "/series/steps: step %lld is there twice in attempt %lld", (long long)s->step, (long long)s->attempt);
      r->steps[kept - 1] = *s;
    } else {
      r->steps[kept++] = *s;
    }
  }
  r->step_count = kept;
  return check_say(r, &twice);
}

/* Up to the last step of a finished run, else up to the last one that was written. */
static int check_gaps(check_run *r) {
  check_finding missing = {.count = 0};
  int64_t next = 1, last = r->is_complete && r->config ? r->config->train.steps : 0;
  for (int64_t i = 0; i <= r->step_count; i++) {
    int64_t step = i < r->step_count ? r->steps[i].step : last + 1;
    if (step > next) {
      FIND(missing, "/series/steps: step %lld is missing", (long long)next);
      missing.count += step - next - 1;
    }
    next = step + 1;
  }
  return check_say(r, &missing);
}

static const check_attempt *find_attempt(const check_run *r, int64_t number) {
  for (int64_t i = 0; i < r->attempt_count; i++)
    if (r->attempts[i].attempt == number) return &r->attempts[i];
  return NULL;
}

/* An attempt made the steps behind the one at which it went on, and the next attempt goes on no further than that. */
static int check_attempts_of_steps(check_run *r) {
  check_finding wrong = {.count = 0};
  int64_t last = 1;
  if (!r->attempts) return ERROR_NONE;
  for (int64_t i = 0; i < r->attempt_count; i++)
    if (r->attempts[i].attempt != i + 1 || r->attempts[i].first_step < 0)
      return CHECK_REASON(r, "/attempts: row %lld is of attempt %lld, from step %lld on", (long long)i, (long long)r->attempts[i].attempt,
                          (long long)r->attempts[i].first_step);
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    const check_attempt *a = find_attempt(r, s->attempt);
    if (!a || s->step <= a->first_step || s->attempt < last)
      FIND(wrong, "/series/steps: step %lld says that attempt %lld made it, which %s", (long long)s->step, (long long)s->attempt,
           a ? "/attempts and the steps before rule out" : "is not in /attempts");
    last = s->attempt;
  }
  return check_say(r, &wrong);
}

/* ---- what each row says ---- */

static int check_numbers(check_run *r) {
  check_finding loss = {.count = 0}, norm = {.count = 0}, rate = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    if (!isfinite(s->loss)) FIND(loss, "step %lld: the loss is %g", (long long)s->step, s->loss);
    if (!isfinite(s->grad_norm) || s->grad_norm < 0) FIND(norm, "step %lld: the gradient's norm is %g", (long long)s->step, s->grad_norm);
    if (!r->config || r->config->train.steps < 1) continue;
    const optim_options options = schedule_options(r->config);
    double lr = optim_share(&options, s->step - 1) * r->config->train.lr;
    if (!(fabs(s->lr - lr) <= 1e-12 * fabs(lr))) FIND(rate, "step %lld: the learning rate is %.9g, by the schedule it is %.9g", (long long)s->step, s->lr, lr);
  }
  TRY(check_say(r, &loss));
  TRY(check_say(r, &norm));
  return check_say(r, &rate);
}

/* float sums leave a hash at every comparison of ranks, exact ones after every step; 0: not taken. */
static int check_hashes(check_run *r) {
  check_finding missing = {.count = 0}, surplus = {.count = 0};
  if (!r->config || !r->has_hashes) return ERROR_NONE;
  int64_t every = r->config->check_every;
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    int is_due = check_is_exact(r) || (every > 0 && (s->step % every == 0 || s->step == r->config->train.steps));
    if (is_due && !s->theta_hash)
      FIND(missing, "step %lld has no theta_hash, which %s", (long long)s->step,
           check_is_exact(r) ? "reduce=exact takes in every step" : "check_every asks for");
    if (!is_due && s->theta_hash) FIND(surplus, "step %lld has a theta_hash, which check_every does not ask for", (long long)s->step);
    if (r->theta && s->step == r->result.best_step && s->theta_hash) {
      int64_t digest = hash_number(r->theta, (size_t)r->theta_count * sizeof *r->theta);
      if (digest != s->theta_hash)
        TRY(CHECK_REASON(r, "step %lld, whose theta is kept: theta_hash is %016" PRIx64 ", but /theta gives %016" PRIx64, (long long)s->step,
                         (uint64_t)s->theta_hash, (uint64_t)digest));
    }
  }
  TRY(check_say(r, &missing));
  return check_say(r, &surplus);
}

/* ---- sums over the steps ---- */

static int check_sum(check_run *r, const char *name, double sum, double stored, double tolerance) {
  if (isnan(stored) || fabs(stored - sum) <= tolerance * fabs(sum)) return ERROR_NONE;
  return CHECK_REASON(r, "/result: %s is %.12g, but the steps sum up to %.12g", name, stored, sum);
}

static double number(int64_t value) { return value == CHECK_ABSENT ? NAN : (double)value; }

/* What was counted as the steps were made, in however many attempts. */
static int check_totals(check_run *r) {
  double tokens = 0, payload = 0, step_s = 0, communication_s = 0;
  if (!r->is_complete || !r->steps) return ERROR_NONE;
  for (int64_t i = 0; i < r->step_count; i++) {
    tokens += (double)r->steps[i].tokens;
    payload += (double)r->steps[i].payload_bytes;
    step_s += r->steps[i].step_s;
    communication_s += r->steps[i].communication_s;
  }
  TRY(check_sum(r, "steps", (double)r->step_count, number(r->result.steps), 0));
  TRY(check_sum(r, "tokens", tokens, number(r->result.tokens), 0));
  TRY(check_sum(r, "gradient_payload_bytes", payload, number(r->result.gradient_payload_bytes), 0));
  TRY(check_sum(r, "step_s", step_s, r->result.step_s, 1e-9));
  return check_sum(r, "communication_s", communication_s, r->result.communication_s, 1e-9);
}

int check_series(check_run *r) {
  TRY(drop_impossible(r));
  TRY(check_row_order(r));
  if (r->step_count) qsort(r->steps, (size_t)r->step_count, sizeof *r->steps, by_step);
  TRY(keep_last_attempts(r));
  if (r->steps) TRY(check_gaps(r));
  TRY(check_attempts_of_steps(r));
  TRY(check_numbers(r));
  TRY(check_hashes(r));
  TRY(check_payload(r));
  return check_totals(r);
}
