/* Every method of the registry against what it declares and against calculus; a new method is tested with no edit here.
 *
 * One source, two programs. The double build compares the gradient of every segment with finite differences of the loss (tolerance 1e-6). The float build,
 * which is what trainings use, compares its gradients with those of the double build (tolerance 1e-3), which it runs as `conformance_double --gradient CASE`.
 * Error of a segment: |g - ref| / max(|ref|, 1e-6 |all|), at a random theta with every segment non-zero; where the double gradient is a true zero (the key's
 * bias) float can do no better than cancel to its own rounding, and the floor is 1e-4 |all|. Dropout masks are functions of the place alone, so that a loss
 * with dropout is as differentiable as one without.
 */
#include "conformance/cases.h"
#include "conformance/messages.h"
#include "conformance/states.h"
#include "conformance/stored.h"
#include "linalg/linalg.h"

#ifdef PEFTSCALE_DOUBLE

/* ---- finite differences ---- */

static int stand_loss(stand *s, real *scratch, double *loss) {
  model_sums sums = {0};
  TRY(model_expand(s->model, s->theta));
  if (s->drops) { /* only a training pass drops out; its gradient goes nowhere */
    TRY(model_gradient(s->model, s->workspace, &s->batch.view, scratch, &sums, NULL));
    TRY(model_gather(s->model, s->workspace, scratch));
  } else {
    TRY(model_predict(s->model, s->workspace, &s->batch.view, NULL, &sums));
  }
  *loss = sums.loss;
  return ERROR_NONE;
}

/* theta = base + step * direction over a piece; element < 0: the signs of a random direction, else the unit vector of that element. */
static void move(stand *s, const piece *p, const real *base, int64_t element, const double *sign, double step) {
  for (int64_t i = 0; i < p->count; i++) s->theta[p->first + i] = base[p->first + i] + (element < 0 ? step * sign[i] : i == element ? step : 0);
}

/* Central differences of sixth order, and of fourth order from the same losses. */
static void differences(stand *s, real *scratch, const piece *p, const real *base, int64_t element, const double *sign, double h, double *sixth,
                        double *fourth) {
  double change[3], up, down;
  for (int k = 0; k < 3; k++) {
    move(s, p, base, element, sign, (k + 1) * h);
    must(stand_loss(s, scratch, &up));
    move(s, p, base, element, sign, -(k + 1) * h);
    must(stand_loss(s, scratch, &down));
    change[k] = up - down;
  }
  move(s, p, base, element, sign, 0);
  *sixth = (45 * change[0] - 9 * change[1] + change[2]) / (60 * h);
  *fourth = (8 * change[0] - change[1]) / (12 * h);
}

/* The largest step at which both orders say the same: large steps round least, small ones bend least and stay on one side of a kink (top-k, for one). */
static double derivative(stand *s, real *scratch, const piece *p, const real *base, int64_t element, const double *sign, double loss) {
  double h = 1e-2 / (element < 0 ? sqrt((double)p->count) : 1), sixth = 0, fourth;
  for (int i = 0; i < 4; i++, h /= 10) {
    differences(s, scratch, p, base, element, sign, h, &sixth, &fourth);
    if (fabs(sixth - fourth) <= 1e-7 * fabs(sixth) + 1e-9 * fabs(loss)) break;
  }
  return sixth;
}

enum { ELEMENTS = 6, DIRECTIONS = 2, PROBES = ELEMENTS + DIRECTIONS };

