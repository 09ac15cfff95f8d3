/* The steps: all of them there, in order, finite, at the scheduled rate, with the payload and the hashes that the settings ask for. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "method/method.h"
#include "train/check_private.h"
#include "train/internal.h"

enum { FEWEST_FOR_MEAN = 8, DEVIATIONS = 6 };

/* Rows that break one rule: the first is described, the others are counted. */
typedef struct finding {
  char text[400];
  int64_t count;
} finding;

static int report(check_run *r, const finding *f) {
  if (!f->count) return ERROR_NONE;
  if (f->count == 1) return CHECK_REASON(r, "%s", f->text);
  return CHECK_REASON(r, "%s; and %lld more such steps", f->text, (long long)f->count - 1);
}

#define FIND(finding, ...)                                                               \
  do {                                                                                   \
    if (!(finding).count++) snprintf((finding).text, sizeof(finding).text, __VA_ARGS__); \
  } while (0)

/* ---- one row per step ---- */

static int by_step(const void *x, const void *y) {
  const check_step *a = x, *b = y;
  if (a->step != b->step) return a->step < b->step ? -1 : 1;
  return (a->attempt > b->attempt) - (a->attempt < b->attempt);
}

/* Rows that were never written whole (a finished file has none), and of steps that there cannot be, are left out. */
static int drop_impossible(check_run *r) {
  int64_t kept = 0, unwritten = 0, last = r->config ? r->config->train.steps : INT32_MAX;
  finding beyond = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    int is_whole = s->attempt > 0, is_possible = s->step >= 1 && s->step <= last;
    unwritten += !is_whole;
    if (is_whole && !is_possible) FIND(beyond, "/series/steps: step %lld is none of the %lld steps of this run", (long long)s->step, (long long)last);
    if (is_whole && is_possible) r->steps[kept++] = *s;
  }
  r->step_count = kept;
  if (unwritten && r->is_complete) TRY(CHECK_REASON(r, "/series/steps: %lld rows were never written whole", (long long)unwritten));
  return report(r, &beyond);
}

/* As they were written: within an attempt step after step, each attempt behind the one before. */
static int check_row_order(check_run *r) {
  finding f = {.count = 0};
  for (int64_t i = 1; i < r->step_count; i++) {
    const check_step *before = &r->steps[i - 1], *s = &r->steps[i];
    if (s->attempt < before->attempt || (s->attempt == before->attempt && s->step < before->step))
      FIND(f, "/series/steps: step %lld of attempt %lld stands behind step %lld of attempt %lld", (long long)s->step, (long long)s->attempt,
           (long long)before->step, (long long)before->attempt);
  }
  return report(r, &f);
}

static int keep_last_attempts(check_run *r) {
  finding twice = {.count = 0};
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
  return report(r, &twice);
}

/* Up to the last step of a finished run, else up to the last one that was written. */
static int check_gaps(check_run *r) {
  finding missing = {.count = 0};
  int64_t next = 1, last = r->is_complete && r->config ? r->config->train.steps : 0;
  for (int64_t i = 0; i <= r->step_count; i++) {
    int64_t step = i < r->step_count ? r->steps[i].step : last + 1;
    if (step > next) {
      FIND(missing, "/series/steps: step %lld is missing", (long long)next);
      missing.count += step - next - 1;
    }
    next = step + 1;
  }
  return report(r, &missing);
}

/* ---- what each row says ---- */

static int check_numbers(check_run *r) {
  finding loss = {.count = 0}, norm = {.count = 0}, rate = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    if (!isfinite(s->loss)) FIND(loss, "step %lld: the loss is %g", (long long)s->step, s->loss);
    if (!isfinite(s->grad_norm) || s->grad_norm < 0) FIND(norm, "step %lld: the gradient's norm is %g", (long long)s->step, s->grad_norm);
    if (!r->config || r->config->train.steps < 1) continue;
    const optim_options options = schedule_options(r->config);
    double lr = optim_share(&options, s->step - 1) * r->config->train.lr;
    if (!(fabs(s->lr - lr) <= 1e-12 * fabs(lr))) FIND(rate, "step %lld: the learning rate is %.9g, by the schedule it is %.9g", (long long)s->step, s->lr, lr);
  }
  TRY(report(r, &loss));
  TRY(report(r, &norm));
  return report(r, &rate);
}

