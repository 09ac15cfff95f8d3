#include "optim/optim.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"

enum { PIECE = 1 << 15 }; /* numbers that one thread works on at a time: their gradient, value and moments stay in its cache */

struct optim {
  arena *memory;
  optim_options options;
  int threads;
  optim_segment *segments;
  int segment_count;
  int64_t theta_count;
  real *first, *second;
  int64_t *steps;
  double *squares; /* [pieces of the longest segment] */
};

static int64_t pieces_of(int64_t count) { return (count + PIECE - 1) / PIECE; }

static int fill(optim *o, const optim_segment *segments) {
  TRY(arena_take(o->memory, (size_t)o->segment_count, sizeof *o->segments, &o->segments));
  TRY(arena_take(o->memory, (size_t)o->segment_count, sizeof *o->steps, &o->steps));
  TRY(arena_take(o->memory, (size_t)o->theta_count, sizeof *o->first, &o->first));
  TRY(arena_take(o->memory, (size_t)o->theta_count, sizeof *o->second, &o->second));
  if (o->segment_count) memcpy(o->segments, segments, (size_t)o->segment_count * sizeof *segments);
  int64_t most = 0;
  for (int i = 0; i < o->segment_count; i++) most = segments[i].count > most ? segments[i].count : most;
  return arena_take(o->memory, (size_t)pieces_of(most), sizeof *o->squares, &o->squares);
}

int optim_create(const optim_options *options, const optim_segment *segments, int segment_count, int64_t theta_count, optim **result) {
  arena *memory;
  optim *o;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *o, &o);
  if (!code) {
    *o = (optim){.memory = memory,
                 .options = *options,
                 .threads = options->threads > 1 ? options->threads : 1,
                 .segment_count = segment_count,
                 .theta_count = theta_count};
    code = fill(o, segments);
  }
  if (code) arena_destroy(memory);
  else *result = o;
  return code;
}

void optim_destroy(optim *o) {
  if (o) arena_destroy(o->memory);
}

double optim_share(const optim_options *options, int64_t step) {
  if (step < options->warmup) return (double)step / (double)options->warmup;
  if (options->schedule == OPTIM_CONSTANT || options->steps <= options->warmup) return 1;
  double done = (double)(step - options->warmup) / (double)(options->steps - options->warmup);
  if (done > 1) done = 1;
  return options->schedule == OPTIM_LINEAR ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
}

int optim_schedule_hash(const optim_options *options, const optim_segment *segments, int segment_count, char text[HASH_TEXT_BYTES]) {
  hash *h;
  TRY(hash_create(&h));
  hash_add(h, &options->steps, sizeof options->steps); /* where the shares end and the segments begin */
  for (int64_t step = 0; step < options->steps; step++) {
    double share = optim_share(options, step);
    hash_add(h, &share, sizeof share);
  }
  for (int i = 0; i < segment_count; i++) {
    hash_add(h, &segments[i].rate, sizeof segments[i].rate);
    hash_add(h, &segments[i].decay, sizeof segments[i].decay);
  }
  hash_finish(h, text);
  return ERROR_NONE;
}

/* What a step's numbers are multiplied by. */
typedef struct factors {
  real b1, b2, c1, c2, gradient, first, second, step, keep, epsilon;
} factors;

static void update_piece(const factors *f, int64_t count, const real *g, real *m, real *v, real *value) {
  const real b1 = f->b1, b2 = f->b2, c1 = f->c1, c2 = f->c2, gradient = f->gradient, first = f->first, second = f->second, step = f->step, keep = f->keep,
             epsilon = f->epsilon;
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    real d = g[i] * gradient;
    m[i] = b1 * m[i] + c1 * d;
    v[i] = b2 * v[i] + c2 * d * d;
#ifdef PEFTSCALE_DOUBLE
    real root = sqrt(v[i] * second);
#else
    real root = sqrtf(v[i] * second);
#endif
    value[i] = keep * value[i] - step * (m[i] * first) / (root + epsilon);
  }
}

static int64_t piece_count(const optim_segment *s, int64_t piece) { return s->count - piece * PIECE < PIECE ? s->count - piece * PIECE : PIECE; }

static void update(optim *o, int index, double rate, double scale, real *theta, const real *grad) {
  const optim_segment *s = &o->segments[index];
  const optim_options *p = &o->options;
  int64_t t = ++o->steps[index], pieces = pieces_of(s->count);
  const factors f = {.b1 = (real)p->beta1,
                     .b2 = (real)p->beta2,
                     .c1 = (real)(1 - p->beta1),
                     .c2 = (real)(1 - p->beta2),
                     .gradient = (real)scale,
                     .first = (real)(1 / (1 - pow(p->beta1, (double)t))),
                     .second = (real)(1 / (1 - pow(p->beta2, (double)t))),
                     .step = (real)rate,
                     .keep = (real)(1 - rate * s->decay),
                     .epsilon = (real)p->epsilon};
#pragma omp parallel for num_threads(o->threads) schedule(static) if (pieces > 1 && o->threads > 1)
  for (int64_t i = 0; i < pieces; i++) {
    int64_t at = s->offset + i * PIECE;
    update_piece(&f, piece_count(s, i), grad + at, o->first + at, o->second + at, theta + at);
  }
}

static double square_sum(const real *g, int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; j++) sum += (double)g[j] * (double)g[j];
  return sum;
}

/* Piece by piece, and these in order: the same for any number of threads. */
static double gradient_norm(const optim *o, const real *grad, double scale, const uint8_t *active) {
  double squares = 0;
  for (int i = 0; i < o->segment_count; i++) {
    const optim_segment *s = &o->segments[i];
    int64_t pieces = pieces_of(s->count);
    if (active && !active[i]) continue;
#pragma omp parallel for num_threads(o->threads) schedule(static) if (pieces > 1 && o->threads > 1)
    for (int64_t k = 0; k < pieces; k++) o->squares[k] = square_sum(grad + s->offset + k * PIECE, piece_count(s, k));
    for (int64_t k = 0; k < pieces; k++) squares += o->squares[k];
  }
  return sqrt(squares) * scale;
}

double optim_step(optim *o, int64_t step, real *theta, const real *grad, double scale, const uint8_t *active) {
  double norm = gradient_norm(o, grad, scale, active), share = optim_share(&o->options, step);
  if (!isfinite(norm)) return norm;
  if (o->options.clip > 0 && norm > o->options.clip) scale *= o->options.clip / norm;
  for (int i = 0; i < o->segment_count; i++)
    if (!active || active[i]) update(o, i, share * o->segments[i].rate, scale, theta, grad);
  return norm;
}

real *optim_first_moment(optim *o) { return o->first; }
real *optim_second_moment(optim *o) { return o->second; }
int64_t *optim_step_counts(optim *o) { return o->steps; }
