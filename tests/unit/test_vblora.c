/* VB-LoRA: how tiles are chosen, mixed and put in their places, what their gradients are, and what is stored of them. */
#include "method/lowrank.h"
#include "support/bare.h"

enum { IN = 12, OUT = 8, LENGTH = 4, RANK = 3 };

static int vb_plan(bare *b, int in, int out, const char *bank, const char *top_k, const char *length) {
  const char *const words[] = {"rank", "3", "modules", "q", "bank", bank, "top_k", top_k, "vector_length", length, NULL};
  bare_map(b, 0, "q", out, in, 0);
  return bare_plan(b, "vblora", 1, words);
}

static void vb_create(bare *b, const char *bank, const char *top_k) {
  must(vb_plan(b, IN, OUT, bank, top_k, "4"));
  bare_ready(b, 1);
}

/* Indices of the k best by the plainest of rules: the largest that is left, of equals the first. */
static void best(int count, int k, const real *logits, int *chosen) {
  for (int p = 0; p < k; p++) {
    chosen[p] = -1;
    for (int i = 0; i < count; i++) {
      int taken = 0;
      for (int q = 0; q < p; q++) taken |= chosen[q] == i;
      if (!taken && (chosen[p] < 0 || logits[i] > logits[chosen[p]])) chosen[p] = i;
    }
  }
}

/* A[q][j b + c] is tile row q (in / b) + j of logits_A, B[j b + c][q] row j r + q of logits_B, number c. */
typedef struct place {
  const real *logits;
  int tile, number;
} place;

static place place_of_a(const bare *b, int bank, int row, int column) {
  int tile = row * (IN / LENGTH) + column / LENGTH;
  return (place){bare_numbers(b, "layer.0.q.logits_A") + tile * bank, tile, column % LENGTH};
}

static place place_of_b(const bare *b, int bank, int row, int column) {
  int tile = row / LENGTH * RANK + column;
  return (place){bare_numbers(b, "layer.0.q.logits_B") + tile * bank, tile, row % LENGTH};
}

static double mixed(const bare *b, int bank, int k, place p) {
  int chosen[16];
  double all = 0, sum = 0;
  best(bank, k, p.logits, chosen);
  for (int i = 0; i < k; i++) all += exp((double)(p.logits[chosen[i]] - p.logits[chosen[0]]));
  for (int i = 0; i < k; i++) sum += exp((double)(p.logits[chosen[i]] - p.logits[chosen[0]])) / all * (double)b->theta[chosen[i] * LENGTH + p.number];
  return sum;
}

