/* The methods one by one: which maps they act on, what they count, where they start, and their formulas on numbers, against plain loops. */
#include "support/bare.h"

/* ---- which maps ---- */

static int plan_with(const char *method_name, const char *modules) {
  bare b = {0};
  const char *const words[] = {"modules", modules, NULL};
  bare_map(&b, 0, "q", 4, 4, 0);
  bare_map(&b, 0, "v", 4, 4, 1);
  bare_map(&b, 0, "qkv", 8, 4, 1);
  bare_map(&b, 0, "up", 8, 4, 0);
  int code = bare_plan(&b, method_name, 1, words);
  bare_destroy(&b);
  return code;
}

static void overlapping_and_unknown_modules_are_refused(void **state) {
  (void)state;
  for (int i = 0; method_list[i]; i++) {
    const char *name = method_list[i]->name;
    int knows_modules = 0;
    for (int k = 0; k < method_list[i]->option_count; k++) knows_modules |= !strcmp(method_list[i]->options[k].name, "modules");
    if (!knows_modules) continue;
    static const char *const overlapping[] = {"qkv,q", "v,qkv", "all,qkv", "qkv,k"};
    for (int k = 0; k < 4; k++) {
      assert_int_equal(plan_with(name, overlapping[k]), ERROR_USAGE);
      says("overlap");
    }
    assert_int_equal(plan_with(name, "gate"), ERROR_USAGE);
    says("names no linear map");
    assert_int_equal(plan_with(name, "o,down"), ERROR_USAGE);
    assert_int_equal(plan_with(name, "q,w"), ERROR_USAGE);
    says("'w' is not one of");
    assert_int_equal(plan_with(name, "q,"), ERROR_USAGE);
    must(plan_with(name, "q,v"));
    must(plan_with(name, "qkv"));
    must(plan_with(name, "qkv,up"));
    must(plan_with(name, "all"));
  }
}

/* ---- counts ---- */

typedef struct known_count {
  const char *shape, *method, *words[9];
  int64_t trainable, sent, stored_bytes; /* sent 0: as many as are trained; stored_bytes 0: four times that */
} known_count;

/* What the papers' own formulas give. */
static const known_count known_counts[] = {
    {"roberta-base", "lora", {"rank", "8"}, 294912, 0, 0},
    {"roberta-large", "lora", {"rank", "8"}, 786432, 0, 0},
    {"roberta-base", "vera", {NULL}, 43008, 0, 4 * 43008 + 8},
    {"roberta-large", "vera", {"rank", "256"}, 61440, 0, 4 * 61440 + 8},
    {"roberta-base", "tied", {"rank", "16", "tie", "square"}, 43392, 0, 0},
    {"roberta-large", "tied", {"rank", "8", "tie", "square"}, 65920, 0, 0},
    {"roberta-base", "tied", {"rank", "8", "variant", "tl5", "modules", "qkv"}, 4 * 768 * 8, 0, 0},
    {"roberta-base", "tied", {"rank", "8", "modules", "qkv"}, 4 * 768 * 8 + 12 * (8 + 3 * 768), 0, 0},
    {"roberta-base", "vblora", {NULL}, 74880, 24192, 95616},
    {"roberta-large", "vblora", {NULL}, 161280, 26112, 92160 + 1536 * 6},
    {"roberta-base", "vblora", {"bank", "256"}, 65536 + 256 * 576, 65536 + 2 * 576, 4 * 65536 + 576 * 6},
    {"roberta-base", "vblora", {"bank", "257"}, 65792 + 257 * 576, 65792 + 2 * 576, 4 * 65792 + 576 * 8},
    {"roberta-base", "vblora", {"bank", "65537", "top_k", "3"}, 65537LL * (256 + 576), 65537LL * 256 + 3 * 576, 65537LL * 1024 + 576 * (8 + 12)},
    {"roberta-base", "unilora", {NULL}, 23040, 0, 92168},
    {"roberta-large", "unilora", {"d", "23040"}, 23040, 0, 92168},
    {"roberta-base", "red", {NULL}, 18432, 0, 0},
    {"roberta-base", "red", {"modules", "q,k,v,o,down"}, 92160, 0, 0},
    {"roberta-base", "red", {"modules", "qkv,o,down"}, 92160, 0, 0},
    {"roberta-large", "red", {NULL}, 49152, 0, 0},
    {"roberta-base", "glora", {"modules", "all"}, 1825056, 0, 0},
    {"roberta-large", "glora", {"modules", "all"}, 4866624, 0, 0},
    {"roberta-base", "bitfit", {NULL}, 102144, 0, 0},
};

