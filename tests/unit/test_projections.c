/* Methods of few trained numbers and a map to many: VeRA's shared pair, Tied-LoRA's pair, Uni-LoRA's isometric projection. */
#include "linalg/linalg.h"
#include "method/lowrank.h"
#include "support/bare.h"

static int setup(void **state) {
  (void)state;
  return linalg_setup();
}

/* ---- VeRA ---- */

enum { RANK = 3, ROWS = 4 };

/* Two widths of input and two of output: q is narrower both ways than what the pair is drawn for. */
static void vera_create(bare *b, const char *seed) {
  const char *const words[] = {"rank", "3", "modules", "q,up,down", "projection_seed", seed, NULL};
  bare_map(b, 0, "q", 4, 6, 0);
  bare_map(b, 0, "up", 9, 6, 0);
  bare_map(b, 0, "down", 6, 9, 0);
  must(bare_plan(b, "vera", 1, words));
  bare_ready(b, ROWS);
}

static void vera_uses_left_columns_and_top_rows(void **state) {
  (void)state;
  bare b = {0};
  vera_create(&b, "5");
  const method_constant *pair = b.adapter->constants;
  assert_true(pair[0].rows == RANK && pair[0].cols == 9 && pair[1].rows == 9 && pair[1].cols == RANK);
  bare_stir(&b, 0.5);
  bare_expand(&b);
  for (int g = 0; g < 3; g++) {
    const site *s = &b.sites[g];
    real x[ROWS * 9], y[ROWS * 9], base[ROWS * 9] = {0}, weight[9 * 9];
    char inner[64], outer[64];
    snprintf(inner, sizeof inner, "%s.d", s->name);
    snprintf(outer, sizeof outer, "%s.b", s->name);
    const real *d = bare_numbers(&b, inner), *v = bare_numbers(&b, outer);
    bare_draw(1, 1, ROWS * s->in, x);
    bare_base(&b, g, ROWS, x, base);
    memcpy(y, base, sizeof y);
    bare_forward(&b, g, ROWS, x, y);
    memcpy(weight, b.weight[g], (size_t)(s->out * s->in) * sizeof *weight);
    must(b.adapter->method->merge(b.adapter, g, weight, NULL));
    for (int o = 0; o < s->out; o++) {
      double change[9] = {0};
      for (int j = 0; j < s->in; j++) {
        for (int k = 0; k < RANK; k++) change[j] += (double)v[o] * (double)pair[1].value[o * RANK + k] * (double)d[k] * (double)pair[0].value[k * 9 + j];
        near("merged weight", (double)weight[o * s->in + j], (double)b.weight[g][o * s->in + j] + change[j]);
      }
      for (int t = 0; t < ROWS; t++) {
        double sum = (double)base[t * s->out + o];
        for (int j = 0; j < s->in; j++) sum += change[j] * (double)x[t * s->in + j];
        near("output", (double)y[t * s->out + o], sum);
      }
    }
  }
  bare_destroy(&b);
}

static void check_uniform(const method_constant *c, double bound) {
  double sum = 0, squares = 0, largest = 0;
  int64_t count = c->rows * c->cols;
  for (int64_t i = 0; i < count; i++) {
    sum += (double)c->value[i];
    squares += (double)c->value[i] * (double)c->value[i];
    largest = fmax(largest, fabs((double)c->value[i]));
  }
  assert_true(largest <= bound * (1 + 1e-6) && largest > 0.99 * bound);
  assert_true(fabs(sum / (double)count) < 0.02 * bound && fabs(sqrt(3 * squares / (double)count) / bound - 1) < 0.02);
}

