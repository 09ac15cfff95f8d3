/* GLoRA: its 432 paths, how they are drawn, and that forward, backward and merging follow its formula for W and b along each of them. */
#include "linalg/linalg.h"
#include "support/bare.h"

extern const method method_glora;
enum { PATHS = 432, ROWS = 3 };

static int setup(void **state) {
  (void)state;
  return linalg_setup();
}

/* q and v read one input, down another. */
static int glora_plan_with(bare *b, const char *rank, uint64_t seed, const char *kind, const char *paths) {
  const char *const words[] = {"rank", rank, "modules", "q,v,down", "path", kind, "paths", paths, NULL};
  bare_map(b, 0, "q", 5, 6, 0);
  bare_map(b, 0, "k", 5, 6, 1);
  bare_map(b, 0, "v", 4, 6, 1);
  bare_map(b, 0, "down", 7, 9, 0);
  return bare_plan(b, "glora", seed, words);
}

static void glora_create(bare *b, const char *rank, uint64_t seed, const char *kind, const char *paths) {
  must(glora_plan_with(b, rank, seed, kind, paths));
  bare_ready(b, ROWS);
}

/* ---- an independent GLoRA, from segment names and the words of a path ---- */

typedef struct plain {
  double a[7][9], b[7][9], c[9], d[7], e[7]; /* what the supports give */
} plain;

/* Numbers of a piece, NULL where the plan has none. */
static const real *piece_of(const bare *b, const site *s, char tensor, const char *piece) {
  char name[2 * METHOD_NAME_BYTES];
  snprintf(name, sizeof name, "%s.%c.%s", s->name, tensor, piece);
  for (int i = 0; i < b->adapter->segment_count; i++)
    if (!strcmp(b->adapter->segments[i].name, name)) return b->theta + b->adapter->segments[i].offset;
  return NULL;
}

/* Element i of column k of Xd: one number, the rest of column 0, the other columns. */
static double down(const bare *b, const site *s, char tensor, int length, int i, int k) {
  const real *constant = piece_of(b, s, tensor, "constant"), *vector = piece_of(b, s, tensor, "vector"), *more = piece_of(b, s, tensor, "lora_d");
  if (k > 0) return (double)more[(k - 1) * length + i];
  if (tensor == 'C') return (double)vector[i];
  return (double)(i == 0 ? constant[0] : vector[i - 1]);
}

static double support(const bare *b, const site *s, char tensor, const char *kind, int rank, int i, int j) {
  int length = tensor == 'C' ? s->in : s->out, in = tensor == 'C' ? 1 : s->in;
  if (!strcmp(kind, "none")) return 0;
  if (!strcmp(kind, "constant")) return down(b, s, tensor, length, 0, 0);
  if (!strcmp(kind, "vector")) return down(b, s, tensor, length, i, 0);
  double sum = 0;
  for (int k = 0; k < rank; k++) sum += down(b, s, tensor, length, i, k) * (double)piece_of(b, s, tensor, "lora_u")[k * in + j];
  return sum;
}

static void plain_make(const bare *b, const site *s, int rank, int path, plain *p) {
  char text[METHOD_PATH_BYTES], kind[5][16];
  b->adapter->method->paths->describe(path, text);
  assert_int_equal(sscanf(text, "A:%15s B:%15s C:%15s D:%15s E:%15s", kind[0], kind[1], kind[2], kind[3], kind[4]), 5);
  for (int i = 0; i < s->out; i++) {
    for (int j = 0; j < s->in; j++) {
      p->a[i][j] = support(b, s, 'A', kind[0], rank, i, j);
      p->b[i][j] = support(b, s, 'B', kind[1], rank, i, j);
    }
    p->d[i] = support(b, s, 'D', kind[3], rank, i, 0);
    p->e[i] = support(b, s, 'E', kind[4], rank, i, 0);
  }
  for (int j = 0; j < s->in; j++) p->c[j] = support(b, s, 'C', kind[2], rank, j, 0);
}

static double plain_weight(const bare *b, int index, const plain *p, int i, int j) {
  double w = (double)b->weight[index][i * b->sites[index].in + j];
  return w + w * p->a[i][j] + p->b[i][j];
}

static double plain_bias(const bare *b, int index, const plain *p, int i) {
  const site *s = &b->sites[index];
  double b0 = s->bias ? (double)s->bias[i] : 0, sum = b0 + p->d[i] * b0 + p->e[i];
  for (int j = 0; j < s->in; j++) sum += (double)b->weight[index][i * s->in + j] * p->c[j];
  return sum;
}