static void known_models_have_known_counts(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof known_counts / sizeof *known_counts; i++) {
    const known_count *k = &known_counts[i];
    model_shape shape;
    method_counts counts;
    const method *m;
    chosen_options o;
    model *planned;
    must(model_shape_known(k->shape, &shape));
    must(method_find(k->method, &m));
    must(options_default(m, &o));
    for (int w = 0; k->words[w]; w += 2) must(options_change(&o, k->words[w], k->words[w + 1]));
    must(model_create(&shape, &classify, m, &o.set, &planned));
    must(model_counts(planned, &counts));
    if (counts.trainable != k->trainable || counts.sent_floats != (k->sent ? k->sent : k->trainable) ||
        counts.stored_bytes != (k->stored_bytes ? k->stored_bytes : 4 * k->trainable))
      fail_msg("%s %s %s: %lld trained, %lld sent, %lld bytes stored", k->shape, k->method, k->words[0] ? k->words[1] : "", (long long)counts.trainable,
               (long long)counts.sent_floats, (long long)counts.stored_bytes);
    model_destroy(planned);
  }
}

/* Beyond what 32 bits count: sizes stay exact, and what cannot be is refused in words. */
static void giants_are_counted_exactly(void **state) {
  (void)state;
  const int64_t layers = 64, d = 16384, f = 65536, vocabulary = 250000, r = 4096;
  const int64_t ends = 4 * 2 * d + 2 * (d + f); /* in + out of a layer's six maps */
  const struct {
    const char *method, *words[7];
    int64_t trainable;
  } known[] = {
      {"lora", {"rank", "4096", "modules", "all"}, layers * r * ends},
      {"tied", {"rank", "4096", "modules", "all", "variant", "tl5"}, r * ends},
      {"vera", {"rank", "65536", "modules", "all"}, layers * (6 * 65536 + 5 * d + f)},
      {"vblora", {"rank", "4096", "modules", "all", "bank", "65536"}, 65536 * (256 + layers * r * ends / 256)},
      {"red", {"modules", "all"}, layers * 2 * (5 * d + f)},
      {"glora", {"rank", "4096", "modules", "all"}, layers * (2 * r * ends + r * (5 * d + f + 6) + 2 * (5 * d + f))},
      {"full", {NULL}, (vocabulary + 2048 + 2) * d + 2 * d + layers * (4 * d * d + 2 * d * f + 9 * d + f)},
  };
  model_shape shape = tiny_shape("bert");
  shape.layers = (int)layers;
  shape.width = (int)d;
  shape.heads = 128;
  shape.ffn = (int)f;
  shape.vocabulary = (int)vocabulary;
  shape.positions = 2048;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    const method *m;
    chosen_options o;
    method_counts counts;
    model *planned;
    must(method_find(known[i].method, &m));
    must(options_default(m, &o));
    for (int w = 0; known[i].words[w]; w += 2) must(options_change(&o, known[i].words[w], known[i].words[w + 1]));
    must(model_create(&shape, &classify, m, &o.set, &planned));
    must(model_counts(planned, &counts));
    if (counts.trainable != known[i].trainable) fail_msg("%s: %lld, not %lld", known[i].method, (long long)counts.trainable, (long long)known[i].trainable);
    assert_true(model_theta_count(planned) == counts.trainable + 3 * d + 3);
    model_destroy(planned);
  }
  const method *m;
  chosen_options o;
  model *planned;
  must(method_find("unilora", &m));
  must(options_default(m, &o));
  must(options_change(&o, "rank", "4096"));
  must(options_change(&o, "modules", "all"));
  assert_int_equal(model_create(&shape, &classify, m, &o.set, &planned), ERROR_USAGE);
  says("method.d=auto would be");
  must(method_find("vblora", &m));
  must(options_default(m, &o));
  must(options_change(&o, "rank", "65536"));
  must(options_change(&o, "vector_length", "1"));
  shape.width *= 2;
  assert_int_equal(model_create(&shape, &classify, m, &o.set, &planned), ERROR_USAGE);
  says("tiles");
}