/* Kaiming's bound for the stored shape, that is for the widest input and the rank; one pair per seed. */
static void vera_draws_its_pair_from_the_seed(void **state) {
  (void)state;
  const char *const words[] = {"rank", "64", "modules", "q,down", NULL}, *const other_words[] = {"rank", "64", "modules", "q,down", "projection_seed",
                                                                                                 "2",    NULL};
  bare b[3] = {0};
  for (int i = 0; i < 3; i++) {
    bare_map(&b[i], 0, "q", 100, 100, 0);
    bare_map(&b[i], 0, "down", 100, 400, 0);
    must(bare_plan(&b[i], "vera", i == 1 ? 2 : 1, i == 2 ? other_words : words));
    bare_ready(&b[i], 1);
  }
  check_uniform(&b[0].adapter->constants[0], sqrt(6.0 / 400));
  check_uniform(&b[0].adapter->constants[1], sqrt(6.0 / 64));
  for (int k = 0; k < 2; k++) {
    const method_constant *c = &b[0].adapter->constants[k], *d = &b[1].adapter->constants[k], *e = &b[2].adapter->constants[k];
    size_t bytes = (size_t)(c->rows * c->cols) * sizeof(real);
    assert_true(memcmp(c->value, d->value, bytes) != 0);
    assert_memory_equal(d->value, e->value, bytes); /* auto is the run's seed */
  }
  assert_true(memcmp(b[0].adapter->constants[0].value, b[0].adapter->constants[1].value, 64 * sizeof(real)) != 0);
  for (int i = 0; i < 3; i++) bare_destroy(&b[i]);
}

/* b = 0 at the start: nothing changes, d gets no gradient, b does. */
static void vera_moves_b_first(void **state) {
  (void)state;
  bare b = {0};
  real x[ROWS * 6], y[ROWS * 9], base[ROWS * 9];
  vera_create(&b, "auto");
  for (int i = 0; i < b.adapter->segment_count; i++) {
    const segment *s = &b.adapter->segments[i];
    int is_d = s->name[strlen(s->name) - 1] == 'd';
    for (int k = 0; k < s->cols; k++) assert_true(b.theta[s->offset + k] == (is_d ? (real)0.1 : 0));
  }
  bare_expand(&b);
  bare_draw(1, 1, ROWS * 6, x);
  bare_base(&b, 1, ROWS, x, base);
  memcpy(y, base, sizeof y);
  bare_forward(&b, 1, ROWS, x, y);
  assert_memory_equal(y, base, sizeof y);
  bare_draw(2, 1, ROWS * 9, y);
  bare_backward(&b, 1, ROWS, x, y, NULL);
  bare_gather(&b);
  const segment *d = bare_segment(&b, "layer.0.up.d"), *v = bare_segment(&b, "layer.0.up.b");
  for (int k = 0; k < d->cols; k++) assert_true(b.grad[d->offset + k] == 0);
  for (int k = 0; k < v->cols; k++) assert_true(b.grad[v->offset + k] != 0);
  bare_destroy(&b);
}

/* ---- the laid-out pair against the plain one ---- */

enum { MANY = 131, ROOM = 132, WIDE = 80 }; /* two blocks of rows, and three rows; with what a product may write behind them */

typedef struct vera_results {
  real y[3][ROOM * WIDE], dx[3][ROOM * WIDE], *grad;
  int64_t count;
} vera_results;

