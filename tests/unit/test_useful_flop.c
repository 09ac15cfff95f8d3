/* The count of useful arithmetic (support/useful_flop.h) against products written down one by one, for a tiny encoder of two layers: width 16, inner width 32.
 */
#include "support/useful_flop.h"

#include "support/tiny_bench.h"

enum { TOKENS = 31, SQUARES = 307, SEQUENCES = 5, WIDTH = 16, WIDE = 32, CLASSES = 3 };

/* FLOP of a product of `rows` rows. */
static double product(double rows, int in, int out) { return 2.0 * rows * in * out; }

static useful_flop count_of(const model_options *options, const char *method_name, const char *modules) {
  model_shape shape = tiny_shape("bert");
  model *m = plan_model(&shape, options, method_name, modules ? "modules" : NULL, modules);
  useful_flop f = useful_flop_count(m, TOKENS, SQUARES, SEQUENCES);
  model_destroy(m);
  double parts =
      f.maps_forward + f.maps_backward + f.maps_trained + f.attention_forward + f.attention_backward + f.adapter_forward + f.adapter_backward + f.head;
  assert_true(f.total == parts);
  return f;
}

/* q, k, v, o, up and down of one layer, all of its rows. */
static double layer_maps(void) { return 4 * product(TOKENS, WIDTH, WIDTH) + product(TOKENS, WIDTH, WIDE) + product(TOKENS, WIDE, WIDTH); }

static double pairs(void) { return 2.0 * SQUARES * WIDTH; } /* one product of attention, over all heads */

static void lora_on_q_and_v(void **state) {
  (void)state;
  enum { RANK = 8 };
  useful_flop f = count_of(&classify, "lora", "q,v");
  double a = product(TOKENS, WIDTH, RANK), b = product(TOKENS, RANK, WIDTH);
  assert_true(f.maps_forward == 2 * layer_maps());
  assert_true(f.maps_backward == 2 * layer_maps() - 3 * product(TOKENS, WIDTH, WIDTH)); /* nobody asks for the gradient of the first layer's input */
  assert_true(f.maps_trained == 0);
  assert_true(f.attention_forward == 4 * pairs());
  assert_true(f.attention_backward == (4 + 3) * pairs()); /* the first layer's keys are not trained */
  assert_true(f.adapter_forward == 4 * (a + b));
  /* of each of the four: both factors' gradients and H's; the input's in the second layer alone */
  assert_true(f.adapter_backward == 4 * (a + b) + 4 * b + 2 * a);
  assert_true(f.head == 3 * product(SEQUENCES, WIDTH, CLASSES));
}

static void vera_has_frozen_factors(void **state) {
  (void)state;
  model_shape shape = tiny_shape("bert");
  model *m = plan_model(&shape, &classify, "vera", "rank", "24");
  useful_flop f = useful_flop_count(m, TOKENS, SQUARES, SEQUENCES), lora = count_of(&classify, "lora", "q,v");
  double a = product(TOKENS, WIDTH, 24), b = product(TOKENS, 24, WIDTH);
  assert_true(f.adapter_forward == 4 * (a + b) && f.adapter_backward == 4 * b + 2 * a);
  assert_true(f.maps_backward == lora.maps_backward && f.attention_backward == lora.attention_backward);
  model_destroy(m);
  m = plan_model(&shape, &classify, "vera", "rank", "auto"); /* 4 times the width */
  f = useful_flop_count(m, TOKENS, SQUARES, SEQUENCES);
  assert_true(f.adapter_forward == 4 * (product(TOKENS, WIDTH, 64) + product(TOKENS, 64, WIDTH)));
  model_destroy(m);
}

static void everything_or_the_head_alone(void **state) {
  (void)state;
  useful_flop full = count_of(&classify, "full", NULL), head = count_of(&classify, "head", NULL), bias = count_of(&classify, "bitfit", NULL);
  assert_true(full.maps_forward == 2 * layer_maps() && full.maps_backward == full.maps_forward && full.maps_trained == full.maps_forward);
  assert_true(full.attention_backward == 8 * pairs() && full.adapter_forward == 0 && full.adapter_backward == 0);
  assert_true(bias.maps_backward == full.maps_backward && bias.maps_trained == 0 && bias.adapter_backward == 0);
  assert_true(head.maps_forward == 2 * layer_maps() && head.maps_backward == 0 && head.attention_backward == 0);
  assert_true(head.attention_forward == 4 * pairs() && head.head == 2 * product(SEQUENCES, WIDTH, CLASSES));
}

/* Backward ends where the lowest adapter is. */
static void an_adapter_at_the_end_of_layers(void **state) {
  (void)state;
  useful_flop f = count_of(&classify, "lora", "down");
  assert_true(f.maps_backward == layer_maps()); /* of the second layer; of the first one not even the adapted map's input */
  assert_true(f.attention_backward == 4 * pairs());
}

/* Where the head reads one row a sequence, the last layer's queries and all that follows them have so few rows. */
static void a_head_that_reads_the_first_token(void **state) {
  (void)state;
  model_options first = classify;
  first.pooling = MODEL_POOL_FIRST;
  first.head = MODEL_HEAD_TANH;
  useful_flop f = count_of(&first, "lora", "k,o");
  double last = 2 * product(TOKENS, WIDTH, WIDTH) + 2 * product(SEQUENCES, WIDTH, WIDTH) + product(SEQUENCES, WIDTH, WIDE) + product(SEQUENCES, WIDE, WIDTH);
  double last_pairs = 2.0 * TOKENS * WIDTH, k = product(TOKENS, WIDTH, 8), o = product(SEQUENCES, WIDTH, 8);
  assert_true(f.maps_forward == layer_maps() + last && f.maps_backward == layer_maps() + last - 3 * product(TOKENS, WIDTH, WIDTH));
  assert_true(f.attention_forward == 2 * (pairs() + last_pairs));
  assert_true(f.attention_backward == 2 * pairs() + 4 * last_pairs); /* the first layer: P and K alone */
  assert_true(f.adapter_forward == 2 * k + 2 * k + 2 * k + 2 * o);   /* k and o of the first layer, k and o of the last */
  assert_true(f.head == 3 * product(SEQUENCES, WIDTH, CLASSES) + 3 * product(SEQUENCES, WIDTH, WIDTH));
  f = count_of(&first, "head", NULL);
  assert_true(f.head == 3 * product(SEQUENCES, WIDTH, CLASSES) + 2 * product(SEQUENCES, WIDTH, WIDTH));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lora_on_q_and_v), cmocka_unit_test(vera_has_frozen_factors),
                                     cmocka_unit_test(everything_or_the_head_alone), cmocka_unit_test(an_adapter_at_the_end_of_layers),
                                     cmocka_unit_test(a_head_that_reads_the_first_token)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