/* Single elements, and random sign vectors over the whole piece, in which no wrong element can hide. */
static double check_gradient(const gradient_case *c) {
  stand *s;
  double loss = 0;
  piece *pieces;
  must(stand_create(c, &s));
  must(stand_gradient(s, &loss));
  int count = list_pieces(s, &pieces), total = 0;
  real *base = must_take((size_t)s->count, sizeof *base), *scratch = must_take((size_t)s->count, sizeof *scratch);
  double *sign = must_take((size_t)s->count, sizeof *sign), *g = must_take((size_t)count * PROBES, sizeof *g);
  double *reference = must_take((size_t)count * PROBES, sizeof *reference);
  memcpy(base, s->theta, (size_t)s->count * sizeof *base);
  for (int i = 0; i < count; i++) {
    const piece place = pieces[i];
    random_key key = random_key_make(8, RANDOM_TEST, (uint64_t)i);
    pieces[i].first = total; /* from here on: where its probes lie */
    pieces[i].count = 0;
    for (int p = 0; p < PROBES; p++) {
      int64_t element = p < DIRECTIONS ? -1 : place.count <= ELEMENTS ? p - DIRECTIONS : (int64_t)(random_uniform(key, 99, (uint64_t)p) * (double)place.count);
      if (element >= place.count) continue;
      double sum = 0;
      for (int64_t j = 0; j < place.count && element < 0; j++) {
        sign[j] = random_bits(key, (uint64_t)p, (uint64_t)j) & 1 ? 1 : -1;
        sum += sign[j] * s->grad[place.first + j];
      }
      g[total] = element < 0 ? sum : s->grad[place.first + element];
      reference[total++] = derivative(s, scratch, &place, base, element, sign, loss);
      pieces[i].count++;
    }
  }
  double worst = compare(c->name, count, pieces, g, reference, total);
  free(base);
  free(scratch);
  free(sign);
  free(g);
  free(reference);
  free(pieces);
  stand_destroy(s);
  return worst;
}

/* For the float program: the number of values, the loss and the gradient, as doubles on standard output. */
static int print_gradient(const char *name) {
  for (int i = 0; method_list[i]; i++) {
    case_list *list = cases_of(method_list[i]);
    for (int k = 0; k < list->count; k++) {
      if (strcmp(list->item[k].name, name)) continue;
      stand *s;
      double head[2];
      int code = stand_create(&list->item[k], &s);
      if (!code) code = stand_gradient(s, &head[1]);
      if (code) {
        fprintf(stderr, "%s: %s\n", name, error_last()->text);
        return 1;
      }
      head[0] = (double)s->count;
      size_t count = (size_t)s->count;
      int written = fwrite(head, sizeof *head, 2, stdout) == 2 && fwrite(s->grad, sizeof *s->grad, count, stdout) == count && !fflush(stdout);
      stand_destroy(s);
      free(list);
      return !written;
    }
    free(list);
  }
  fprintf(stderr, "%s: no such case\n", name);
  return 1;
}

#endif

/* ---- the tests, each over one method's cases ---- */

static void gradients_are_right(void **state) {
  const case_list *list = *state;
  double worst = 0;
  const char *at = "";
  int checked = 0;
  for (int i = 0; i < list->count; i++) {
    if (!list->item[i].family) continue;
    double off = check_gradient(&list->item[i]);
    checked++;
    if (off < worst) continue;
    worst = off;
    at = list->item[i].name;
  }
  print_message("  %d cases, worst error %.2e (%s)\n", checked, worst, at);
}

/* theta has no gaps and no overlaps, its roles add up, and what the method counts is what is there. */
static void theta_is_laid_out_without_gaps(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]);
    stand *s;
    must(stand_create(&c, &s));
    int64_t at = 0, role[3] = {0};
    for (int i = 0; i < model_segment_count(s->model); i++) {
      const segment *g = model_segment(s->model, i);
      assert_true(g->offset == at && g->rows > 0 && g->cols > 0 && g->name[0] && g->rate[0]);
      at += (int64_t)g->rows * g->cols;
      role[g->role] += (int64_t)g->rows * g->cols;
      for (int k = 0; k < i; k++) assert_string_not_equal(g->name, model_segment(s->model, k)->name);
      double size = linalg_square_sum((int64_t)g->rows * g->cols, s->theta + g->offset);
      assert_true(size > 0); /* else a gradient check says little */
    }
    assert_true(at == model_theta_count(s->model));
    for (int r = 0; r < 3; r++) assert_true(role[r] == model_role_count(s->model, (segment_role)r));
    method_counts counts;
    must(model_counts(s->model, &counts));
    assert_true(counts.trainable == role[list->method->flags & METHOD_TRAINS_BASE ? SEGMENT_BASE : SEGMENT_ADAPTER]);
    assert_true(counts.trainable + role[SEGMENT_HEAD] == at);
    assert_true(counts.stored_bytes >= 0 && counts.sent_floats >= 0 && counts.sent_floats <= counts.trainable);
    stand_destroy(s);
  }
}