/* q and v, up, down: two widths of input, of which one is narrower than what is stored. */
static void vera_run(const adapter_settings *set, vera_results *r) {
  bare b = {.settings = *set};
  const char *const words[] = {"rank", "20", "modules", "all", NULL};
  real *x = must_take(ROOM * WIDE, sizeof *x), *dy = must_take(ROOM * WIDE, sizeof *dy);
  bare_map(&b, 0, "q", 40, 48, 0);
  bare_map(&b, 0, "v", 40, 48, 1);
  bare_map(&b, 0, "up", 80, 48, 0);
  bare_map(&b, 0, "down", 48, 80, 0);
  must(bare_plan(&b, "vera", 3, words));
  bare_ready(&b, MANY);
  must(linalg_desk_create(ROOM, WIDE, LINALG_F32, &b.work.desk));
  for (int i = 0; i < MANY; i++) b.keys[i] = (uint64_t)i; /* streams: every row its own mask */
  bare_stir(&b, 0.5);
  bare_expand(&b);
  for (int g = 0; g < 3; g++) {
    bare_draw(1 + (uint64_t)g, 1, MANY * b.groups[g].in, x);
    bare_draw(11 + (uint64_t)g, 1, MANY * bare_stride(&b, g), dy);
    bare_draw(21 + (uint64_t)g, 1, MANY * bare_stride(&b, g), r->y[g]);
    bare_draw(31 + (uint64_t)g, 1, MANY * b.groups[g].in, r->dx[g]);
    bare_forward(&b, g, MANY, x, r->y[g]);
    bare_backward(&b, g, MANY, x, dy, r->dx[g]);
  }
  bare_gather(&b);
  r->count = b.adapter->theta_count;
  r->grad = must_take((size_t)r->count, sizeof *r->grad);
  memcpy(r->grad, b.grad, (size_t)r->count * sizeof *r->grad);
  linalg_desk_destroy(b.work.desk);
  bare_destroy(&b);
  free(x);
  free(dy);
}

static void vera_is_the_same_from_either_library(void **state) {
  (void)state;
  static vera_results plain, laid_out;
  if (linalg_backend_check(LINALG_ONEDNN, LINALG_F32)) skip();
  for (int k = 0; k < 3; k++) {
    adapter_settings set = {.dropout = k ? 0.3 : 0, .drops_per_site = k == 2, .backend = LINALG_OPENBLAS};
    vera_run(&set, &plain);
    set.backend = LINALG_ONEDNN;
    vera_run(&set, &laid_out);
    for (int g = 0; g < 3; g++)
      for (int i = 0; i < MANY * 48; i++) { /* no row is narrower */
        assert_true(fabs((double)plain.y[g][i] - (double)laid_out.y[g][i]) < 1e-4);
        assert_true(fabs((double)plain.dx[g][i] - (double)laid_out.dx[g][i]) < 1e-4);
      }
    double most = 0;
    for (int64_t i = 0; i < plain.count; i++) most = fmax(most, fabs((double)plain.grad[i]));
    for (int64_t i = 0; i < plain.count; i++) assert_true(fabs((double)plain.grad[i] - (double)laid_out.grad[i]) < 1e-5 * most);
    free(plain.grad);
    free(laid_out.grad);
  }
}

static void vera_finds_its_rank(void **state) {
  (void)state;
  static const struct { int width, rank; } known[] = {{6, 24}, {255, 1020}, {256, 1024}, {768, 1024}};
  for (int i = 0; i < 4; i++) {
    bare b = {0};
    bare_map(&b, 0, "q", 2, known[i].width, 0);
    must(bare_plan(&b, "vera", 1, (const char *const[]){"modules", "q", NULL}));
    assert_int_equal(b.adapter->constants[0].rows, known[i].rank);
    assert_true(b.adapter->resolved_count == 1 && b.adapter->resolved[0].value == known[i].rank && !strcmp(b.adapter->resolved[0].name, "rank"));
    bare_destroy(&b);
  }
}

/* ---- Tied-LoRA ---- */

static int tied_create(bare *b, const char *variant, const char *tie, const char *modules) {
  const char *const words[] = {"rank", "3", "variant", variant, "tie", tie, "modules", modules, NULL};
  for (int l = 0; l < 2; l++) {
    bare_map(b, l, "q", 6, 6, 0);
    bare_map(b, l, "v", 6, 6, 1);
    bare_map(b, l, "qkv", 18, 6, 1);
    bare_map(b, l, "up", 8, 6, 0);
  }
  TRY(bare_plan(b, "tied", 1, words));
  bare_ready(b, ROWS);
  return ERROR_NONE;
}