/* float sums leave a hash at every comparison of ranks, exact ones after every step; 0: not taken. */
static int check_hashes(check_run *r) {
  finding missing = {.count = 0}, surplus = {.count = 0};
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
  TRY(report(r, &missing));
  return report(r, &surplus);
}

/* ---- payload ---- */

static int has_factors(const check_run *r) { return r->config->head_reduce == HEAD_REDUCE_FACTORS; }

/* Bytes of a step's sum with so many of the method's numbers (run.c, measure_message). */
static int64_t message_bytes(const check_run *r, int64_t numbers) {
  const check_accounting *a = &r->accounting;
  int64_t head = has_factors(r) ? 0 : a->head_floats;
  if (check_is_exact(r)) return 8 * (numbers + head + a->tail_floats - 1) + r->segment_count + 2;
  return 4 * (numbers + head + a->tail_floats);
}

/* Whether what travels is another part of theta in each step; then the accounting holds the mean. A sub-network is drawn, so that its mean is one to be
 * expected; the rows of trained embeddings that a batch reaches are known, and their mean is that of the run's steps. */
typedef enum payload_kind { PAYLOAD_FIXED, PAYLOAD_DRAWN, PAYLOAD_REACHED } payload_kind;

static payload_kind payload_kind_of(const check_run *r) {
  const method *m;
  const check_accounting *a = &r->accounting;
  if (r->config->payload == PAYLOAD_DENSE || a->sent_floats == a->trainable - a->trainable_head || method_find(r->config->method.name, &m))
    return PAYLOAD_FIXED;
  return m->choose ? PAYLOAD_DRAWN : m->flags & METHOD_TRAINS_BASE ? PAYLOAD_REACHED : PAYLOAD_FIXED;
}

static int check_fixed_payload(check_run *r, int64_t bytes) {
  finding f = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++)
    if (r->steps[i].payload_bytes != bytes)
      FIND(f, "step %lld: payload_bytes is %lld, by the accounting it is %lld", (long long)r->steps[i].step, (long long)r->steps[i].payload_bytes,
           (long long)bytes);
  return report(r, &f);
}

/* Each step between nothing and all of the method's numbers, and the mean where it may be. */
static int check_varying_payload(check_run *r, payload_kind kind, int64_t mean) {
  const check_accounting *a = &r->accounting;
  int64_t least = message_bytes(r, 0), most = message_bytes(r, a->trainable - a->trainable_head), unit = check_is_exact(r) ? 8 : 4;
  double n = (double)r->step_count, sum = 0, squares = 0;
  finding f = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++) {
    int64_t bytes = r->steps[i].payload_bytes;
    if (bytes < least || bytes > most || (bytes - least) % unit)
      FIND(f, "step %lld: payload_bytes is %lld; a part of theta takes %lld to %lld, in steps of %lld", (long long)r->steps[i].step, (long long)bytes,
           (long long)least, (long long)most, (long long)unit);
    sum += (double)bytes;
  }
  TRY(report(r, &f));
  if (kind == PAYLOAD_DRAWN ? n < FEWEST_FOR_MEAN : n < 1 || !r->is_complete) return ERROR_NONE;
  for (int64_t i = 0; i < r->step_count; i++) squares += pow((double)r->steps[i].payload_bytes - sum / n, 2);
  double room = (kind == PAYLOAD_DRAWN ? DEVIATIONS * sqrt(squares / (n - 1) / n) : 0) + (double)unit;
  if (fabs(sum / n - (double)mean) <= room) return ERROR_NONE;
  return CHECK_REASON(r, "payload_bytes: the mean over %lld steps is %.0f, by the accounting %lld (give or take %.0f)", (long long)r->step_count, sum / n,
                      (long long)mean, room);
}

/* Bytes of the rows of one example, where the head goes as factors: of each of its linear maps, what comes in and what goes out. */
static int64_t row_bytes(const check_run *r) {
  enum { MOST = 1 << 30 };
  int64_t floats = 0;
  for (int64_t i = 0; i < r->segment_count; i++) {
    const check_segment *s = &r->segments[i];
    const char *last = strrchr(s->name, '.');
    if (strcmp(s->counts_as, "head") || !last || strcmp(last, ".weight")) continue;
    if (s->rows < 1 || s->cols < 1 || s->rows > MOST || s->cols > MOST || floats > MOST) return 0;
    floats += s->rows + s->cols;
  }
  return 4 * floats;
}

