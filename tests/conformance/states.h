/* What a model remembers: nothing but theta, and a training nothing but theta, moments and step counts.
 *
 * Included by conformance.c, behind messages.h.
 */
#ifndef PEFTSCALE_TESTS_STATES_H
#define PEFTSCALE_TESTS_STATES_H

#include "conformance/messages.h"

/* The same theta gives the same bits again: at once, after a gradient, and after another theta in between. */
static void expansion_leaves_no_trace(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    stand *s;
    double loss;
    real first[OUTPUTS], again[OUTPUTS], other[OUTPUTS];
    must(stand_create(&c, &s));
    real *elsewhere = must_take((size_t)s->count, sizeof *elsewhere);
    must(tiny_fill_theta(s->model, 60, 0.3, 0.3, elsewhere));
    predict(s, s->theta, first);
    predict(s, s->theta, again);
    assert_memory_equal(first, again, sizeof first);
    predict(s, elsewhere, other);
    assert_true(distance(OUTPUTS, first, other) > 1e-3);
    must(stand_gradient(s, &loss));
    predict(s, s->theta, again);
    assert_memory_equal(first, again, sizeof first);
    if (model_active(s->model)) { /* and after another path */
      must(model_choose(s->model, METHOD_EVALUATION));
      predict(s, s->theta, other);
      assert_true(distance(OUTPUTS, first, other) > 1e-3);
      must(model_choose(s->model, 3));
      predict(s, s->theta, again);
      assert_memory_equal(first, again, sizeof first);
    }
    free(elsewhere);
    stand_destroy(s);
  }
}

/* A training's whole state. */
typedef struct checkpoint {
  real *theta, *first, *second;
  int64_t *steps;
} checkpoint;

static inline checkpoint checkpoint_take(const stand *s, optim *o) {
  size_t bytes = (size_t)s->count * sizeof(real), segments = (size_t)model_segment_count(s->model);
  checkpoint c = {must_take(bytes, 1), must_take(bytes, 1), must_take(bytes, 1), must_take(segments, sizeof *c.steps)};
  memcpy(c.theta, s->theta, bytes);
  memcpy(c.first, optim_first_moment(o), bytes);
  memcpy(c.second, optim_second_moment(o), bytes);
  memcpy(c.steps, optim_step_counts(o), segments * sizeof *c.steps);
  return c;
}

static inline void checkpoint_free(checkpoint *c) {
  free(c->theta);
  free(c->first);
  free(c->second);
  free(c->steps);
}

/* Three steps in one go are one step, everything thrown away but a copy of the state, and two more, bit for bit; dropout and decay on. */
static void a_restart_changes_nothing(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    checkpoint end[2], middle;
    stand *s;
    c.dropout = 1;
    for (int broken = 0; broken < 2; broken++) {
      must(stand_create(&c, &s));
      optim *o = optim_for(s->model);
      train_step(s, o, 0);
      if (broken) {
        size_t bytes = (size_t)s->count * sizeof(real), segments = (size_t)model_segment_count(s->model);
        middle = checkpoint_take(s, o);
        stand_destroy(s);
        optim_destroy(o);
        must(stand_create(&c, &s));
        o = optim_for(s->model);
        memcpy(s->theta, middle.theta, bytes);
        memcpy(optim_first_moment(o), middle.first, bytes);
        memcpy(optim_second_moment(o), middle.second, bytes);
        memcpy(optim_step_counts(o), middle.steps, segments * sizeof *middle.steps);
        checkpoint_free(&middle);
      }
      for (int64_t step = 1; step < 3; step++) train_step(s, o, step);
      end[broken] = checkpoint_take(s, o);
      optim_destroy(o);
      if (broken) break;
      stand_destroy(s);
    }
    size_t bytes = (size_t)s->count * sizeof(real), segments = (size_t)model_segment_count(s->model);
    if (memcmp(end[0].theta, end[1].theta, bytes)) fail_msg("%s: theta differs after a restart", c.name);
    assert_memory_equal(end[0].first, end[1].first, bytes);
    assert_memory_equal(end[0].second, end[1].second, bytes);
    assert_memory_equal(end[0].steps, end[1].steps, segments * sizeof(int64_t));
    for (int k = 0; k < 2; k++) checkpoint_free(&end[k]);
    stand_destroy(s);
  }
}

#endif