static void has_shape(const bare *b, const char *name, int rows, int cols) {
  const segment *s = bare_segment(b, name);
  if (s->rows != rows || s->cols != cols) fail_msg("%s is %d x %d", name, s->rows, s->cols);
}

static void tied_variants_have_their_shapes(void **state) {
  (void)state;
  bare b[4] = {0};
  must(tied_create(&b[0], "tl5", "type", "qkv"));
  assert_int_equal(b[0].adapter->segment_count, 2);
  has_shape(&b[0], "tied.qkv.A", 3, 6);
  has_shape(&b[0], "tied.qkv.B", 18, 3);
  must(tied_create(&b[1], "tl6", "type", "qkv"));
  assert_int_equal(b[1].adapter->segment_count, 2 + 2 * 2);
  has_shape(&b[1], "layer.1.qkv.u", 1, 3);
  has_shape(&b[1], "layer.1.qkv.v", 1, 18);
  must(tied_create(&b[2], "tl5", "type", "q,v,up")); /* one pair per name */
  assert_int_equal(b[2].adapter->segment_count, 6);
  has_shape(&b[2], "tied.up.B", 8, 3);
  must(tied_create(&b[3], "tl6", "square", "q,v")); /* one for all */
  assert_int_equal(b[3].adapter->segment_count, 2 + 4 * 2);
  has_shape(&b[3], "tied.square.A", 3, 6);
  for (int i = 0; i < 4; i++) { /* the start: A drawn, B = 0, u = v = 1 */
    for (int k = 0; k < b[i].adapter->segment_count; k++) {
      const segment *s = &b[i].adapter->segments[k];
      char last = s->name[strlen(s->name) - 1];
      for (int e = 0; e < s->rows * s->cols; e++) {
        real x = b[i].theta[s->offset + e];
        assert_true(last == 'A' ? x != 0 && fabs((double)x) <= 1 / sqrt(6.0) : last == 'B' ? x == 0 : x == 1);
      }
      assert_string_equal(s->rate, last == 'A' || last == 'B' ? "tied" : "adapter");
    }
    bare_destroy(&b[i]);
  }
}

static void tied_refuses_a_square_tie_of_mixed_shapes(void **state) {
  (void)state;
  bare b = {0}, other = {0};
  assert_int_equal(tied_create(&b, "tl6", "square", "q,up"), ERROR_USAGE);
  says("method.tie=square");
  assert_non_null(strstr(error_last()->hint, "method.tie=type"));
  assert_int_equal(tied_create(&other, "tl5", "square", "all"), ERROR_USAGE);
  bare_destroy(&b);
  bare_destroy(&other);
}

/* A and B are one pair for both layers: their gradient is the sum of what each layer alone gives; u and v see their own layer alone. */
static void tied_gradients_are_sums_over_layers(void **state) {
  (void)state;
  static const char *const variants[] = {"tl5", "tl6"}, *const ties[] = {"type", "square"};
  for (int k = 0; k < 4; k++) {
    bare b = {0};
    real x[2][ROWS * 6], dy[2][ROWS * 30], y[ROWS * 30], held[ROWS * 30], *grad[3];
    must(tied_create(&b, variants[k % 2], ties[k / 2], "q,v"));
    bare_stir(&b, 0.5);
    bare_expand(&b);
    for (int which = 0; which < 3; which++) { /* layer 0, layer 1, both */
      for (int l = 0; l < 2; l++) {
        if (which < 2 && which != l) continue;
        bare_draw(10 + (uint64_t)l, 1, ROWS * 6, x[l]);
        bare_draw(20 + (uint64_t)l, 1, ROWS * 30, dy[l]);
        bare_base(&b, 2 * l, ROWS, x[l], y);
        bare_forward(&b, 2 * l, ROWS, x[l], y);
        memcpy(held, dy[l], sizeof held);
        bare_backward(&b, 2 * l, ROWS, x[l], held, NULL);
      }
      bare_gather(&b);
      grad[which] = must_take((size_t)b.adapter->theta_count, sizeof(real));
      memcpy(grad[which], b.grad, (size_t)b.adapter->theta_count * sizeof(real));
    }
    for (int i = 0; i < b.adapter->segment_count; i++) {
      const segment *s = &b.adapter->segments[i];
      int is_tied = !strncmp(s->name, "tied.", 5), layer = is_tied ? -1 : s->name[6] - '0';
      for (int64_t e = s->offset; e < s->offset + (int64_t)s->rows * s->cols; e++) {
        near(s->name, (double)grad[2][e], (double)grad[0][e] + (double)grad[1][e]);
        if (is_tied) assert_true(grad[0][e] != 0 && grad[1][e] != 0);
        else assert_true(grad[1 - layer][e] == 0 && grad[layer][e] != 0);
      }
    }
    for (int i = 0; i < 3; i++) free(grad[i]);
    bare_destroy(&b);
  }
}