/* A super-network's message, in the mean over paths: each tensor's supports are equally likely. */
static void drawn_counts_are_means(void **state) {
  (void)state;
  bare b = {0};
  method_counts counts;
  const char *const words[] = {"rank", "4", "path", "random", "modules", "q", NULL};
  bare_map(&b, 0, "q", 6, 10, 0);
  must(bare_plan(&b, "glora", 1, words));
  must(adapter_counts(b.adapter, &counts));
  double wide = (4.0 * 16 + 6 + 1 + 0) / 4, column = (4.0 * 11 + 10 + 0) / 3, bias = (6.0 + 1 + 0) / 3;
  assert_true(counts.sent_floats == (int64_t)(2 * wide + column + 2 * bias + 0.5));
  assert_true(counts.trainable == 2 * 64 + 44 + 12 && counts.stored_bytes == 4 * counts.trainable);
  bare_destroy(&b);
}

/* What a checkpoint must hold once the frozen numbers come from a file: they, and no seed. */
static void projections_of_files_are_stored(void **state) {
  (void)state;
  method_counts counts;
  for (int is_index = 0; is_index < 2; is_index++) {
    bare b = {0};
    const char *const words[] = {"rank", "3", "modules", "q", "projection", "file", NULL};
    bare_map(&b, 0, "q", 6, 10, 0);
    must(bare_plan(&b, is_index ? "unilora" : "vera", 1, words));
    must(adapter_counts(b.adapter, &counts));
    assert_true(counts.stored_bytes == 4 * (counts.trainable + 3 * (6 + 10)) && counts.regenerated_bytes == 0);
    bare_destroy(&b);
  }
}

/* ---- what is kept from forward to backward ---- */

/* Where a method does not ask for its maps' input, backward does not look at it; and it asks for no more than its formulas need. */
static void inputs_are_kept_where_they_are_read(void **state) {
  (void)state;
  static const struct {
    const char *method, *words[7];
    int keeps, width;
  } known[] = {
      {"lora", {"rank", "2"}, 1, 2},
      {"vera", {"rank", "2"}, 0, 2 + 5},
      {"tied", {"rank", "2"}, 1, 2},
      {"tied", {"rank", "2", "variant", "tl5"}, 1, 2},
      {"unilora", {"rank", "2"}, 1, 2},
      {"vblora", {"rank", "2"}, 1, 2},
      {"red", {NULL}, 0, 5},
      {"glora", {"rank", "2"}, 1, 2 + 1},
      {"glora", {"rank", "2", "a", "vector", "b", "constant"}, 0, 5 + 1},
      {"glora", {"rank", "2", "a", "none", "b", "none"}, 0, 1},
      {"glora", {"rank", "2", "a", "constant", "b", "lora"}, 1, 5 + 2 + 1},
      {"glora", {"rank", "2", "path", "random"}, 1, 5 + 2 + 1},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    bare b = {0};
    const char *words[9] = {"modules", "down"};
    real x[2 * 4], y[2 * 5], dy[2 * 5], *first;
    memcpy(words + 2, known[i].words, sizeof known[i].words);
    bare_map(&b, 0, "down", 5, 4, 0);
    must(bare_plan(&b, known[i].method, 1, words));
    if (b.adapter->keeps_input[0] != known[i].keeps || b.adapter->saved_width[0] != known[i].width)
      fail_msg("%s %s: input %d, %d numbers per row", known[i].method, known[i].words[2] ? known[i].words[2] : "", b.adapter->keeps_input[0],
               b.adapter->saved_width[0]);
    bare_ready(&b, 2);
    bare_stir(&b, 0.5);
    bare_expand(&b);
    first = must_take((size_t)b.adapter->theta_count, sizeof *first);
    for (int again = 0; again < 2; again++) {
      bare_draw(1, 1, 8, x);
      bare_base(&b, 0, 2, x, y);
      bare_forward(&b, 0, 2, x, y);
      for (int k = 0; k < 8 && again && !known[i].keeps; k++) x[k] = (real)NAN;
      bare_draw(2, 1, 10, dy);
      bare_backward(&b, 0, 2, x, dy, NULL);
      bare_gather(&b);
      if (!again) memcpy(first, b.grad, (size_t)b.adapter->theta_count * sizeof *first);
    }
    assert_memory_equal(first, b.grad, (size_t)b.adapter->theta_count * sizeof *first);
    free(first);
    bare_destroy(&b);
  }
}

/* q and v with the same numbers add the same to their outputs where they share the mask of their input, and not where each map has its own; between steps and
 * layers a map's masks differ. */