static const int adapted[3] = {0, 2, 3}; /* sites: q, v, down */
static int group_of(int index) { return index == 3; }

/* Merged weight and bias, and what forward makes of an input, with one map's path. */
static void compare_site(bare *b, int index, int rank, int path) {
  const site *s = &b->sites[index];
  plain p;
  real weight[63], bias[7], x[ROWS * 9], y[ROWS * 21], base[ROWS * 21];
  int stride = bare_stride(b, group_of(index));
  plain_make(b, s, rank, path, &p);
  memcpy(weight, b->weight[index], (size_t)(s->out * s->in) * sizeof *weight);
  memset(bias, 0, sizeof bias);
  if (s->bias) memcpy(bias, b->bias[index], (size_t)s->out * sizeof *bias);
  must(b->adapter->method->merge(b->adapter, index, weight, NULL));
  must(b->adapter->method->merge(b->adapter, index, NULL, bias));
  bare_draw(1, 1, ROWS * s->in, x);
  bare_base(b, group_of(index), ROWS, x, base);
  for (int training = 0; training < 2; training++) {
    memcpy(y, base, sizeof y);
    b->work.training = training;
    bare_forward(b, group_of(index), ROWS, x, y);
    for (int t = 0; t < ROWS; t++)
      for (int i = 0; i < s->out; i++) {
        double sum = plain_bias(b, index, &p, i);
        for (int j = 0; j < s->in; j++) sum += plain_weight(b, index, &p, i, j) * (double)x[t * s->in + j];
        near("output", (double)y[t * stride + s->column + i], sum);
      }
  }
  for (int i = 0; i < s->out; i++) {
    near("merged bias", (double)bias[i], plain_bias(b, index, &p, i));
    for (int j = 0; j < s->in; j++) near("merged weight", (double)weight[i * s->in + j], plain_weight(b, index, &p, i, j));
  }
}

/* ---- paths ---- */

static void paths_have_432_names_and_sizes(void **state) {
  (void)state;
  static char texts[PATHS][METHOD_PATH_BYTES];
  const method_paths *paths = method_glora.paths;
  int product = 1;
  assert_int_equal(paths->genes, 5);
  for (int g = 0; g < paths->genes; g++) product *= paths->choices[g];
  assert_int_equal(product, PATHS);
  for (int id = 0; id < PATHS; id++) {
    bare b = {0};
    char word[16];
    uint8_t stored[2];
    const char *const words[] = {"rank", "3", "modules", "q", "path", "listed", "paths", word, NULL};
    snprintf(word, sizeof word, "%d", id);
    bare_map(&b, 0, "q", 5, 6, 0);
    if (id == PATHS - 1) { /* nothing at all is no method */
      assert_int_equal(bare_plan(&b, "glora", 1, words), ERROR_USAGE);
      says("trains nothing");
      bare_destroy(&b);
      break;
    }
    must(bare_plan(&b, "glora", 1, words));
    paths->describe(id, texts[id]);
    for (int k = 0; k < id; k++) assert_string_not_equal(texts[k], texts[id]);
    assert_int_equal(paths->places(b.adapter), 1);
    assert_string_equal(paths->place_name(b.adapter, 0), "layer.0.q");
    assert_true(paths->size(b.adapter, 0, id) == b.adapter->theta_count); /* a fixed path has exactly its numbers */
    must(adapter_save(b.adapter, b.theta, b.adapter->segment_count, stored));
    assert_int_equal(stored[0] | stored[1] << 8, id);
    bare_destroy(&b);
  }
  assert_string_equal(texts[0], "A:lora B:lora C:lora D:vector E:vector");
}