/* ---- Uni-LoRA ---- */

typedef struct uni_shape {
  int in, out, rank, d;
} uni_shape;

static const uni_shape uni_shapes[] = {{7, 5, 3, 11},   {13, 9, 1, 22},   {5, 4, 2, 18}, {5, 4, 2, 1},
                                       {17, 11, 4, 16}, {64, 33, 3, 101}, {1, 1, 1, 2},  {19, 20, 5, 390}};
enum { UNI_SHAPES = sizeof uni_shapes / sizeof *uni_shapes };

static int uni_create(bare *b, const uni_shape *s, uint64_t seed) {
  char rank[16], d[16];
  snprintf(rank, sizeof rank, "%d", s->rank);
  snprintf(d, sizeof d, "%d", s->d);
  bare_map(b, 0, "q", s->out, s->in, 0);
  bare_map(b, 0, "v", s->out, s->in, 1);
  const char *const words[] = {"rank", rank, "modules", "q,v", "d", s->d ? d : "auto", NULL};
  TRY(bare_plan(b, "unilora", seed, words));
  bare_ready(b, 1);
  return ERROR_NONE;
}

/* index[i] and scale[i] of every factor: by expanding theta = 1, 1 .. and theta = 1, 2 .. */
static void uni_recover(bare *b, int *index, double *scale) {
  const lowrank *l = b->adapter->state;
  int64_t factors = b->adapter->factor_count, d = b->adapter->theta_count;
  for (int64_t j = 0; j < d; j++) b->theta[j] = 1;
  bare_expand(b);
  for (int64_t i = 0; i < factors; i++) scale[i] = (double)l->factors[i];
  for (int64_t j = 0; j < d; j++) b->theta[j] = (real)(j + 1);
  bare_expand(b);
  for (int64_t i = 0; i < factors; i++) {
    double j = (double)l->factors[i] / scale[i];
    index[i] = (int)lrint(j) - 1;
    assert_true(fabs(j - index[i] - 1) < 1e-3 && index[i] >= 0 && index[i] < d);
  }
}

