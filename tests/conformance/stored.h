/* What a trained adapter is stored as, and what it is loaded from.
 *
 * Included by conformance.c, behind cases.h.
 */
#ifndef PEFTSCALE_TESTS_STORED_H
#define PEFTSCALE_TESTS_STORED_H

#include "conformance/cases.h"

static inline void *save_array(const stand *s, int index, stored_array *array) {
  enum { FENCE = 16 };
  const adapter *a = model_adapter(s->model);
  must(adapter_stored(a, index, array));
  size_t bytes = (size_t)stored_array_bytes(array);
  assert_true(bytes > 0 && array->name[0]);
  uint8_t *values = must_take(bytes + FENCE, 1);
  memset(values, 0xa5, bytes + FENCE);
  must(adapter_save(a, s->theta + model_adapter_offset(s->model), index, values));
  for (int i = 0; i < FENCE; i++)
    if (values[bytes + (size_t)i] != 0xa5) fail_msg("%s: more than its %zu bytes were written", array->name, bytes);
  return values;
}

static inline int load_array(const stand *s, int index, const void *values) {
  return adapter_load(model_adapter(s->model), index, values, s->theta + model_adapter_offset(s->model));
}

/* An adapter that knows nothing yet: theta without the method's numbers, constants of files all zero. */
static inline void forget(stand *s) {
  const adapter *a = model_adapter(s->model);
  memset(s->theta + model_adapter_offset(s->model), 0, (size_t)a->theta_count * sizeof(real));
  for (int i = 0; i < a->constant_count; i++) {
    const method_constant *c = &a->constants[i];
    size_t count = (size_t)(c->rows * c->cols);
    if (c->from_file && c->is_index) memset(c->index, 0, count * sizeof *c->index);
    if (c->from_file && !c->is_index) memset(c->value, 0, count * sizeof *c->value);
  }
}

/* The arrays take as many bytes as are counted, and all that an adapter was is in them: theta to the bit, or, where less than theta is stored on purpose, its
 * predictions. */
static void what_is_saved_is_loaded(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    stand *from, *to;
    method_counts counts;
    must(stand_create(&c, &from));
    must(stand_create(&c, &to));
    forget(to);
    const adapter *a = model_adapter(from->model);
    int64_t bytes = 4 * model_role_count(from->model, SEGMENT_BASE);
    stored_array array, before;
    for (int i = 0; i < adapter_stored_count(a); i++) {
      void *values = save_array(from, i, &array);
      bytes += stored_array_bytes(&array);
      for (int k = 0; k < i; k++) {
        must(adapter_stored(a, k, &before));
        assert_string_not_equal(array.name, before.name);
      }
      must(load_array(to, i, values));
      free(values);
    }
    must(model_counts(from->model, &counts));
    if (bytes != counts.stored_bytes) fail_msg("%s: %lld bytes are stored, counted %lld", c.name, (long long)bytes, (long long)counts.stored_bytes);
    real x[OUTPUTS], y[OUTPUTS];
    predict(from, from->theta, x);
    predict(to, to->theta, y);
    int same = !memcmp(from->theta, to->theta, (size_t)from->count * sizeof(real));
    if (same == ((list->method->flags & METHOD_STORES_LESS) != 0)) fail_msg("%s: METHOD_STORES_LESS is not true", c.name);
    double apart = distance(OUTPUTS, x, y);
    if (!(apart <= (same ? 0 : 1e-5))) fail_msg("%s: predictions are %.3g off after loading", c.name, apart);
    stand_destroy(from);
    stand_destroy(to);
  }
}

/* ---- what is refused ---- */

static inline void refuse(const gradient_case *c, const stand *s, int index, const stored_array *array, const void *values, const char *what) {
  int code = load_array(s, index, values);
  if (code != ERROR_INPUT) fail_msg("%s: '%s' with %s: code %d", c->name, array->name, what, code);
  assert_true(error_last()->text[0] != 0);
}

static inline int element_bytes(const stored_array *array) { return (int)(stored_array_bytes(array) / (array->rows * array->cols)); }

/* Numbers that are none, whole numbers beyond every range, repeated ones where a method chooses, another seed. */
static inline void refuse_damage(const gradient_case *c, const stand *s, int index) {
  stored_array array;
  uint8_t *values = save_array(s, index, &array);
  int64_t count = array.rows * array.cols;
  int each = element_bytes(&array);
  const int64_t places[] = {0, count - 1, count / 2};
  for (int k = 0; k < 3; k++) {
    uint8_t *place = values + places[k] * each, held[8];
    memcpy(held, place, (size_t)each);
    if (array.type == STORED_F32) {
      const float wrong[] = {NAN, INFINITY, -INFINITY};
      memcpy(place, &wrong[k], sizeof *wrong);
      refuse(c, s, index, &array, values, "a number that is not finite");
    } else {
      memset(place, 0xff, (size_t)each); /* -1 where there is a sign */
      if (memcmp(place, held, (size_t)each)) refuse(c, s, index, &array, values, "all bits set");
      if (array.type == STORED_I32) place[3] = 0x7f;
      if (array.type == STORED_I32) refuse(c, s, index, &array, values, "a number beyond the range");
    }
    memcpy(place, held, (size_t)each);
  }
  int is_own = c->method->stored != NULL && array.type != STORED_F32 && array.type != STORED_I64;
  if (is_own && array.cols > 1 && memcmp(values, values + each, (size_t)each)) {
    memcpy(values + each, values, (size_t)each);
    refuse(c, s, index, &array, values, "a repeated number");
  }
  free(values);
}