/* Which segments are on in a step, as one path id per map: the one of 432 whose words ask for just them. */
static void draw_path(bare *b, int64_t step, int32_t found[3]) {
  must(b->adapter->method->choose(b->adapter, step));
  for (int place = 0; place < 3; place++) {
    const char *stem = b->sites[adapted[place]].name;
    static const char *const kinds[5][4] = {{"lora", "vector", "constant", "none"},
                                            {"lora", "vector", "constant", "none"},
                                            {"lora", "vector", "none"},
                                            {"vector", "constant", "none"},
                                            {"vector", "constant", "none"}};
    int id = 0, scale = 1;
    for (int t = 0; t < 5; t++) {
      const char *kind = "none";
      for (int i = 0; i < b->adapter->segment_count; i++) {
        const segment *s = &b->adapter->segments[i];
        size_t length = strlen(stem);
        if (!b->adapter->active[i] || strncmp(s->name, stem, length) || s->name[length + 1] != "ABCDE"[t]) continue;
        const char *piece = s->name + length + 3;
        if (!strncmp(piece, "lora", 4)) kind = "lora";
        else if (!strcmp(piece, "vector") && strcmp(kind, "lora")) kind = "vector";
        else if (!strcmp(piece, "constant") && !strcmp(kind, "none")) kind = "constant";
      }
      int digit = 0;
      while (strcmp(kinds[t][digit], kind)) digit++;
      id += scale * digit;
      scale *= method_glora.paths->choices[t];
    }
    found[place] = id;
  }
}

/* A path is a function of (seed, map, step): drawn in any order, by any adapter; other seeds, maps and steps have others. */
static void paths_are_drawn_from_the_seed(void **state) {
  (void)state;
  enum { STEPS = 200 };
  bare b[3] = {0};
  static int32_t path[3][STEPS][3];
  for (int i = 0; i < 3; i++) {
    glora_create(&b[i], "2", i == 2 ? 8 : 7, "random", "none");
    for (int k = 0; k < STEPS; k++) {
      int step = i == 1 ? STEPS - 1 - k : k;
      draw_path(&b[i], step, path[i][step]);
    }
  }
  assert_memory_equal(path[0], path[1], sizeof path[0]);
  int seeds = 0, maps = 0, steps = 0;
  for (int k = 0; k < STEPS; k++)
    for (int p = 0; p < 3; p++) {
      seeds += path[0][k][p] == path[2][k][p];
      maps += path[0][k][p] == path[0][k][(p + 1) % 3];
      steps += k > 0 && path[0][k][p] == path[0][k - 1][p];
    }
  assert_true(seeds < 12 && maps < 12 && steps < 12); /* 600 chances of 1 in 432 */
  for (int i = 0; i < 3; i++) bare_destroy(&b[i]);
}

static void paths_are_drawn_evenly(void **state) {
  (void)state;
  enum { STEPS = 14400 };
  bare b = {0};
  static int drawn[PATHS];
  double square = 0;
  glora_create(&b, "2", 7, "random", "none");
  for (int step = 0; step < STEPS; step++) {
    int32_t path[3];
    draw_path(&b, step, path);
    for (int p = 0; p < 3; p++) drawn[path[p]]++;
  }
  for (int id = 0; id < PATHS; id++) { /* 100 each, chi square of 431 degrees of freedom: 431 +- 29 */
    assert_true(drawn[id] > 50 && drawn[id] < 160);
    square += pow(drawn[id] - 100, 2) / 100;
  }
  assert_true(square > 431 - 5 * 29.4 && square < 431 + 5 * 29.4);
  bare_destroy(&b);
}

/* An evaluation uses the widest path, or what a search has chosen. */
static void evaluations_follow_a_path(void **state) {
  (void)state;
  bare b = {0};
  int32_t path[3];
  const int32_t chosen[3] = {431, 7, 250};
  glora_create(&b, "2", 7, "random", "none");
  for (int i = 0; i < b.adapter->segment_count; i++) assert_true(adapter_is_active(b.adapter, i)); /* after planning */
  must(b.adapter->method->paths->follow(b.adapter, chosen));
  draw_path(&b, METHOD_EVALUATION, path);
  assert_memory_equal(path, chosen, sizeof path);
  int64_t size = 0;
  for (int p = 0; p < 3; p++) size += b.adapter->method->paths->size(b.adapter, p, chosen[p]);
  for (int i = 0; i < b.adapter->segment_count; i++) size -= adapter_packed(b.adapter, i);
  assert_true(size == 0);
  must(b.adapter->method->paths->follow(b.adapter, NULL));
  draw_path(&b, METHOD_EVALUATION, path);
  for (int p = 0; p < 3; p++) assert_int_equal(path[p], 0);
  bare_destroy(&b);
  bare fixed = {0};
  glora_create(&fixed, "2", 7, "fixed", "none");
  assert_int_equal(fixed.adapter->method->paths->follow(fixed.adapter, chosen), ERROR_USAGE);
  bare_destroy(&fixed);
}

