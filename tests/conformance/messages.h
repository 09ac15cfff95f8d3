/* What travels between ranks: a compact message loses nothing of a gradient, and what takes no part in a step stays as it was.
 *
 * Included by conformance.c, behind cases.h.
 */
#ifndef PEFTSCALE_TESTS_MESSAGES_H
#define PEFTSCALE_TESTS_MESSAGES_H

#include "conformance/cases.h"
#include "optim/optim.h"

enum { GUARD = 8 };
static const real guard_number = (real)-12345.675;

static inline void compare_message(const gradient_case *c, const stand *s) {
  const model *m = s->model;
  const uint8_t *active = model_active(m);
  int64_t count = model_packed_count(m), listed = 0;
  real *message = must_take((size_t)(count + GUARD), sizeof *message), *back = must_take((size_t)s->count, sizeof *back);
  for (int64_t i = 0; i < count + GUARD; i++) message[i] = guard_number;
  for (int64_t i = 0; i < s->count; i++) back[i] = (real)NAN;
  model_pack(m, s->grad, message);
  for (int64_t i = 0; i < count + GUARD; i++)
    if ((message[i] == guard_number) != (i >= count)) fail_msg("%s: number %lld of %lld was not packed as counted", c->name, (long long)i, (long long)count);
  model_unpack(m, message, back);
  for (int i = 0; i < model_segment_count(m); i++) {
    const segment *g = model_segment(m, i);
    int64_t size = (int64_t)g->rows * g->cols, packed = model_packed(m, i);
    listed += packed;
    assert_true(packed >= 0 && packed <= size);
    if (memcmp(back + g->offset, s->grad + g->offset, (size_t)size * sizeof *back)) fail_msg("%s: %s is not what was packed", c->name, g->name);
    if (!active || active[i]) continue;
    assert_true(packed == 0);
    for (int64_t k = 0; k < size; k++)
      if (s->grad[g->offset + k] != 0) fail_msg("%s: %s is off the path and has a gradient", c->name, g->name);
  }
  assert_true(listed == count);
  if (!model_is_packed(m)) assert_true(count == s->count);
  free(message);
  free(back);
}

/* Told the batch, the message leaves out rows that no token reaches, and may take the place of the gradient that it is made of. */
static inline void compare_reached(const gradient_case *c, stand *s) {
  model *m = s->model;
  const batch *b = &s->batch.view;
  int64_t whole = model_packed_count(m), early = model_packs_in_place(m);
  real *place = must_take((size_t)s->count, sizeof *place);
  model_reach_begin(m);
  for (int i = 0; i < b->sequences; i++) model_reach(m, b->first[i + 1] - b->first[i], b->token + b->first[i]);
  model_reach_end(m);
  compare_message(c, s);
  int64_t count = model_packed_count(m);
  assert_true(count < whole);
  assert_true(early > 0 && early < count);
  memcpy(place, s->grad, (size_t)s->count * sizeof *place);
  model_pack(m, place, place);
  assert_memory_equal(place, s->grad, (size_t)early * sizeof *place);
  for (int64_t i = count; i < s->count; i++) place[i] = (real)NAN; /* the sums' tail, and what was there before */
  model_unpack(m, place, place);
  assert_memory_equal(place, s->grad, (size_t)s->count * sizeof *place);
  free(place);
}

/* A path is drawn per step: the mean over many is what is counted. */
static inline void compare_drawn_counts(const gradient_case *c, stand *s, int64_t head, int64_t sent) {
  enum { DRAWS = 600 };
  double sum = 0;
  for (int64_t step = 0; step < DRAWS; step++) {
    must(model_choose(s->model, step));
    sum += (double)(model_packed_count(s->model) - head);
  }
  if (!(fabs(sum / DRAWS / (double)sent - 1) <= 0.05)) fail_msg("%s: %g numbers travel in the mean, counted %lld", c->name, sum / DRAWS, (long long)sent);
}

