/* What travels of a gradient: all but the numbers that every rank knows to be zero. A method knows some of its own (adapter_pack); of embeddings those rows
 * have a gradient that the step's batch reaches. */
#include <string.h>

#include "base/error.h"
#include "model/internal.h"

/* ---- the rows that a batch reaches ---- */

int message_plan(model *m) {
  const int index[REACHED] = {[REACHED_WORDS] = m->words, [REACHED_POSITIONS] = m->positions};
  for (int k = 0; k < REACHED; k++) {
    reached_rows *r = &m->reached[k];
    r->rows = r->count = m->params[index[k]].rows;
    if (r->segment < 0 || m->options.objective == MODEL_MLM) continue;
    TRY(arena_take(m->memory, (size_t)r->rows, sizeof *r->row, &r->row));
    TRY(arena_take(m->memory, (size_t)r->rows, 1, &r->seen));
    for (int i = 0; i < r->rows; i++) r->row[i] = i;
  }
  return ERROR_NONE;
}

int model_reaches(const model *m) { return m->reached[REACHED_WORDS].row || m->reached[REACHED_POSITIONS].row; }

void model_reach_begin(model *m) {
  for (int k = 0; k < REACHED; k++)
    if (m->reached[k].row) memset(m->reached[k].seen, 0, (size_t)m->reached[k].rows);
}

void model_reach(model *m, int length, const int32_t *token) {
  reached_rows *words = &m->reached[REACHED_WORDS], *positions = &m->reached[REACHED_POSITIONS];
  if (words->row)
    for (int i = 0; i < length; i++) words->seen[token[i]] = 1;
  if (positions->row) memset(positions->seen + m->shape.family->position_offset, 1, (size_t)length);
}

void model_reach_end(model *m) {
  for (int k = 0; k < REACHED; k++) {
    reached_rows *r = &m->reached[k];
    if (!r->row) continue;
    r->count = 0;
    for (int i = 0; i < r->rows; i++)
      if (r->seen[i]) r->row[r->count++] = i;
  }
}

/* The rows of a segment that are reached; NULL: it travels whole. */
static const reached_rows *rows_of(const model *m, int index) {
  for (int k = 0; k < REACHED; k++)
    if (m->reached[k].row && m->reached[k].segment == index) return &m->reached[k];
  return NULL;
}

/* ---- messages ---- */

int model_is_packed(const model *m) { return m->active || m->adapter->method->packed || model_reaches(m); }

static int64_t size_of(const segment *s) { return (int64_t)s->rows * s->cols; }

int64_t model_packed(const model *m, int index) {
  if (index >= m->adapter_segment) return adapter_packed(m->adapter, index - m->adapter_segment);
  const reached_rows *r = rows_of(m, index);
  return r ? (int64_t)r->count * m->segments[index].cols : size_of(&m->segments[index]);
}

int64_t model_packed_count(const model *m) {
  int64_t count = 0;
  for (int i = 0; i < m->segment_count; i++) count += model_packed(m, i);
  return count;
}

int64_t model_packs_in_place(const model *m) {
  if (!model_reaches(m) || m->segment_count > m->adapter_segment) return 0; /* an adapter may pack in any order */
  int first = m->segment_count;
  for (int k = 0; k < REACHED; k++)
    if (m->reached[k].row && m->reached[k].segment < first) first = m->reached[k].segment;
  return m->segments[first].offset;
}

/* Numbers move towards the front, in ascending order: in place nothing is overwritten that is still to be moved. */
static void pack_rows(const reached_rows *r, int cols, const real *grad, real *message) {
  for (int i = 0; i < r->count; i++) memmove(message + (int64_t)i * cols, grad + (int64_t)r->row[i] * cols, (size_t)cols * sizeof *grad);
}

/* And back in descending order. Zeros go behind row r->row[i - 1] of the gradient, where nothing of the message lies that is still to be moved. */
static void unpack_rows(const reached_rows *r, int cols, const real *message, real *grad) {
  int behind = r->rows; /* of the gradient's rows, from here on all are in place */
  for (int i = r->count; i >= 0; i--) {
    int from = i ? r->row[i - 1] + 1 : 0;
    memset(grad + (int64_t)from * cols, 0, (size_t)(behind - from) * (size_t)cols * sizeof *grad);
    if (i == 0) break;
    behind = from - 1;
    memmove(grad + (int64_t)behind * cols, message + (int64_t)(i - 1) * cols, (size_t)cols * sizeof *grad);
  }
}

void model_pack(const model *m, const real *grad, real *message) {
  int64_t at = 0;
  for (int i = 0; i < m->segment_count; i++) {
    const segment *s = &m->segments[i];
    const real *from = grad + s->offset;
    const reached_rows *r = rows_of(m, i);
    if (i >= m->adapter_segment) adapter_pack(m->adapter, i - m->adapter_segment, from, message + at);
    else if (r) pack_rows(r, s->cols, from, message + at);
    else if (message + at != from) memmove(message + at, from, (size_t)size_of(s) * sizeof *grad);
    at += model_packed(m, i);
  }
}

void model_unpack(const model *m, const real *message, real *grad) {
  int64_t at = model_packed_count(m);
  for (int i = m->segment_count - 1; i >= 0; i--) {
    const segment *s = &m->segments[i];
    real *to = grad + s->offset;
    const reached_rows *r = rows_of(m, i);
    at -= model_packed(m, i);
    if (i >= m->adapter_segment) adapter_unpack(m->adapter, i - m->adapter_segment, message + at, to);
    else if (r) unpack_rows(r, s->cols, message + at, to);
    else if (message + at != to) memmove(to, message + at, (size_t)size_of(s) * sizeof *grad);
  }
}