static void wrong_lists_of_paths_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *paths, *words;
  } wrong[] = {{"none", "'none' is no path id"},
               {"1,2", "names 2 paths for 3"},
               {"1,2,3,4", "names 4 paths for 3"},
               {"1,2,432", "'432' is no path id"},
               {"-1,2,3", "'-1'"},
               {"1,2.5,3", "'2.5' is no path id"},
               {"1,2,00000000000000000000000431", "no path id"}, /* its first digits would be one */
               {"431,431,431", "trains nothing"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    bare b = {0};
    assert_int_equal(glora_plan_with(&b, "2", 1, "listed", wrong[i].paths), ERROR_USAGE);
    says(wrong[i].words);
    bare_destroy(&b);
  }
  static const char *const others[] = {"fixed", "random"};
  for (int i = 0; i < 2; i++) {
    bare b = {0};
    assert_int_equal(glora_plan_with(&b, "2", 1, others[i], "1,2,3"), ERROR_USAGE);
    says("method.paths has no effect with method.path=");
    says(others[i]);
    bare_destroy(&b);
  }
}

/* ---- the arithmetic ---- */

static void drawn_paths_follow_the_formula(void **state) {
  (void)state;
  for (int rank = 2; rank <= 3; rank++) {
    bare b = {0};
    glora_create(&b, rank == 2 ? "2" : "3", 5, "random", "none");
    bare_stir(&b, 0.5);
    for (int step = METHOD_EVALUATION; step < 150; step++) {
      int32_t path[3];
      draw_path(&b, step, path);
      bare_expand(&b);
      for (int p = 0; p < 3; p++) compare_site(&b, adapted[p], rank, path[p]);
    }
    bare_destroy(&b);
  }
}

static void listed_paths_follow_the_formula(void **state) {
  (void)state;
  for (int id = 0; id < PATHS; id += 3) { /* three ids at a time: all of them, and rank 1 and maps without a bias among them */
    bare b = {0};
    char list[64], word[8];
    int rank = 1 + id / 3 % 3;
    snprintf(word, sizeof word, "%d", rank);
    snprintf(list, sizeof list, "%d,%d,%d", id, id + 2, id + 1);
    glora_create(&b, word, 5, "listed", list);
    bare_stir(&b, 0.5);
    if (id % 2)
      for (int i = 0; i < b.site_count; i++) b.sites[i].bias = NULL;
    bare_expand(&b);
    compare_site(&b, 0, rank, id);
    compare_site(&b, 2, rank, id + 2);
    compare_site(&b, 3, rank, id + 1);
    bare_destroy(&b);
  }
}

/* A map with one output and one input, where a vector is a constant. */
static void smallest_maps_work(void **state) {
  (void)state;
  for (int id = 0; id < PATHS - 1; id += 5) {
    bare b = {0};
    char list[16];
    const char *const words[] = {"rank", "2", "modules", "q", "path", "listed", "paths", list, NULL};
    snprintf(list, sizeof list, "%d", id);
    bare_map(&b, 0, "q", 1, 1, 0);
    must(bare_plan(&b, "glora", 1, words));
    bare_ready(&b, ROWS);
    bare_stir(&b, 0.5);
    bare_expand(&b);
    compare_site(&b, 0, 2, id);
    bare_destroy(&b);
  }
}

/* Xavier for the shapes of Xu and Cu; the rest is zero, so that nothing changes. */
static void the_start_is_as_said(void **state) {
  (void)state;
  bare b = {0};
  glora_create(&b, "3", 5, "fixed", "none");
  for (int i = 0; i < b.adapter->segment_count; i++) {
    const segment *s = &b.adapter->segments[i];
    int is_up = strstr(s->name, "lora_u") != NULL;
    double bound = sqrt(6.0 / (s->rows + s->cols));
    for (int k = 0; k < s->rows * s->cols; k++) {
      double x = (double)b.theta[s->offset + k];
      assert_true(is_up ? x != 0 && fabs(x) <= bound : x == 0);
    }
    assert_true(s->decays && s->rate_factor == 1);
  }
  bare_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(paths_have_432_names_and_sizes),
      cmocka_unit_test(paths_are_drawn_from_the_seed),
      cmocka_unit_test(paths_are_drawn_evenly),
      cmocka_unit_test(evaluations_follow_a_path),
      cmocka_unit_test(wrong_lists_of_paths_are_refused),
      cmocka_unit_test(drawn_paths_follow_the_formula),
      cmocka_unit_test(listed_paths_follow_the_formula),
      cmocka_unit_test(smallest_maps_work),
      cmocka_unit_test(the_start_is_as_said),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
