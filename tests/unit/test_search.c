/* The evolution over an invented landscape: better than random at the same cap, never above it, never the same path twice, and a function of the seed. */
#include "train/search.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

enum { PLACES = 12, GENES = 3, PATHS = 3 * 4 * 2, SMALLEST = 2 };
static const int choices[GENES] = {3, 4, 2};

/* A path's digits, first one lowest. */
static int gene(int path, int g) {
  for (int i = 0; i < g; i++) path /= choices[i];
  return path % choices[g];
}

static int places(const adapter *a) { return *(const int *)a->state; }
static const char *place_name(const adapter *a, int place) { return a && place >= 0 ? "place" : ""; }

/* Wider choices (lower digits) cost more; no place is free. */
static int64_t size(const adapter *a, int place, int path) {
  (void)a;
  return SMALLEST + (place % 3 + 1) * (10 * (2 - gene(path, 0)) + 3 * (3 - gene(path, 1)) + (1 - gene(path, 2)));
}

static const method_paths space = {.genes = GENES, .choices = choices, .places = places, .place_name = place_name, .size = size};

/* Every gene of every place has one best choice, neither the widest nor the narrowest everywhere; what is seen is counted. */
typedef struct landscape {
  int place_count, calls, told, fails;
  int64_t seen;
  int32_t path[4096][PLACES];
} landscape;

static double value_of(const int32_t *path, int count) {
  double value = 0;
  for (int i = 0; i < count; i++)
    for (int g = 0; g < GENES; g++) value += gene(path[i], g) == (i * 5 + g * 3) % choices[g] ? 1 : 0;
  return value / (count * GENES);
}

static int score(void *context, int count, const int32_t *const *paths, search_value *values) {
  landscape *l = context;
  l->calls++;
  if (l->fails) return FAIL(ERROR_SYSTEM, NULL, "the landscape is gone");
  for (int i = 0; i < count; i++) {
    assert_true(l->seen < 4096);
    memcpy(l->path[l->seen++], paths[i], (size_t)l->place_count * sizeof(int32_t));
    values[i] = (search_value){value_of(paths[i], l->place_count), 0};
  }
  return ERROR_NONE;
}

static void tell(void *context, int generation, const search_generation *g) {
  landscape *l = context;
  assert_int_equal(generation, l->told++);
  assert_true(g->evaluated >= 0);
}

static search_options defaults(void) {
  return (search_options){.seed = 7,
                          .population = 50,
                          .generations = 20,
                          .parents = 10,
                          .mutations = 25,
                          .crossovers = 25,
                          .randoms = 50,
                          .mutate_share = 0.2,
                          .limit = -1,
                          .metric = METRICS_ACCURACY};
}

typedef struct trial {
  arena *memory;
  landscape l;
  search_result result;
  int code;
} trial;

static trial *try_search(const search_options *o, int place_count, int fails) {
  trial *t = calloc(1, sizeof *t);
  assert_non_null(t);
  t->l.place_count = place_count;
  t->l.fails = fails;
  const adapter a = {.state = &t->l.place_count};
  const search_judge judge = {.score = score, .tell = tell, .context = &t->l};
  assert_int_equal(arena_create(&t->memory), 0);
  t->code = search_evolve(&space, &a, o, &judge, t->memory, &t->result);
  return t;
}

static void end(trial *t) {
  arena_destroy(t->memory);
  free(t);
}

/* Sizes within the cap, values as the landscape's, no path evaluated twice, counts that add up. */
static void check_sound(const trial *t, const search_options *o) {
  const search_result *r = &t->result;
  int64_t evolved = 0;
  assert_int_equal(r->generation_count, o->generations + 1);
  for (int g = 0; g < r->generation_count; g++) evolved += r->generations[g].evaluated;
  assert_int_equal(t->l.seen, r->count);
  for (int64_t i = 0; i < r->count; i++) {
    const search_candidate *c = &r->candidates[i];
    int64_t found = 0;
    for (int p = 0; p < r->places; p++) {
      assert_in_range(c->path[p], 0, PATHS - 1);
      found += size(NULL, p, c->path[p]);
    }
    assert_int_equal(c->size, found);
    assert_true(c->size <= r->limit);
    assert_true(c->value.value == value_of(c->path, r->places));
    assert_true(i >= evolved || r->candidates[r->best].value.value >= c->value.value);
    assert_int_equal(c->origin == SEARCH_BASELINE, i >= evolved);
    for (int64_t j = 0; j < i; j++) assert_memory_not_equal(t->l.path[i], t->l.path[j], (size_t)r->places * sizeof(int32_t));
  }
  for (int i = 0; i < r->random_count; i++) {
    assert_in_range(r->randoms[i], 0, r->count - 1);
    for (int j = 0; j < i; j++) assert_int_not_equal(r->randoms[i], r->randoms[j]);
  }
}