static void masks_are_shared_or_per_site(void **state) {
  (void)state;
  enum { IN = 48, OUT = 20, N = 3 };
  static const char *const methods[] = {"lora", "vera"};
  for (int k = 0; k < 4; k++) {
    bare b = {.settings = {.dropout = 0.4, .drops_per_site = k % 2}};
    real x[4 * IN], y[4 * 2 * OUT], apart[2] = {0}, first = 0;
    bare_map(&b, 0, "q", OUT, IN, 0);
    bare_map(&b, 0, "v", OUT, IN, 1);
    must(bare_plan(&b, methods[k / 2], 1, (const char *const[]){"rank", "2", "modules", "q,v", NULL}));
    bare_ready(&b, N);
    bare_stir(&b, 0.5);
    for (int i = 0; i < b.adapter->segment_count; i++) { /* v's numbers are q's */
      const segment *s = &b.adapter->segments[i];
      if (!strstr(s->name, ".v.")) continue;
      char name[METHOD_NAME_BYTES];
      snprintf(name, sizeof name, "layer.0.q%s", strstr(s->name, ".v.") + 2);
      memcpy(b.theta + s->offset, bare_numbers(&b, name), (size_t)s->rows * (size_t)s->cols * sizeof(real));
    }
    bare_expand(&b);
    bare_draw(1, 1, N * IN, x);
    for (int step = 0; step < 2; step++) {
      for (int i = 0; i < N; i++) b.keys[i] = (uint64_t)step << 32;
      memset(y, 0, sizeof y);
      bare_forward(&b, 0, N, x, y);
      for (int i = 0; i < N; i++)
        for (int j = 0; j < OUT; j++) apart[step] = (real)fmax((double)apart[step], fabs((double)y[i * 2 * OUT + j] - (double)y[i * 2 * OUT + OUT + j]));
      assert_true(step == 0 || y[0] != first);
      first = y[0];
    }
    for (int step = 0; step < 2; step++) assert_int_equal(apart[step] > 1e-3, k % 2);
    bare_destroy(&b);
  }
}

/* A rate of 0 would be taken for "not given". */
static void rates_of_their_own_are_positive(void **state) {
  (void)state;
  for (int i = 0; method_list[i]; i++)
    for (int k = 0; k < method_list[i]->option_count; k++) {
      const option *o = &method_list[i]->options[k];
      option_value value;
      if (strncmp(o->name, "lr_", 3)) continue;
      must(option_parse(o, "auto", &value));
      must(option_parse(o, "1e-6", &value));
      assert_int_equal(option_parse(o, "0", &value), ERROR_USAGE);
    }
}

/* ---- LoRA ---- */

static double deviation_of(int64_t count, const real *x, double *largest) {
  double squares = 0;
  *largest = 0;
  for (int64_t i = 0; i < count; i++) {
    squares += (double)x[i] * (double)x[i];
    *largest = fmax(*largest, fabs((double)x[i]));
  }
  return sqrt(squares / (double)count);
}

static void lora_starts_as_said(void **state) {
  (void)state;
  for (int gaussian = 0; gaussian < 2; gaussian++) {
    bare b = {0};
    const char *const words[] = {"rank", "8", "modules", "q", "init", gaussian ? "gaussian" : "kaiming", NULL};
    double largest, bound = 1 / sqrt(400.0);
    bare_map(&b, 0, "q", 6, 400, 0);
    must(bare_plan(&b, "lora", 1, words));
    bare_ready(&b, 1);
    double deviation = deviation_of(8 * 400, bare_numbers(&b, "layer.0.q.lora_A"), &largest);
    if (gaussian) assert_true(fabs(deviation * 8 - 1) < 0.05);
    else assert_true(largest <= bound && largest > 0.98 * bound && fabs(deviation * sqrt(3.0) / bound - 1) < 0.05);
    assert_true(deviation_of(8 * 6, bare_numbers(&b, "layer.0.q.lora_B"), &largest) == 0);
    bare_destroy(&b);
  }
}