/* Whether two adapters' arrays have the same names, types and shapes. */
static inline int same_arrays(const adapter *a, const adapter *b) {
  int count = adapter_stored_count(a);
  if (count != adapter_stored_count(b)) return 0;
  for (int i = 0; i < count; i++) {
    stored_array x, y;
    must(adapter_stored(a, i, &x));
    must(adapter_stored(b, i, &y));
    if (strcmp(x.name, y.name) || x.type != y.type || x.rows != y.rows || x.cols != y.cols) return 0;
  }
  return 1;
}

/* Option `name` with another word: a foreign file shows by the table of its arrays (which whoever reads it compares), or one of them is refused. */
static inline void refuse_foreign(const gradient_case *c, const char *name, const char *word) {
  if (!find_option(c->method, name)) return;
  variant other = *c->variant;
  gradient_case changed = *c;
  stand *from, *to;
  options_tie(&other.options);
  must(options_change(&other.options, name, word));
  changed.variant = &other;
  must(stand_create(c, &from));
  must(stand_create(&changed, &to));
  int accepted = same_arrays(model_adapter(from->model), model_adapter(to->model));
  for (int i = 0; accepted && i < adapter_stored_count(model_adapter(from->model)); i++) {
    stored_array array;
    void *values = save_array(from, i, &array);
    int code = load_array(to, i, values);
    assert_true(code == ERROR_NONE || code == ERROR_INPUT);
    accepted = !code;
    free(values);
  }
  if (accepted) fail_msg("%s: what it stores is loaded with %s=%s", c->name, name, word);
  stand_destroy(from);
  stand_destroy(to);
}

static void wrong_arrays_are_refused(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    stand *s;
    must(stand_create(&c, &s));
    const adapter *a = model_adapter(s->model);
    for (int i = 0; i < adapter_stored_count(a); i++) refuse_damage(&c, s, i);
    stand_destroy(s);
  }
  gradient_case c = plain_case(list, &list->variant[0]);
  refuse_foreign(&c, "rank", "2");
  refuse_foreign(&c, "modules", "v");
  refuse_foreign(&c, "projection_seed", "99");
}

/* ---- projections ---- */

static inline void stand_with(const case_list *list, int v, variant *held, const char *projection, const char *seed, stand **result) {
  gradient_case c = plain_case(list, &list->variant[v]);
  *held = list->variant[v];
  options_tie(&held->options);
  must(options_change(&held->options, "projection", projection));
  must(options_change(&held->options, "projection_seed", seed));
  c.variant = held;
  must(stand_create(&c, result));
}

/* The frozen numbers of `from`, drawn from its seed, into the places of `to` that a file would fill. */
static inline void import_constants(stand *from, const stand *to) {
  const adapter *a = model_adapter(from->model), *b = model_adapter(to->model);
  assert_true(b->constant_count > 0);
  for (int i = 0; i < b->constant_count; i++) {
    const method_constant *c = &b->constants[i], *same = NULL;
    for (int k = 0; k < a->constant_count; k++)
      if (!strcmp(a->constants[k].name, c->name)) same = &a->constants[k];
    assert_true(c->from_file);
    assert_non_null(same);
    assert_true(same->rows == c->rows && same->cols == c->cols && same->is_index == c->is_index);
    size_t count = (size_t)(c->rows * c->cols);
    if (c->is_index) memcpy(c->index, same->index, count * sizeof *c->index);
    else memcpy(c->value, same->value, count * sizeof *c->value);
  }
}

/* Frozen numbers from a file work as those from the seed; another seed gives others, and auto is the run's. */
static void projections_can_be_imported(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->broad; v++) {
    variant held[4];
    stand *seeded, *imported, *named, *other;
    real x[OUTPUTS], y[OUTPUTS];
    stand_with(list, v, &held[0], "seed", "auto", &seeded);
    stand_with(list, v, &held[1], "file", "auto", &imported);
    stand_with(list, v, &held[2], "seed", "11", &named); /* the seed of options_of */
    stand_with(list, v, &held[3], "seed", "12", &other);
    assert_true(seeded->count == imported->count);
    import_constants(seeded, imported);
    predict(seeded, seeded->theta, x);
    predict(imported, imported->theta, y);
    assert_true(distance(OUTPUTS, x, y) <= output_tolerance);
    predict(named, seeded->theta, y);
    assert_memory_equal(x, y, sizeof x);
    predict(other, seeded->theta, y);
    assert_true(distance(OUTPUTS, x, y) > 1e-3);
    method_counts a, b;
    must(model_counts(seeded->model, &a));
    must(model_counts(imported->model, &b));
    assert_true(b.regenerated_bytes == 0 && b.stored_bytes > a.stored_bytes && a.trainable == b.trainable);
    stand_destroy(seeded);
    stand_destroy(imported);
    stand_destroy(named);
    stand_destroy(other);
  }
}

#endif
