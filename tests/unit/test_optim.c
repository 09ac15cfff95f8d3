/* AdamW against a plain version in double precision, schedules, clipping, and segments that rest. */
#include "optim/optim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

enum { COUNT = 24, SEGMENTS = 3, STEPS = 40 };

/* With a hole (10, 11) that belongs to nobody. */
static const optim_segment segments[SEGMENTS] = {{0, 10, 1e-2, 0}, {12, 5, 5e-2, 0.1}, {17, 7, 2e-3, 0.5}};

static const optim_options plain = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .schedule = OPTIM_CONSTANT, .steps = STEPS};

typedef struct reference {
  double theta[COUNT], first[COUNT], second[COUNT];
  int steps[SEGMENTS];
} reference;

/* The algorithm as its paper writes it, one number at a time. Returns the norm before clipping. */
static double reference_step(reference *r, const optim_options *o, int64_t step, const real *grad, double scale, const uint8_t *active) {
  double squares = 0;
  for (int s = 0; s < SEGMENTS; s++)
    for (int64_t i = segments[s].offset; (!active || active[s]) && i < segments[s].offset + segments[s].count; i++) squares += pow((double)grad[i] * scale, 2);
  double norm = sqrt(squares), shrink = o->clip > 0 && norm > o->clip ? o->clip / norm : 1;
  for (int s = 0; s < SEGMENTS; s++) {
    if (active && !active[s]) continue;
    int t = ++r->steps[s];
    double rate = optim_share(o, step) * segments[s].rate;
    for (int64_t i = segments[s].offset; i < segments[s].offset + segments[s].count; i++) {
      double g = (double)grad[i] * scale * shrink;
      r->first[i] = o->beta1 * r->first[i] + (1 - o->beta1) * g;
      r->second[i] = o->beta2 * r->second[i] + (1 - o->beta2) * g * g;
      double m = r->first[i] / (1 - pow(o->beta1, t)), v = r->second[i] / (1 - pow(o->beta2, t));
      r->theta[i] -= rate * (segments[s].decay * r->theta[i] + m / (sqrt(v) + o->epsilon));
    }
  }
  return norm;
}

static void draw(uint64_t stream, double size, real *values) {
  for (int i = 0; i < COUNT; i++) values[i] = (real)(size * random_normal(random_key_make(3, RANDOM_TEST, 0), stream, (uint64_t)i));
}

/* rests: segment 1 works in every third step only. */
static void compare(const optim_options *options, double scale, int rests) {
  real theta[COUNT], grad[COUNT];
  reference r = {0};
  optim *o;
  assert_int_equal(optim_create(options, segments, SEGMENTS, COUNT, &o), 0);
  draw(0, 1, theta);
  for (int i = 0; i < COUNT; i++) r.theta[i] = (double)theta[i];
  for (int step = 0; step < STEPS; step++) {
    uint8_t active[SEGMENTS] = {1, !rests || step % 3 == 0, 1};
    draw(1 + (uint64_t)step, step % 5 == 0 ? 30 : 0.5, grad); /* now and then large: clipping acts in some steps only */
    real before[COUNT];
    memcpy(before, theta, sizeof theta);
    double norm = optim_step(o, step, theta, grad, scale, rests ? active : NULL);
    assert_true(fabs(norm / reference_step(&r, options, step, grad, scale, rests ? active : NULL) - 1) < 1e-6);
    assert_memory_equal(theta + 10, before + 10, 2 * sizeof *theta);
    if (!active[1]) assert_memory_equal(theta + segments[1].offset, before + segments[1].offset, (size_t)segments[1].count * sizeof *theta);
    for (int i = 0; i < COUNT; i++) assert_true(fabs((double)theta[i] - r.theta[i]) < 2e-6 * fmax(1, fabs(r.theta[i])));
  }
  for (int s = 0; s < SEGMENTS; s++) {
    assert_int_equal(optim_step_counts(o)[s], r.steps[s]);
    for (int64_t i = segments[s].offset; i < segments[s].offset + segments[s].count; i++) {
      assert_true(fabs((double)optim_first_moment(o)[i] - r.first[i]) < 1e-5 * fmax(1, fabs(r.first[i])));
      assert_true(fabs((double)optim_second_moment(o)[i] - r.second[i]) < 1e-5 * fmax(1, fabs(r.second[i])));
    }
  }
  optim_destroy(o);
}