/* The gradient of a real batch, packed and unpacked into a buffer full of NaN, is the same gradient bit for bit. */
static void compact_equals_dense(void **state) {
  static const int64_t steps[] = {3, METHOD_EVALUATION, 0, 17};
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    method_counts counts;
    stand *s;
    double loss;
    must(stand_create(&c, &s));
    must(model_counts(s->model, &counts));
    int64_t head = model_role_count(s->model, SEGMENT_HEAD);
    for (int k = 0; k < (model_active(s->model) ? 4 : 1); k++) {
      must(model_choose(s->model, steps[k]));
      must(stand_gradient(s, &loss));
      compare_message(&c, s);
    }
    if (model_active(s->model)) compare_drawn_counts(&c, s, head, counts.sent_floats);
    else assert_true(model_packed_count(s->model) == head + counts.sent_floats);
    if (model_reaches(s->model)) compare_reached(&c, s);
    else assert_true(model_packs_in_place(s->model) == 0);
    stand_destroy(s);
  }
}

/* ---- an optimiser with everything on ---- */

static const optim_options training = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .clip = 5, .schedule = OPTIM_LINEAR, .steps = 20, .warmup = 0};

/* Every segment decays, whatever its method says: what rests must rest all the same. */
static inline optim *optim_for(const model *m) {
  optim *o;
  int count = model_segment_count(m);
  optim_segment *segments = must_take((size_t)count, sizeof *segments);
  for (int i = 0; i < count; i++) {
    const segment *s = model_segment(m, i);
    segments[i] = (optim_segment){.offset = s->offset, .count = (int64_t)s->rows * s->cols, .rate = 1e-2, .decay = 0.1};
  }
  must(optim_create(&training, segments, count, model_theta_count(m), &o));
  free(segments);
  return o;
}

/* Step `step` as a training makes it. */
static inline void train_step(stand *s, optim *o, int64_t step) {
  double loss;
  must(model_choose(s->model, step));
  must(stand_gradient(s, &loss));
  assert_true(isfinite(optim_step(o, step, s->theta, s->grad, 0.25, model_active(s->model))));
}

/* What is off the path of a step keeps its numbers, moments and step count to the bit, with decay and momentum at work; the rest moves. */
static inline void compare_rest(const gradient_case *c, stand *s) {
  size_t bytes = (size_t)s->count * sizeof(real);
  int segments = model_segment_count(s->model);
  optim *o = optim_for(s->model);
  real *was[3] = {must_take(bytes, 1), must_take(bytes, 1), must_take(bytes, 1)};
  int64_t *steps = must_take((size_t)segments, sizeof *steps);
  const real *is[3] = {s->theta, optim_first_moment(o), optim_second_moment(o)};
  int rested = 0, moved = 0;
  for (int64_t step = 0; step < 6; step++) {
    for (int k = 0; k < 3; k++) memcpy(was[k], is[k], bytes);
    memcpy(steps, optim_step_counts(o), (size_t)segments * sizeof *steps);
    train_step(s, o, step);
    for (int i = 0; i < segments; i++) {
      const segment *g = model_segment(s->model, i);
      size_t size = (size_t)g->rows * (size_t)g->cols * sizeof(real);
      int on = model_active(s->model)[i];
      if (optim_step_counts(o)[i] != steps[i] + on) fail_msg("%s: step count of %s", c->name, g->name);
      for (int k = 0; k < 3; k++)
        if (!on && memcmp(was[k] + g->offset, is[k] + g->offset, size)) fail_msg("%s: %s is off the path of step %d and moved", c->name, g->name, (int)step);
      if (on && !memcmp(was[0] + g->offset, is[0] + g->offset, size))
        fail_msg("%s: %s is on the path of step %d and did not move", c->name, g->name, (int)step);
      rested += !on;
      moved += on && i >= model_adapter_segment(s->model);
    }
  }
  assert_true(rested > 0 && moved > 0);
  for (int k = 0; k < 3; k++) free(was[k]);
  free(steps);
  optim_destroy(o);
}

static void inactive_segments_rest(void **state) {
  const case_list *list = *state;
  int drawn = 0;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    stand *s;
    must(stand_create(&c, &s));
    if (model_active(s->model)) {
      compare_rest(&c, s);
      drawn++;
    }
    stand_destroy(s);
  }
  if (list->method->choose) assert_true(drawn > 0); /* else one of the method's choices has to turn it on */
}

#endif
