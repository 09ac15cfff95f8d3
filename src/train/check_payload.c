/* What the ranks gave to the sums: to the byte what follows from the numbers and examples that each step's row names, and these from the settings. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "method/method.h"
#include "train/check_private.h"
#include "train/payload.h"

enum { FEWEST_FOR_MEAN = 8, DEVIATIONS = 6 };

/* How the method's numbers that travel come about: the same ones in every step, a sub-network drawn for it, or what its batch reaches. */
typedef enum sending { SENDS_ALWAYS, SENDS_DRAWN, SENDS_REACHED } sending;

static int64_t method_numbers(const check_run *r) { return r->accounting.trainable - r->accounting.trainable_head; }

static sending sending_of(const check_run *r) {
  const method *m;
  if (r->config->payload == PAYLOAD_DENSE || r->accounting.sent_floats == method_numbers(r) || method_find(r->config->method.name, &m)) return SENDS_ALWAYS;
  return m->choose ? SENDS_DRAWN : m->flags & METHOD_TRAINS_BASE ? SENDS_REACHED : SENDS_ALWAYS;
}

static int has_factors(const check_run *r) { return r->config->head_reduce == HEAD_REDUCE_FACTORS; }

/* Bytes of a step's sum with so many of the method's numbers. */
static int64_t sum_bytes(const check_run *r, int64_t numbers) {
  return payload_of(check_is_exact(r), numbers + (has_factors(r) ? 0 : r->accounting.head_floats), r->segment_count).bytes;
}

/* Bytes of the rows of one example, where the head goes as factors: of each of its linear maps, what comes in and what goes out. 0: there is no such head. */
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

static int check_bytes(check_run *r, int64_t row) {
  check_finding wrong = {.count = 0}, impossible = {.count = 0};
  int64_t ranks = r->provenance.ranks;
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    if (s->sent_floats < 0 || s->sent_floats > method_numbers(r) || s->own_examples < 0 || s->own_examples > s->examples) {
      FIND(impossible, "step %lld: sent_floats is %lld and own_examples %lld, where the method has %lld numbers and the step %lld examples", (long long)s->step,
           (long long)s->sent_floats, (long long)s->own_examples, (long long)method_numbers(r), (long long)s->examples);
      continue;
    }
    int64_t bytes = ranks == 1 ? 0 : sum_bytes(r, s->sent_floats) + (has_factors(r) ? row * s->own_examples : 0);
    if (s->payload_bytes != bytes)
      FIND(wrong, "step %lld: payload_bytes is %lld, by the accounting it is %lld", (long long)s->step, (long long)s->payload_bytes, (long long)bytes);
  }
  TRY(check_say(r, &impossible));
  return check_say(r, &wrong);
}

/* The method's numbers against those of the accounting, which holds their mean where they vary. */
static int check_numbers_sent(check_run *r) {
  int64_t given = r->accounting.sent_floats;
  sending how = sending_of(r);
  double n = (double)r->step_count, sum = 0, squares = 0, room = 1;
  check_finding f = {.count = 0};
  for (int64_t i = 0; i < r->step_count; i++) {
    const check_step *s = &r->steps[i];
    if (how == SENDS_ALWAYS && s->sent_floats != given)
      FIND(f, "step %lld: sent_floats is %lld, by the accounting it is %lld", (long long)s->step, (long long)s->sent_floats, (long long)given);
    sum += (double)s->sent_floats;
  }
  if (how == SENDS_ALWAYS) return check_say(r, &f);
  if (how == SENDS_DRAWN ? n < FEWEST_FOR_MEAN : !r->is_complete || n == 0) return ERROR_NONE;
  for (int64_t i = 0; i < r->step_count; i++) squares += pow((double)r->steps[i].sent_floats - sum / n, 2);
  if (how == SENDS_DRAWN) room += DEVIATIONS * sqrt(squares / (n - 1) / n);
  if (fabs(sum / n - (double)given) <= room) return ERROR_NONE;
  return CHECK_REASON(r, "sent_floats: the mean over %lld steps is %.1f, by the accounting %lld (give or take %.0f)", (long long)r->step_count, sum / n,
                      (long long)given, room);
}

static int check_head_rows(check_run *r, int64_t row) {
  double examples = 0;
  int64_t given = r->accounting.head_bytes_factors;
  if (row == 0 || given == CHECK_ABSENT) return CHECK_REASON(r, "the head went as factors, but its segments or /accounting: head_bytes_factors are missing");
  for (int64_t i = 0; i < r->step_count; i++) examples += (double)r->steps[i].examples;
  double mean = examples / (double)r->step_count / (double)r->provenance.ranks * (double)row;
  if (!r->is_complete || r->step_count == 0 || fabs((double)given - mean) <= 1) return ERROR_NONE;
  return CHECK_REASON(r, "/accounting: head_bytes_factors is %lld, but the steps' examples make %.0f", (long long)given, mean);
}

/* sent_bytes_per_step from the other figures of the accounting. */
static int check_accounting_bytes(check_run *r) {
  const check_accounting *a = &r->accounting;
  int64_t sum = sum_bytes(r, a->sent_floats);
  if (!has_factors(r) && a->sent_bytes_per_step != sum)
    return CHECK_REASON(r, "/accounting: sent_bytes_per_step is %lld, but %lld + %lld + %lld numbers make %lld bytes", (long long)a->sent_bytes_per_step,
                        (long long)a->sent_floats, (long long)a->head_floats, (long long)a->tail_floats, (long long)sum);
  if (has_factors(r) && a->head_bytes_factors != CHECK_ABSENT && (double)a->sent_bytes_per_step != (double)sum + (double)a->head_bytes_factors)
    return CHECK_REASON(r, "/accounting: sent_bytes_per_step is %lld, but the sum's %lld and head_bytes_factors %lld make it",
                        (long long)a->sent_bytes_per_step, (long long)sum, (long long)a->head_bytes_factors);
  return ERROR_NONE;
}

int check_payload(check_run *r) {
  const check_accounting *a = &r->accounting;
  if (!r->config || !r->segments || r->provenance.ranks < 1) return ERROR_NONE;
  const int64_t parts[] = {a->trainable, a->trainable_head, a->sent_floats, a->head_floats, a->tail_floats, a->sent_bytes_per_step};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (parts[i] == CHECK_ABSENT) return ERROR_NONE;
    if (parts[i] < 0 || parts[i] > INT64_MAX / 64) return CHECK_REASON(r, "/accounting holds an impossible number: %lld", (long long)parts[i]);
  }
  if (a->tail_floats != TAIL_FLOATS) return CHECK_REASON(r, "/accounting: tail_floats is %lld, not %d", (long long)a->tail_floats, TAIL_FLOATS);
  int64_t row = has_factors(r) ? row_bytes(r) : 0;
  TRY(check_accounting_bytes(r));
  if (has_factors(r)) TRY(check_head_rows(r, row));
  if (!r->has_counts) { /* an older file does not say what each step's bytes follow from */
    if (sending_of(r) != SENDS_ALWAYS) return ERROR_NONE;
    for (int64_t i = 0; i < r->step_count; i++) r->steps[i].sent_floats = a->sent_floats;
  }
  TRY(check_numbers_sent(r));
  return check_bytes(r, row);
}
