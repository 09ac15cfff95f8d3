#include "optim/optim.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"

struct optim {
  arena *memory;
  optim_options options;
  optim_segment *segments;
  int segment_count;
  int64_t theta_count;
  real *first, *second;
  int64_t *steps;
};

static int fill(optim *o, const optim_segment *segments) {
  TRY(arena_take(o->memory, (size_t)o->segment_count, sizeof *o->segments, &o->segments));
  TRY(arena_take(o->memory, (size_t)o->segment_count, sizeof *o->steps, &o->steps));
  TRY(arena_take(o->memory, (size_t)o->theta_count, sizeof *o->first, &o->first));
  TRY(arena_take(o->memory, (size_t)o->theta_count, sizeof *o->second, &o->second));
  if (o->segment_count) memcpy(o->segments, segments, (size_t)o->segment_count * sizeof *segments);
  return ERROR_NONE;
}

int optim_create(const optim_options *options, const optim_segment *segments, int segment_count, int64_t theta_count, optim **result) {
  arena *memory;
  optim *o;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *o, &o);
  if (!code) {
    *o = (optim){.memory = memory, .options = *options, .segment_count = segment_count, .theta_count = theta_count};
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

static void update(optim *o, int index, double rate, double scale, real *theta, const real *grad) {
  const optim_segment *s = &o->segments[index];
  const optim_options *p = &o->options;
  int64_t t = ++o->steps[index];
  const real b1 = (real)p->beta1, b2 = (real)p->beta2, c1 = (real)(1 - p->beta1), c2 = (real)(1 - p->beta2), g_scale = (real)scale, epsilon = (real)p->epsilon;
  const real first_scale = (real)(1 / (1 - pow(p->beta1, (double)t))), second_scale = (real)(1 / (1 - pow(p->beta2, (double)t)));
  const real step = (real)rate, keep = (real)(1 - rate * s->decay);
  real *value = theta + s->offset, *m = o->first + s->offset, *v = o->second + s->offset;
  const real *g = grad + s->offset;
#pragma omp simd
  for (int64_t i = 0; i < s->count; i++) {
    real d = g[i] * g_scale;
    m[i] = b1 * m[i] + c1 * d;
    v[i] = b2 * v[i] + c2 * d * d;
#ifdef PEFTSCALE_DOUBLE
    real root = sqrt(v[i] * second_scale);
#else
    real root = sqrtf(v[i] * second_scale);
#endif
    value[i] = keep * value[i] - step * (m[i] * first_scale) / (root + epsilon);
  }
}

static double gradient_norm(const optim *o, const real *grad, double scale, const uint8_t *active) {
  double squares = 0;
  for (int i = 0; i < o->segment_count; i++) {
    if (active && !active[i]) continue;
    const real *g = grad + o->segments[i].offset;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < o->segments[i].count; j++) sum += (double)g[j] * (double)g[j];
    squares += sum;
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