/* y += (alpha / r) B A x, two sites of one input, the rank 1 and 3. */
static void lora_adds_its_product(void **state) {
  (void)state;
  for (int rank = 1; rank <= 3; rank += 2) {
    bare b = {0};
    const char *const words[] = {"rank", rank == 1 ? "1" : "3", "alpha", "6", "modules", "q,v", NULL};
    real x[2 * 5], y[2 * 11], base[2 * 11];
    bare_map(&b, 0, "q", 4, 5, 0);
    bare_map(&b, 0, "k", 4, 5, 1);
    bare_map(&b, 0, "v", 3, 5, 1);
    must(bare_plan(&b, "lora", 1, words));
    bare_ready(&b, 2);
    bare_stir(&b, 0.5);
    bare_expand(&b);
    bare_draw(1, 1, 10, x);
    bare_base(&b, 0, 2, x, y);
    memcpy(base, y, sizeof y);
    bare_forward(&b, 0, 2, x, y);
    for (int s = 0; s < 3; s += 2) {
      const site *place = &b.sites[s];
      char name[64];
      snprintf(name, sizeof name, "%s.lora_A", place->name);
      const real *first = bare_numbers(&b, name);
      name[strlen(name) - 1] = 'B';
      const real *second = bare_numbers(&b, name);
      for (int t = 0; t < 2; t++)
        for (int o = 0; o < place->out; o++) {
          double sum = 0;
          for (int k = 0; k < rank; k++)
            for (int j = 0; j < 5; j++) sum += (double)second[o * rank + k] * (double)first[k * 5 + j] * (double)x[t * 5 + j];
          near(name, (double)y[t * 11 + place->column + o], (double)base[t * 11 + place->column + o] + 6.0 / rank * sum);
        }
    }
    for (int t = 0; t < 2; t++) assert_memory_equal(y + t * 11 + 4, base + t * 11 + 4, 4 * sizeof(real)); /* k is not adapted */
    bare_destroy(&b);
  }
}

/* ---- RED ---- */

static void red_edits_what_comes_out(void **state) {
  (void)state;
  bare b = {0};
  const char *const words[] = {"modules", "down", NULL};
  const real scale[3] = {2, -1, (real)0.5}, shift[3] = {1, 0, -4}, dy0[6] = {1, 2, 3, 4, 5, 6};
  real x[2 * 4], y[6], base[6], dy[6], weight[12], bias[3];
  bare_map(&b, 0, "down", 3, 4, 0);
  must(bare_plan(&b, "red", 1, words));
  bare_ready(&b, 2);
  bare_expand(&b);
  bare_draw(1, 1, 8, x);
  bare_base(&b, 0, 2, x, base);
  memcpy(y, base, sizeof y);
  bare_forward(&b, 0, 2, x, y);
  assert_memory_equal(y, base, sizeof y); /* l = 1, beta = 0 at the start */
  memcpy(bare_numbers(&b, "layer.0.down.scale"), scale, sizeof scale);
  memcpy(bare_numbers(&b, "layer.0.down.shift"), shift, sizeof shift);
  bare_expand(&b);
  bare_forward(&b, 0, 2, x, y);
  for (int i = 0; i < 6; i++) near("l y + beta", (double)y[i], (double)(scale[i % 3] * base[i] + shift[i % 3]));
  memcpy(dy, dy0, sizeof dy);
  bare_backward(&b, 0, 2, x, dy, NULL);
  bare_gather(&b);
  for (int j = 0; j < 3; j++) {
    near("dl", (double)b.grad[j], (double)(dy0[j] * base[j] + dy0[3 + j] * base[3 + j]));
    near("dbeta", (double)b.grad[3 + j], (double)(dy0[j] + dy0[3 + j]));
    near("dy", (double)dy[j], (double)(dy0[j] * scale[j]));
    near("dy", (double)dy[3 + j], (double)(dy0[3 + j] * scale[j]));
  }
  memcpy(weight, b.weight[0], sizeof weight);
  memcpy(bias, b.bias[0], sizeof bias);
  must(b.adapter->method->merge(b.adapter, 0, weight, NULL));
  must(b.adapter->method->merge(b.adapter, 0, NULL, bias));
  for (int i = 0; i < 12; i++) near("merged weight", (double)weight[i], (double)(scale[i / 4] * b.weight[0][i]));
  for (int j = 0; j < 3; j++) near("merged bias", (double)bias[j], (double)(scale[j] * b.bias[0][j] + shift[j]));
  bare_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(overlapping_and_unknown_modules_are_refused),
      cmocka_unit_test(known_models_have_known_counts),
      cmocka_unit_test(giants_are_counted_exactly),
      cmocka_unit_test(drawn_counts_are_means),
      cmocka_unit_test(projections_of_files_are_stored),
      cmocka_unit_test(inputs_are_kept_where_they_are_read),
      cmocka_unit_test(masks_are_shared_or_per_site),
      cmocka_unit_test(rates_of_their_own_are_positive),
      cmocka_unit_test(lora_starts_as_said),
      cmocka_unit_test(lora_adds_its_product),
      cmocka_unit_test(red_edits_what_comes_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