static const struct { const char *bank, *top_k; } kinds[] = {{"9", "2"}, {"9", "1"}, {"5", "5"}, {"1", "1"}, {"300", "3"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void factors_are_mixtures_in_their_places(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    bare b = {0};
    int bank = atoi(kinds[i].bank), k = atoi(kinds[i].top_k);
    vb_create(&b, kinds[i].bank, kinds[i].top_k);
    bare_stir(&b, 1);
    bare_expand(&b);
    const lowrank *l = b.adapter->state;
    const real *first = l->factors + l->pairs[0].a, *second = l->factors + l->pairs[0].b;
    for (int q = 0; q < RANK; q++) {
      for (int j = 0; j < IN; j++) near("A", (double)first[q * IN + j], mixed(&b, bank, k, place_of_a(&b, bank, q, j)));
      for (int j = 0; j < OUT; j++) near("B", (double)second[j * RANK + q], mixed(&b, bank, k, place_of_b(&b, bank, j, q)));
    }
    bare_destroy(&b);
  }
}

static const char *const factor_names[2] = {"layer.0.q.logits_A", "layer.0.q.logits_B"};

/* dbank[S_p] += w_p g, dlogit[S_p] = w_p <g, bank[S_p] - tile>, all others exactly 0; of a single vector the weight is fixed. */
static void gradients_reach_what_was_chosen(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    bare b = {0};
    int bank = atoi(kinds[i].bank), k = atoi(kinds[i].top_k);
    vb_create(&b, kinds[i].bank, kinds[i].top_k);
    bare_stir(&b, 1);
    bare_expand(&b);
    const lowrank *l = b.adapter->state;
    bare_draw(40, 1, b.adapter->factor_count, b.work.factor_gradient);
    real *g = must_take((size_t)b.adapter->factor_count, sizeof *g);
    memcpy(g, b.work.factor_gradient, (size_t)b.adapter->factor_count * sizeof *g);
    bare_gather(&b);
    double *wanted = must_take((size_t)b.adapter->theta_count, sizeof *wanted);
    for (int part = 0; part < 2; part++) {
      const int tiles = (part ? OUT : IN) / LENGTH * RANK;
      const segment *s = bare_segment(&b, factor_names[part]);
      assert_true(s->rows == tiles && s->cols == bank);
      for (int tile = 0; tile < tiles; tile++) {
        const real *logits = b.theta + s->offset + tile * bank;
        int chosen[16];
        double all = 0;
        best(bank, k, logits, chosen);
        for (int p = 0; p < k; p++) all += exp((double)(logits[chosen[p]] - logits[chosen[0]]));
        for (int p = 0; p < k; p++) {
          double w = exp((double)(logits[chosen[p]] - logits[chosen[0]])) / all;
          for (int c = 0; c < LENGTH; c++) {
            int64_t at = part ? l->pairs[0].b + (tile / RANK * LENGTH + c) * RANK + tile % RANK : l->pairs[0].a + tile * LENGTH + c;
            double part_g = (double)g[at];
            wanted[chosen[p] * LENGTH + c] += w * part_g;
            wanted[s->offset + tile * bank + chosen[p]] += w * part_g * ((double)b.theta[chosen[p] * LENGTH + c] - (double)l->factors[at]);
          }
        }
        for (int h = 0; h < bank; h++) {
          int is_chosen = 0;
          for (int p = 0; p < k; p++) is_chosen |= chosen[p] == h;
          if (!is_chosen || k == 1) assert_true(b.grad[s->offset + tile * bank + h] == 0);
        }
      }
    }
    for (int64_t e = 0; e < b.adapter->theta_count; e++) near("gradient", (double)b.grad[e], wanted[e]);
    free(wanted);
    free(g);
    bare_destroy(&b);
  }
}

/* Equal logits: the lower index, best first, wherever the equals stand. */
static void ties_take_the_lower_index(void **state) {
  (void)state;
  static const real rows[][6] = {{0, 0, 0, 0, 0, 0}, {1, 2, 2, 1, 2, 2}, {0, 0, 3, 0, 0, 3}, {-1, 5, 5, 5, 5, 7}, {-2, -2, -2, -2, -2, -3}};
  static const uint8_t wanted[][3] = {{0, 1, 2}, {1, 2, 4}, {2, 5, 0}, {5, 1, 2}, {0, 1, 2}};
  bare b = {0};
  vb_create(&b, "6", "3");
  const segment *s = bare_segment(&b, factor_names[0]);
  uint8_t chosen[9 * 3];
  stored_array array;
  for (int tile = 0; tile < 9; tile++) memcpy(b.theta + s->offset + tile * 6, rows[tile % 5], sizeof rows[0]);
  must(adapter_stored(b.adapter, 1, &array));
  assert_string_equal(array.name, "layer.0.q.logits_A.chosen");
  assert_true(array.type == STORED_U8 && array.rows == 9 && array.cols == 3);
  must(adapter_save(b.adapter, b.theta, 1, chosen));
  for (int tile = 0; tile < 9; tile++) assert_memory_equal(chosen + 3 * tile, wanted[tile % 5], 3);
  bare_destroy(&b);
}

static void the_start_is_as_said(void **state) {
  (void)state;
  bare b = {0};
  vb_create(&b, "90", "2");
  double sum = 0, squares = 0;
  const segment *bank = bare_segment(&b, "bank"), *logits = bare_segment(&b, factor_names[0]);
  for (int i = 0; i < 90 * LENGTH; i++) assert_true(fabs((double)b.theta[i]) <= 0.02 && b.theta[i] != 0);
  for (int64_t i = 0; i < 9 * 90; i++) {
    sum += (double)b.theta[logits->offset + i];
    squares += pow((double)b.theta[logits->offset + i], 2);
  }
  assert_true(fabs(sqrt(squares / 810) / 0.01 - 1) < 0.1 && fabs(sum / 810) < 0.001);
  assert_true(!bank->decays && !logits->decays && bank->rate_factor == 1 && logits->rate_factor == 10 && bank->rate_own == 0 && logits->rate_own == 0);
  bare_destroy(&b);
}