static void follows_the_reference(void **state) {
  (void)state;
  compare(&plain, 1, 0);
  compare(&plain, 1.0 / 32, 0);
}

static void follows_it_with_a_schedule_and_clipping(void **state) {
  (void)state;
  optim_options o = plain;
  o.schedule = OPTIM_COSINE;
  o.warmup = 7;
  o.clip = 1.5;
  compare(&o, 0.1, 0);
  o.schedule = OPTIM_LINEAR;
  compare(&o, 0.1, 1);
}

/* A segment that rests keeps its numbers, moments and step count: its next step is as if the others had not been. */
static void inactive_segments_rest(void **state) {
  (void)state;
  compare(&plain, 1, 1);
}

static void decay_is_decoupled(void **state) {
  (void)state;
  real theta[COUNT], grad[COUNT] = {0};
  optim *o;
  for (int i = 0; i < COUNT; i++) theta[i] = 2;
  assert_int_equal(optim_create(&plain, segments, SEGMENTS, COUNT, &o), 0);
  assert_true(optim_step(o, 0, theta, grad, 1, NULL) == 0);
  for (int s = 0; s < SEGMENTS; s++) /* no gradient: only the decay acts, times the rate */
    for (int64_t i = segments[s].offset; i < segments[s].offset + segments[s].count; i++)
      assert_true(fabs((double)theta[i] - 2 * (1 - segments[s].rate * segments[s].decay)) < 1e-6);
  optim_destroy(o);
}

static void a_gradient_that_is_not_finite_changes_nothing(void **state) {
  (void)state;
  const real bad[] = {(real)NAN, (real)INFINITY, (real)-INFINITY};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    real theta[COUNT], grad[COUNT], before[COUNT];
    optim *o;
    assert_int_equal(optim_create(&plain, segments, SEGMENTS, COUNT, &o), 0);
    draw(0, 1, theta);
    draw(1, 1, grad);
    memcpy(before, theta, sizeof theta);
    grad[20] = bad[k];
    assert_false(isfinite(optim_step(o, 0, theta, grad, 1, NULL)));
    assert_memory_equal(theta, before, sizeof theta);
    for (int s = 0; s < SEGMENTS; s++) assert_int_equal(optim_step_counts(o)[s], 0);
    for (int i = 0; i < COUNT; i++) assert_true(optim_first_moment(o)[i] == 0 && optim_second_moment(o)[i] == 0);
    const uint8_t active[SEGMENTS] = {1, 1, 0}; /* but a segment that rests is not looked at */
    assert_true(isfinite(optim_step(o, 0, theta, grad, 1, active)));
    optim_destroy(o);
  }
}

static void clipping_keeps_the_direction(void **state) {
  (void)state;
  enum { MANY = 4 };
  const optim_segment whole = {0, MANY, 1, 0};
  /* epsilon so large that a step is proportional to the clipped gradient */
  const optim_options o = {.beta1 = 0, .beta2 = 0, .epsilon = 1e6, .clip = 2, .schedule = OPTIM_CONSTANT, .steps = 1};
  const real grad[MANY] = {3, 0, -4, 12}; /* norm 13 */
  real theta[MANY] = {0};
  optim *chosen;
  assert_int_equal(optim_create(&o, &whole, 1, MANY, &chosen), 0);
  assert_true(fabs(optim_step(chosen, 0, theta, grad, 1, NULL) - 13) < 1e-6); /* the norm before clipping */
  for (int i = 0; i < MANY; i++) assert_true(fabs((double)theta[i] * -1e6 - (double)grad[i] * 2 / 13) < 1e-4);
  optim_destroy(chosen);
}