static void beats_random(void **state) {
  (void)state;
  search_options o = defaults();
  o.randoms = 1050; /* as many as the evolution may look at */
  trial *t = try_search(&o, PLACES, 0);
  assert_int_equal(t->code, 0);
  check_sound(t, &o);
  assert_int_equal(t->result.random_count, 1050);
  double best = 0, mean = 0;
  for (int i = 0; i < t->result.random_count; i++) {
    double value = t->result.candidates[t->result.randoms[i]].value.value;
    if (value > best) best = value;
    mean += value / t->result.random_count;
  }
  assert_true(t->result.limit == t->result.mean_size);
  assert_true(t->result.candidates[t->result.best].value.value > best + 0.1);
  assert_true(t->result.candidates[t->result.best].value.value > mean + 0.3);
  for (int g = 1; g < t->result.generation_count; g++) assert_true(t->result.generations[g].best >= t->result.generations[g - 1].best);
  end(t);
}

/* Caps that random draws hardly ever meet, down to the one smallest path. */
static void keeps_to_the_cap(void **state) {
  (void)state;
  for (int64_t limit = PLACES * SMALLEST; limit < 400; limit = limit < 30 ? limit + 1 : 2 * limit) {
    search_options o = defaults();
    o.limit = limit;
    o.generations = 5;
    trial *t = try_search(&o, PLACES, 0);
    assert_int_equal(t->code, 0);
    check_sound(t, &o);
    assert_int_equal(t->result.limit, limit);
    if (limit == PLACES * SMALLEST) assert_int_equal(t->result.count, 1);
    if (limit > 100) assert_int_equal(t->result.random_count, 50);
    end(t);
  }
  search_options o = defaults();
  o.limit = PLACES * SMALLEST - 1;
  trial *t = try_search(&o, PLACES, 0);
  assert_int_equal(t->code, ERROR_USAGE);
  assert_non_null(strstr(error_last()->text, "below the smallest"));
  assert_int_equal(t->l.calls, 0);
  end(t);
}

/* A space of 24 paths, most of them above the cap: all of them are found, and nothing is asked again. */
static void ends_when_all_is_seen(void **state) {
  (void)state;
  search_options o = defaults();
  int64_t within = 0;
  trial *t = try_search(&o, 1, 0);
  assert_int_equal(t->code, 0);
  check_sound(t, &o);
  for (int p = 0; p < PATHS; p++) within += size(NULL, 0, p) <= t->result.limit;
  assert_int_equal(t->result.count, within);
  assert_int_equal(t->result.generations[20].evaluated, 0);
  assert_true(isnan(t->result.generations[20].mean));
  end(t);
}

static void follows_from_the_seed(void **state) {
  (void)state;
  search_options o = defaults();
  trial *a = try_search(&o, PLACES, 0), *b = try_search(&o, PLACES, 0);
  assert_int_equal(a->result.count, b->result.count);
  assert_memory_equal(a->l.path, b->l.path, sizeof a->l.path);
  end(b);
  o.seed++;
  b = try_search(&o, PLACES, 0);
  assert_memory_not_equal(a->l.path, b->l.path, sizeof a->l.path);
  end(a);
  end(b);
}

static void settings(void **state) {
  (void)state;
  const search_options good = defaults();
  search_options bad[6] = {good, good, good, good, good, good};
  bad[0].population = 0;
  bad[1].parents = 0;
  bad[2].mutations = 26; /* more than the population has room for */
  bad[3].mutate_share = 1.5;
  bad[4].mutate_share = NAN;
  bad[5].randoms = 0;
  for (int i = 0; i < 6; i++) {
    trial *t = try_search(&bad[i], PLACES, 0);
    assert_int_equal(t->code, ERROR_USAGE);
    assert_int_equal(t->l.calls, 0);
    end(t);
  }
  /* No evolution at all is the random paths alone. */
  search_options none = good;
  none.generations = 0;
  none.randoms = 10;
  trial *t = try_search(&none, PLACES, 0);
  assert_int_equal(t->code, 0);
  check_sound(t, &none);
  assert_int_equal(t->result.count, 50);
  assert_int_equal(t->result.random_count, 10);
  end(t);
}

static void errors_go_up(void **state) {
  (void)state;
  search_options o = defaults();
  trial *t = try_search(&o, PLACES, 1);
  assert_int_equal(t->code, ERROR_SYSTEM);
  assert_int_equal(t->l.calls, 1);
  end(t);
}

static void comparison(void **state) {
  (void)state;
  const search_value low = {0.5, 1}, high = {0.6, 2}, sure = {0.5, 0.5}, none = {NAN, 1};
  search_options o = {.metric = METRICS_ACCURACY};
  assert_true(search_better(&o, &high, &low));
  assert_false(search_better(&o, &low, &high));
  assert_true(search_better(&o, &sure, &low));
  assert_true(search_better(&o, &low, &none));
  assert_false(search_better(&o, &low, &low));
  o.by_loss = 1;
  assert_true(search_better(&o, &low, &high));
  assert_true(search_better(&o, &sure, &high));
  assert_true(search_better(&o, &low, &none)); /* equal losses */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(beats_random),
      cmocka_unit_test(keeps_to_the_cap),
      cmocka_unit_test(ends_when_all_is_seen),
      cmocka_unit_test(follows_from_the_seed),
      cmocka_unit_test(settings),
      cmocka_unit_test(errors_go_up),
      cmocka_unit_test(comparison),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