static void the_length_divides_every_width(void **state) {
  (void)state;
  static const struct {
    int in, out, length;
  } known[] = {{16, 32, 16}, {768, 3072, 256}, {384, 1536, 192}, {300, 500, 100}, {7, 5, 1}, {1024, 1024, 256}, {257, 514, 1}, {1, 1, 1}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    bare b = {0};
    must(vb_plan(&b, known[i].in, known[i].out, "9", "2", "auto"));
    if (b.adapter->segments[0].cols != known[i].length) fail_msg("%d x %d: %d", known[i].in, known[i].out, b.adapter->segments[0].cols);
    assert_true(b.adapter->resolved_count == 1 && b.adapter->resolved[0].value == known[i].length);
    bare_destroy(&b);
  }
  bare b[3] = {0};
  assert_int_equal(vb_plan(&b[0], 16, 32, "9", "2", "5"), ERROR_USAGE);
  says("method.vector_length=5 does not divide layer.0.q (32 x 16)");
  assert_int_equal(vb_plan(&b[1], 16, 32, "9", "2", "32"), ERROR_USAGE); /* one width alone is not enough */
  assert_int_equal(vb_plan(&b[2], 16, 32, "2", "3", "auto"), ERROR_USAGE);
  says("method.top_k=3 is more than the bank's 2");
  for (int i = 0; i < 3; i++) bare_destroy(&b[i]);
}

/* Index width follows the bank; a stored result mixes as the trained one did, at every k, with logits far apart too. */
static void stored_tiles_mix_alike(void **state) {
  (void)state;
  static const struct {
    const char *bank, *top_k;
    stored_type type;
  } known[] = {{"9", "2", STORED_U8},      {"256", "3", STORED_U8}, {"257", "2", STORED_U16},
               {"65537", "2", STORED_I32}, {"9", "1", STORED_U8},   {"5", "5", STORED_U8}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    bare from = {0}, to = {0};
    stored_array array;
    vb_create(&from, known[i].bank, known[i].top_k);
    vb_create(&to, known[i].bank, known[i].top_k);
    bare_stir(&from, 5);
    memset(to.theta, 0, (size_t)to.adapter->theta_count * sizeof(real));
    must(adapter_stored(from.adapter, 1, &array));
    assert_int_equal(array.type, known[i].type);
    for (int k = 0; k < adapter_stored_count(from.adapter); k++) {
      must(adapter_stored(from.adapter, k, &array));
      void *values = must_take((size_t)stored_array_bytes(&array), 1);
      must(adapter_save(from.adapter, from.theta, k, values));
      must(adapter_load(to.adapter, k, values, to.theta));
      free(values);
    }
    bare_expand(&from);
    bare_expand(&to);
    const lowrank *x = from.adapter->state, *y = to.adapter->state;
    for (int64_t k = 0; k < from.adapter->factor_count; k++) near("factor", (double)y->factors[k], (double)x->factors[k]);
    bare_destroy(&from);
    bare_destroy(&to);
  }
}

static void wrong_weights_are_refused(void **state) {
  (void)state;
  bare b = {0};
  vb_create(&b, "9", "3");
  float weights[9 * 2];
  uint8_t chosen[9 * 3];
  must(adapter_save(b.adapter, b.theta, 1, chosen));
  must(adapter_save(b.adapter, b.theta, 2, weights));
  must(adapter_load(b.adapter, 1, chosen, b.theta));
  const float wrong[][2] = {{-0.5f, 0.5f}, {0.7f, 0.7f}, {1.5f, -0.2f}, {NAN, 0.1f}};
  for (int i = 0; i < 4; i++) {
    memcpy(weights + 6, wrong[i], sizeof wrong[i]);
    assert_int_equal(adapter_load(b.adapter, 2, weights, b.theta), ERROR_INPUT);
    says("tile 3");
  }
  bare_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(factors_are_mixtures_in_their_places),
      cmocka_unit_test(gradients_reach_what_was_chosen),
      cmocka_unit_test(ties_take_the_lower_index),
      cmocka_unit_test(the_start_is_as_said),
      cmocka_unit_test(the_length_divides_every_width),
      cmocka_unit_test(stored_tiles_mix_alike),
      cmocka_unit_test(wrong_weights_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