/* The same seed plans and starts the same, bit for bit; another seed leaves the plan alone. */
static void a_start_depends_on_the_seed_alone(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    model_shape shape = tiny_shape("bert");
    model_options options = options_of(&settings[1], 0);
    model *m[3];
    real *theta[3], *store = NULL;
    for (int i = 0; i < 3; i++) {
      if (i == 2) options.seed++;
      must(model_create(&shape, &options, list->method, &list->variant[v].options.set, &m[i]));
      if (!store) store = must_take((size_t)model_store_count(m[i]), sizeof *store);
      must(model_attach(m[i], store));
      tiny_fill_constants(m[i], 7);
      if (i == 0) tiny_fill_store(m[i], 5, store);
      theta[i] = must_take((size_t)model_theta_count(m[i]), sizeof(real));
      must(model_init_theta(m[i], theta[i]));
      assert_int_equal(model_segment_count(m[i]), model_segment_count(m[0]));
      assert_true(model_theta_count(m[i]) == model_theta_count(m[0]));
      for (int k = 0; k < model_segment_count(m[0]); k++) {
        const segment *a = model_segment(m[0], k), *b = model_segment(m[i], k);
        assert_string_equal(a->name, b->name);
        assert_true(a->offset == b->offset && a->rows == b->rows && a->cols == b->cols && a->role == b->role && a->decays == b->decays);
      }
    }
    size_t bytes = (size_t)model_theta_count(m[0]) * sizeof(real);
    assert_memory_equal(theta[0], theta[1], bytes);
    assert_true(memcmp(theta[0], theta[2], bytes) != 0); /* the head at least */
    for (int i = 0; i < 3; i++) {
      model_destroy(m[i]);
      free(theta[i]);
    }
    free(store);
  }
}

/* What METHOD_IDENTITY_AT_START promises: before the first step the adapted model is the base model. */
static void identity_at_start_is_kept(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]), plain;
    variant defaults;
    stand *adapted, *base;
    real a[OUTPUTS], b[OUTPUTS];
    plain = head_case(&c, &defaults);
    must(stand_create(&c, &adapted));
    must(stand_create(&plain, &base));
    must(model_init_theta(adapted->model, adapted->theta));
    must(model_init_theta(base->model, base->theta));
    predict(adapted, adapted->theta, a);
    predict(base, base->theta, b);
    double apart = distance(OUTPUTS, a, b);
    if (!(apart <= 1e-6)) fail_msg("%s: outputs differ by %.3g before the first step", c.name, apart);
    stand_destroy(adapted);
    stand_destroy(base);
  }
}

/* What METHOD_MERGEABLE promises: base weights with the adapter folded in give the adapted model's outputs. A method without the promise says so. */
static double compare_merged(const gradient_case *c) {
  gradient_case plain;
  variant defaults;
  stand *adapted, *merged;
  real a[OUTPUTS], b[OUTPUTS];
  int promised = (c->method->flags & METHOD_MERGEABLE) != 0, count = c->lengths->count * c->setting->classes;
  double apart = 0, largest = 0;
  plain = head_case(c, &defaults);
  must(stand_create(c, &adapted));
  must(stand_create(&plain, &merged));
  predict(adapted, adapted->theta, a);
  for (int i = 0; i < model_param_count(adapted->model); i++) {
    const param *p = model_param(adapted->model, i), *q = model_param(merged->model, i);
    assert_string_equal(p->name, q->name);
    if (p->role == SEGMENT_HEAD) {
      memcpy(merged->theta + q->theta_offset, model_value(adapted->model, i), (size_t)p->rows * (size_t)p->cols * sizeof(real));
      continue;
    }
    if (promised) must(model_merged_value(adapted->model, i, merged->store + q->store_offset));
    else assert_int_equal(model_merged_value(adapted->model, i, merged->store + q->store_offset), ERROR_USAGE);
  }
  if (promised) {
    predict(merged, merged->theta, b);
    for (int i = 0; i < count; i++) largest = fmax(largest, fabs((double)a[i]));
    apart = distance(count, a, b) / largest;
    if (!(apart <= output_tolerance)) fail_msg("%s, %s: outputs of the merged model are %.3g off", c->name, c->lengths->name, apart);
  }
  stand_destroy(adapted);
  stand_destroy(merged);
  return apart;
}