/* Every trained number is used floor(D / d) times or once more, each use weighs 1 / sqrt(uses), and so P^T P = I. */
static void uni_projection_is_balanced_and_isometric(void **state) {
  (void)state;
  for (int k = 0; k < UNI_SHAPES; k++) {
    bare b = {0};
    must(uni_create(&b, &uni_shapes[k], 3));
    const lowrank *l = b.adapter->state;
    int factors = (int)b.adapter->factor_count, d = uni_shapes[k].d, more = 0;
    assert_true(factors == 2 * uni_shapes[k].rank * (uni_shapes[k].in + uni_shapes[k].out) && b.adapter->theta_count == d);
    int *index = must_take((size_t)factors, sizeof *index), *uses = must_take((size_t)d, sizeof *uses);
    double *scale = must_take((size_t)factors, sizeof *scale);
    uni_recover(&b, index, scale);
    for (int i = 0; i < factors; i++) uses[index[i]]++;
    for (int j = 0; j < d; j++) {
      assert_true(uses[j] == factors / d || uses[j] == factors / d + 1);
      more += uses[j] > factors / d;
    }
    assert_int_equal(more, factors % d);
    for (int i = 0; i < factors; i++) near("scale", scale[i], 1 / sqrt((double)uses[index[i]]));
    bare_stir(&b, 1);
    bare_expand(&b);
    memcpy(b.work.factor_gradient, l->factors, (size_t)factors * sizeof(real)); /* P^T P theta, by way of gather */
    bare_gather(&b);
    for (int j = 0; j < d; j++) near("P^T P theta", (double)b.grad[j], (double)b.theta[j]);
    for (int i = 0; i < factors; i++) assert_true(b.work.factor_gradient[i] == 0);
    free(index);
    free(uses);
    free(scale);
    bare_destroy(&b);
  }
}

static void uni_map_is_its_seeds(void **state) {
  (void)state;
  const uni_shape *shape = &uni_shapes[5];
  int *index[3];
  double *scale;
  for (int i = 0; i < 3; i++) {
    bare b = {0};
    must(uni_create(&b, shape, i == 2 ? 4 : 3));
    int factors = (int)b.adapter->factor_count, kept = 0;
    index[i] = must_take((size_t)factors, sizeof *index[i]);
    scale = must_take((size_t)factors, sizeof *scale);
    uni_recover(&b, index[i], scale);
    if (i == 1) assert_memory_equal(index[0], index[1], (size_t)factors * sizeof *index[0]);
    for (int k = 0; k < factors; k++) kept += index[i][k] == (i == 2 ? index[0][k] : k % shape->d);
    if (i != 1) assert_true(kept < factors / 10); /* neither another seed's map nor one in order: 1 in d agree by chance */
    free(scale);
    bare_destroy(&b);
  }
  for (int i = 0; i < 3; i++) free(index[i]);
}

static void uni_finds_d_or_refuses_it(void **state) {
  (void)state;
  const uni_shape automatic[] = {{7, 5, 3, 0}, {1, 1, 1, 0}, {96, 96, 1, 0}}, large = {5, 4, 2, 37};
  const int wanted[] = {11, 1, 60}; /* D / 6.4, rounded, and at least 1 */
  for (int i = 0; i < 3; i++) {
    bare b = {0};
    must(uni_create(&b, &automatic[i], 1));
    assert_int_equal(b.adapter->theta_count, wanted[i]);
    bare_destroy(&b);
  }
  bare single = {0}; /* D = 2: D / 6.4 is nearer to no number at all than to one */
  bare_map(&single, 0, "q", 1, 1, 0);
  must(bare_plan(&single, "unilora", 1, (const char *const[]){"rank", "1", "modules", "q", NULL}));
  assert_int_equal(single.adapter->theta_count, 1);
  bare_ready(&single, 1);
  bare_expand(&single);
  bare_destroy(&single);
  bare b = {0};
  assert_int_equal(uni_create(&b, &large, 1), ERROR_USAGE);
  says("method.d=37 is more than the 36");
  bare_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vera_uses_left_columns_and_top_rows),
      cmocka_unit_test(vera_draws_its_pair_from_the_seed),
      cmocka_unit_test(vera_moves_b_first),
      cmocka_unit_test(vera_is_the_same_from_either_library),
      cmocka_unit_test(vera_finds_its_rank),
      cmocka_unit_test(tied_variants_have_their_shapes),
      cmocka_unit_test(tied_refuses_a_square_tie_of_mixed_shapes),
      cmocka_unit_test(tied_gradients_are_sums_over_layers),
      cmocka_unit_test(uni_projection_is_balanced_and_isometric),
      cmocka_unit_test(uni_map_is_its_seeds),
      cmocka_unit_test(uni_finds_d_or_refuses_it),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