/* The head as factors: beside the sum (`least` bytes; of a part of theta up to `most`) rank 0's own examples, which are at most those of the step. */
static int check_factors(check_run *r, int64_t least, int64_t most) {
  int64_t row = row_bytes(r), given = r->accounting.head_bytes_factors, unit = most > least ? 4 : row;
  double examples = 0;
  finding f = {.count = 0};
  if (row == 0 || given == CHECK_ABSENT) return CHECK_REASON(r, "the head went as factors, but its segments or /accounting: head_bytes_factors are missing");
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    double rows = (double)s->payload_bytes - (double)least, room = r->provenance.ranks > 1 ? (double)(most - least) + (double)s->examples * (double)row : 0;
    examples += (double)s->examples;
    if (r->provenance.ranks == 1 ? s->payload_bytes != 0 : rows < 0 || rows > room || (s->payload_bytes - least) % unit)
      FIND(f, "step %lld: payload_bytes is %lld, which no sum of %lld bytes and rows of %lld make", (long long)s->step, (long long)s->payload_bytes,
           (long long)least, (long long)row);
  }
  TRY(report(r, &f));
  double mean = examples / (double)r->step_count / (double)r->provenance.ranks * (double)row;
  if (!r->is_complete || r->step_count == 0 || fabs((double)given - mean) <= 1) return ERROR_NONE;
  return CHECK_REASON(r, "/accounting: head_bytes_factors is %lld, but the steps' examples make %.0f", (long long)given, mean);
}

static int check_payload(check_run *r) {
  const check_accounting *a = &r->accounting;
  if (!r->config || !r->segments || r->provenance.ranks < 1) return ERROR_NONE;
  const int64_t parts[] = {a->trainable, a->trainable_head, a->sent_floats, a->head_floats, a->tail_floats, a->sent_bytes_per_step};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (parts[i] == CHECK_ABSENT) return ERROR_NONE;
    if (parts[i] < 0 || parts[i] > INT64_MAX / 64) return CHECK_REASON(r, "/accounting holds an impossible number: %lld", (long long)parts[i]);
  }
  int64_t bytes = message_bytes(r, a->sent_floats);
  if (has_factors(r) && a->head_bytes_factors != CHECK_ABSENT && (double)a->sent_bytes_per_step != (double)bytes + (double)a->head_bytes_factors)
    return CHECK_REASON(r, "/accounting: sent_bytes_per_step is %lld, but the sum's %lld and head_bytes_factors %lld make it",
                        (long long)a->sent_bytes_per_step, (long long)bytes, (long long)a->head_bytes_factors);
  payload_kind kind = payload_kind_of(r);
  if (has_factors(r))
    return check_factors(r, message_bytes(r, kind ? 0 : a->sent_floats), message_bytes(r, kind ? a->trainable - a->trainable_head : a->sent_floats));
  if (a->sent_bytes_per_step != bytes)
    return CHECK_REASON(r, "/accounting: sent_bytes_per_step is %lld, but %lld + %lld + %lld numbers make %lld bytes", (long long)a->sent_bytes_per_step,
                        (long long)a->sent_floats, (long long)a->head_floats, (long long)a->tail_floats, (long long)bytes);
  if (r->provenance.ranks == 1) return check_fixed_payload(r, 0);
  return kind ? check_varying_payload(r, kind, bytes) : check_fixed_payload(r, bytes);
}

/* ---- sums over the steps ---- */

static int check_sum(check_run *r, const char *name, double sum, double stored, double tolerance) {
  if (isnan(stored) || fabs(stored - sum) <= tolerance * fabs(sum)) return ERROR_NONE;
  return CHECK_REASON(r, "/result: %s is %.12g, but the steps sum up to %.12g", name, stored, sum);
}

static double number(int64_t value) { return value == CHECK_ABSENT ? NAN : (double)value; }

/* What the process counted; a run that was taken up again counted only its last part. */
static int check_totals(check_run *r) {
  double tokens = 0, payload = 0, step_s = 0, communication_s = 0;
  if (!r->is_complete || !r->steps || r->attempt_count > 1) return ERROR_NONE;
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
  TRY(check_numbers(r));
  TRY(check_hashes(r));
  TRY(check_payload(r));
  return check_totals(r);
}