static void merged_equals_adapted(void **state) {
  const case_list *list = *state;
  double worst = 0;
  for (int v = 0; v < list->variant_count; v++)
    for (int l = BATCH_MIXED; l <= (v < list->broad ? BATCH_ONE_SEQUENCE : BATCH_MIXED); l++) {
      gradient_case c = plain_case(list, &list->variant[v]);
      c.lengths = &batches[l];
      worst = fmax(worst, compare_merged(&c));
    }
  print_message("  worst difference %.2e\n", worst);
}

/* The batch's gradient, dropout included, is the sum of its sequences' own: neither neighbours nor the place in a shard matter, and nothing is left behind
 * in a workspace from one shard to the next. */
static void shards_add_up(void **state) {
  const case_list *list = *state;
  double worst = 0;
  for (int v = 0; v < list->broad; v++)
    for (int o = 0; o < SETTINGS; o++) {
      gradient_case c = plain_case(list, &list->variant[v]);
      stand *s;
      double loss = 0;
      c.setting = &settings[o];
      c.dropout = 1;
      must(stand_create(&c, &s));
      must(stand_gradient(s, &loss));
      real *sum = must_take((size_t)s->count, sizeof *sum);
      model_sums sums = {0};
      const int number[] = {4, 9, 2, 30};
      for (int i = c.lengths->count - 1; i >= 0; i--) {
        packed_batch alone;
        batch_fill(&alone, s->model, c.setting->objective, c.setting->classes, 1, &number[i], &c.lengths->length[i]);
        must(model_gradient(s->model, s->workspace, &alone.view, sum, &sums, NULL));
      }
      must(model_gather(s->model, s->workspace, sum));
      assert_true(fabs(sums.loss - loss) <= output_tolerance * fabs(loss));
      assert_true(sums.tokens == s->batch.view.tokens);
      double all = sqrt(linalg_square_sum(s->count, s->grad)), apart = 0;
      for (int64_t i = 0; i < s->count; i++) apart += pow((double)(sum[i] - s->grad[i]), 2);
      apart = sqrt(apart) / all;
      if (!(apart <= sum_tolerance)) fail_msg("%s/%s: gradients of single sequences sum to one %.3g off", c.name, c.setting->name, apart);
      worst = fmax(worst, apart);
      free(sum);
      stand_destroy(s);
    }
  print_message("  worst difference %.2e\n", worst);
}

/* What METHOD_DROPS_INPUT promises, and what a method without it must not do silently: be changed by dropout of the adapter's input. */
static void input_dropout_acts_where_it_is_promised(void **state) {
  const case_list *list = *state;
  gradient_case c = plain_case(list, &list->variant[0]);
  double loss[2];
  for (int i = 0; i < 2; i++) {
    stand *s;
    c.dropout = i * ADAPTER_DROPOUT;
    must(stand_create(&c, &s));
    must(stand_gradient(s, &loss[i]));
    stand_destroy(s);
  }
  assert_int_equal((list->method->flags & METHOD_DROPS_INPUT) != 0, loss[0] != loss[1]);
}