/* Threads share long segments piece by piece: norm, numbers and moments keep their bits. */
static void threads_change_nothing(void **state) {
  enum { LONG = 150001 };
  const optim_segment two[] = {{0, LONG, 1e-2, 0.1}, {LONG, 77, 1e-3, 0}};
  static real theta[3][LONG + 77], grad[LONG + 77];
  double norm[3];
  (void)state;
  random_fill_normal(random_key_make(3, RANDOM_TEST, 0), 0, LONG + 77, 1, grad);
  for (int k = 0; k < 3; k++) {
    optim_options options = plain;
    optim *o;
    options.threads = k + 1;
    options.clip = 0.5;
    random_fill_normal(random_key_make(4, RANDOM_TEST, 0), 0, LONG + 77, 1, theta[k]);
    assert_int_equal(optim_create(&options, two, 2, LONG + 77, &o), 0);
    for (int step = 0; step < 3; step++) norm[k] = optim_step(o, step, theta[k], grad, 0.5, NULL);
    optim_destroy(o);
    assert_true(norm[k] == norm[0]);
    assert_memory_equal(theta[k], theta[0], sizeof theta[0]);
  }
  double squares = 0;
  for (int i = 0; i < LONG + 77; i++) squares += (double)grad[i] * (double)grad[i];
  assert_true(fabs(norm[0] / (0.5 * sqrt(squares)) - 1) < 1e-12);
}

static void check_share(const optim_options *o, int64_t step, double wanted) { assert_true(fabs(optim_share(o, step) - wanted) < 1e-12); }

static void schedules(void **state) {
  (void)state;
  optim_options o = {.schedule = OPTIM_LINEAR, .steps = 100, .warmup = 20};
  check_share(&o, 0, 0);
  check_share(&o, 5, 0.25);
  check_share(&o, 19, 0.95);
  check_share(&o, 20, 1);
  check_share(&o, 60, 0.5);
  check_share(&o, 99, 1.0 / 80);
  check_share(&o, 100, 0);
  check_share(&o, 1000, 0);
  o.schedule = OPTIM_COSINE;
  check_share(&o, 10, 0.5);
  check_share(&o, 20, 1);
  check_share(&o, 40, 0.5 * (1 + sqrt(0.5)));
  check_share(&o, 60, 0.5);
  check_share(&o, 100, 0);
  o.schedule = OPTIM_CONSTANT;
  check_share(&o, 10, 0.5);
  check_share(&o, 99, 1);
}

static void edges_of_the_warm_up(void **state) {
  (void)state;
  optim_options o = {.schedule = OPTIM_LINEAR, .steps = 10, .warmup = 0};
  check_share(&o, 0, 1); /* none: the first step is a full one */
  check_share(&o, 9, 0.1);
  o.warmup = 10; /* all of it */
  check_share(&o, 9, 0.9);
  check_share(&o, 10, 1);
  o.warmup = 9; /* one step is left */
  check_share(&o, 9, 1);
  o = (optim_options){.schedule = OPTIM_COSINE, .steps = 1, .warmup = 0};
  check_share(&o, 0, 1);
}

/* Every step's share, every rate and decay count. */
static void a_schedule_has_a_hash(void **state) {
  (void)state;
  optim_options o = {.schedule = OPTIM_LINEAR, .steps = 50, .warmup = 5}, changed;
  optim_segment parts[] = {{.count = 3, .rate = 1e-3}, {.offset = 3, .count = 2, .rate = 5e-3, .decay = 0.01}};
  char first[HASH_TEXT_BYTES], other[HASH_TEXT_BYTES];
  assert_int_equal(optim_schedule_hash(&o, parts, 2, first), 0);
  changed = o;
  changed.beta1 = 0.5; /* not of the schedule */
  assert_int_equal(optim_schedule_hash(&changed, parts, 2, other), 0);
  assert_string_equal(first, other);
  const optim_options others[] = {{.schedule = OPTIM_COSINE, .steps = 50, .warmup = 5}, {.steps = 51, .warmup = 5}, {.steps = 50, .warmup = 6}};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(optim_schedule_hash(&others[i], parts, 2, other), 0);
    assert_string_not_equal(first, other);
  }
  parts[1].rate = nextafter(parts[1].rate, 1);
  assert_int_equal(optim_schedule_hash(&o, parts, 2, other), 0);
  assert_string_not_equal(first, other);
  assert_int_equal(optim_schedule_hash(&o, parts, 1, other), 0);
  assert_string_not_equal(first, other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(follows_the_reference),
      cmocka_unit_test(follows_it_with_a_schedule_and_clipping),
      cmocka_unit_test(inactive_segments_rest),
      cmocka_unit_test(decay_is_decoupled),
      cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing),
      cmocka_unit_test(clipping_keeps_the_direction),
      cmocka_unit_test(threads_change_nothing),
      cmocka_unit_test(schedules),
      cmocka_unit_test(edges_of_the_warm_up),
      cmocka_unit_test(a_schedule_has_a_hash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