/* A mask for each adapted map is another training than one for those that read the same input; where nothing is dropped out, it is the same to the bit. */
static void masks_per_site_are_their_own(void **state) {
  const case_list *list = *state;
  for (int v = 0; v < list->broad; v++)
    for (int drops = 0; drops < 2; drops++) {
      gradient_case c = plain_case(list, &list->variant[v]);
      model_shape shape = tiny_shape("bert");
      real *store = NULL, *theta = NULL, *grad[2];
      model_sums sums[2] = {{0}};
      size_t bytes = 0;
      for (int per_site = 0; per_site < 2; per_site++) {
        model *m;
        model_workspace *w;
        packed_batch b;
        const int number[] = {4, 9, 2, 30};
        model_options options = options_of(c.setting, drops ? ADAPTER_DROPOUT : 0);
        options.drops_per_site = per_site;
        must(model_create(&shape, &options, c.method, &c.variant->options.set, &m));
        bytes = (size_t)model_theta_count(m) * sizeof(real);
        if (!store) store = must_take((size_t)model_store_count(m), sizeof *store);
        if (!theta) theta = must_take(bytes, 1);
        grad[per_site] = must_take(bytes, 1);
        must(model_attach(m, store));
        tiny_fill_store(m, 5, store);
        tiny_fill_constants(m, 7);
        must(model_choose(m, 3));
        must(tiny_fill_theta(m, 6, 0.3, 0.3, theta));
        batch_fill(&b, m, c.setting->objective, c.setting->classes, c.lengths->count, number, c.lengths->length);
        must(model_workspace_create(m, b.view.tokens, b.view.sequences, b.view.masked, b.squares, 1, &w));
        must(model_expand(m, theta));
        must(model_gradient(m, w, &b.view, grad[per_site], &sums[per_site], NULL));
        must(model_gather(m, w, grad[per_site]));
        model_workspace_destroy(w);
        model_destroy(m);
      }
      int same = sums[0].loss == sums[1].loss && !memcmp(grad[0], grad[1], bytes);
      assert_int_equal(same, !drops);
      free(grad[0]);
      free(grad[1]);
      free(theta);
      free(store);
    }
}

typedef struct test_kind {
  const char *name;
  CMUnitTestFunction run;
  unsigned promise; /* only for methods with this flag */
} test_kind;

static const test_kind kinds[] = {
    {"gradients", gradients_are_right, 0},
    {"layout of theta and counts", theta_is_laid_out_without_gaps, 0},
    {"start", a_start_depends_on_the_seed_alone, 0},
    {"identity at start", identity_at_start_is_kept, METHOD_IDENTITY_AT_START},
    {"merging", merged_equals_adapted, 0},
    {"dropout of the input", input_dropout_acts_where_it_is_promised, 0},
    {"a mask for each adapted map", masks_per_site_are_their_own, METHOD_DROPS_INPUT},
    {"shards add up", shards_add_up, 0},
    {"dense and compact messages", compact_equals_dense, 0},
    {"segments off the path rest", inactive_segments_rest, 0},
    {"expansion leaves no trace", expansion_leaves_no_trace, 0},
    {"restart", a_restart_changes_nothing, 0},
    {"saving and loading", what_is_saved_is_loaded, 0},
    {"damaged and foreign files", wrong_arrays_are_refused, 0},
    {"projections from files", projections_can_be_imported, METHOD_SEEDED},
};
enum { KINDS = sizeof kinds / sizeof *kinds, TESTS_MAX = 64 * KINDS };

int main(int count, char **words) {
  if (linalg_setup()) {
    fprintf(stderr, "%s\n", error_last()->text);
    return 1;
  }
#ifdef PEFTSCALE_DOUBLE
  if (count == 3 && !strcmp(words[1], "--gradient")) return print_gradient(words[2]);
#endif
  /* A word on the command line: only the tests of the method with that name. */
  static struct CMUnitTest tests[TESTS_MAX];
  static char names[TESTS_MAX][96];
  static case_list *lists[64];
  int used = 0;
  for (int i = 0; method_list[i] && i < 64; i++) {
    if (count > 1 && strcmp(words[1], method_list[i]->name)) continue;
    lists[i] = cases_of(method_list[i]);
    for (int k = 0; k < KINDS; k++) {
      if (kinds[k].promise & ~method_list[i]->flags) continue;
      snprintf(names[used], sizeof names[used], "%s: %s", method_list[i]->name, kinds[k].name);
      tests[used++] = (struct CMUnitTest){.name = names[used], .test_func = kinds[k].run, .initial_state = lists[i]};
    }
  }
  if (!used) {
    fprintf(stderr, "there is no method '%s'\n", count > 1 ? words[1] : "");
    return 1;
  }
  int failed = _cmocka_run_group_tests("conformance", tests, (size_t)used, NULL, NULL);
  for (int i = 0; i < 64; i++) free(lists[i]);
  return failed != 0;
}
