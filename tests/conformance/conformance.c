/* Every method of the registry against what it declares and against calculus; a new method is tested with no edit here.
 *
 * One source, two programs. The double build compares the gradient of every segment with finite differences of the loss (tolerance 1e-6). The float build,
 * which is what trainings use, compares its gradients with those of the double build (tolerance 1e-3), which it runs as `conformance_double --gradient CASE`.
 * Error of a segment: |g - ref| / max(|ref|, 1e-6 |all|), at a random theta with every segment non-zero; where the double gradient is a true zero (the key's
 * bias) float can do no better than cancel to its own rounding, and the floor is 1e-4 |all|. Dropout masks are functions of the place alone, so that a loss
 * with dropout is as differentiable as one without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/tiny.h"
#include "base/text.h"
#include "linalg/linalg.h"

#ifdef PEFTSCALE_DOUBLE
static const double gradient_tolerance = 1e-6, output_tolerance = 1e-10, sum_tolerance = 1e-10, zero_floor = 1e-6;
#else
static const double gradient_tolerance = 1e-3, output_tolerance = 1e-5, sum_tolerance = 1e-4, zero_floor = 1e-4;
#endif

static void must(int code) {
  if (!code) return;
  const error *e = error_last();
  fail_msg("%s:%d: %s", e->source, e->line, e->text);
}

static void *must_take(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  assert_non_null(memory);
  return memory;
}

/* ---- cases ---- */

typedef struct variant {
  char name[64], modules[128], rank[8];
  chosen_options options;
} variant;

typedef struct setting {
  const char *name;
  model_objective objective;
  model_head head;
  model_pooling pooling;
  int classes;
} setting;

static const setting settings[] = {
    {"classify", MODEL_CLASSIFY, MODEL_HEAD_LINEAR, MODEL_POOL_MEAN, 3},
    {"classify-tanh", MODEL_CLASSIFY, MODEL_HEAD_TANH, MODEL_POOL_FIRST, 3},
    {"regress", MODEL_REGRESS, MODEL_HEAD_LINEAR, MODEL_POOL_MEAN, 1},
    {"mlm", MODEL_MLM, MODEL_HEAD_LINEAR, MODEL_POOL_MEAN, 0},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

typedef struct lengths {
  const char *name;
  int count, length[4];
} lengths;

static const lengths batches[] = {{"mixed", 4, {1, 5, 9, 2}}, {"one-token", 1, {1}}, {"one-sequence", 1, {7}}, {"sentences", 4, {12, 7, 23, 5}}};
enum { BATCH_MIXED, BATCH_ONE_TOKEN, BATCH_ONE_SEQUENCE, BATCH_SENTENCES };

typedef struct gradient_case {
  char name[192];
  const method *method;
  const variant *variant;
  const setting *setting;
  const lengths *lengths;
  const char *family; /* NULL: the real model in PEFTSCALE_ASSETS */
  int dropout;
} gradient_case;

enum { VARIANTS_MAX = 64, CASES_MAX = 256 };

typedef struct case_list {
  const method *method;
  int variant_count, count;
  int broad; /* the first so many variants get every setting; each of the others has one option of its own */
  variant variant[VARIANTS_MAX];
  gradient_case item[CASES_MAX];
} case_list;

static const option *find_option(const method *m, const char *name) {
  for (int i = 0; i < m->option_count; i++)
    if (!strcmp(m->options[i].name, name)) return &m->options[i];
  return NULL;
}

static int is_wide(const char *word) { return !strcmp(word, "all"); }

/* A variant at the method's defaults, to be changed further. */
static variant *add_variant(case_list *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
static variant *add_variant(case_list *list, const char *format, ...) {
  variant *v = &list->variant[list->variant_count++];
  va_list words;
  va_start(words, format);
  vsnprintf(v->name, sizeof v->name, format, words);
  va_end(words);
  if (options_default(list->method, &v->options)) fprintf(stderr, "%s: a default is not valid: %s\n", list->method->name, error_last()->text);
  return v;
}

/* Every second module the method knows: several groups, and some groups in part. */
static void choose_several(const method *m, variant *v) {
  const option *modules = find_option(m, "modules");
  if (!modules || !modules->choices) return;
  int taken = 0;
  for (int i = 0; modules->choices[i]; i++) {
    if (is_wide(modules->choices[i]) || taken++ % 2) continue;
    size_t used = strlen(v->modules);
    snprintf(v->modules + used, sizeof v->modules - used, "%s%s", used ? "," : "", modules->choices[i]);
  }
  options_change(&v->options, "modules", v->modules);
}

static int can_be_wide(const method *m) {
  const option *modules = find_option(m, "modules");
  for (int i = 0; modules && modules->choices && modules->choices[i]; i++)
    if (is_wide(modules->choices[i])) return 1;
  return 0;
}

/* Odd rank (no kernel's block), where the method has one. */
static void choose_wide(const method *m, variant *v) {
  if (can_be_wide(m)) options_change(&v->options, "modules", "all");
  const option *rank = find_option(m, "rank");
  if (rank && rank->type == OPTION_INT && rank->low <= 3 && rank->high >= 3) options_change(&v->options, "rank", "3");
}

static void add_variants(case_list *list) {
  const method *m = list->method;
  choose_several(m, add_variant(list, "several"));
  if (m->option_count) choose_wide(m, add_variant(list, "all"));
  list->broad = list->variant_count;
  for (int i = 0; i < m->option_count; i++) {
    const option *o = &m->options[i];
    if (o->type == OPTION_CHOICE)
      for (int c = 0; o->choices[c] && list->variant_count < VARIANTS_MAX; c++) {
        if (!strcmp(o->choices[c], o->preset)) continue;
        variant *v = add_variant(list, "%s=%s", o->name, o->choices[c]);
        choose_wide(m, v);
        options_change(&v->options, o->name, o->choices[c]);
      }
    if (o->type == OPTION_BOOL && list->variant_count < VARIANTS_MAX) {
      option_value preset;
      const char *turned = option_parse(o, o->preset, &preset) || preset.integer ? "false" : "true";
      variant *v = add_variant(list, "%s=%s", o->name, turned);
      choose_wide(m, v);
      options_change(&v->options, o->name, turned);
    }
    if (!strcmp(o->name, "modules") && o->choices)
      for (int c = 0; o->choices[c] && list->variant_count < VARIANTS_MAX; c++)
        if (!is_wide(o->choices[c])) options_change(&add_variant(list, "modules=%s", o->choices[c])->options, "modules", o->choices[c]);
  }
}

static void add_case(case_list *list, int v, int s, int l, const char *family_name, int dropout) {
  if (list->count >= CASES_MAX) return;
  gradient_case *c = &list->item[list->count++];
  *c = (gradient_case){.method = list->method, .variant = &list->variant[v], .setting = &settings[s], .lengths = &batches[l], .family = family_name,
                       .dropout = dropout};
  snprintf(c->name, sizeof c->name, "%s/%s/%s/%s/%s/%s", list->method->name, list->variant[v].name, settings[s].name, batches[l].name,
           family_name ? family_name : "real", dropout ? "dropout" : "plain");
}

static case_list *cases_of(const method *m) {
  case_list *list = calloc(1, sizeof *list);
  if (!list) abort();
  list->method = m;
  add_variants(list);
  for (int v = 0; v < list->broad; v++)
    for (int s = 0; s < SETTINGS; s++)
      for (int dropout = 0; dropout < 2; dropout++) add_case(list, v, s, BATCH_MIXED, "bert", dropout);
  for (int dropout = 0; dropout < 2; dropout++)
    for (int l = BATCH_ONE_TOKEN; l <= BATCH_ONE_SEQUENCE; l++) add_case(list, 0, 0, l, "bert", dropout);
  add_case(list, 0, 0, BATCH_MIXED, "roberta", 0);
  for (int v = list->broad; v < list->variant_count; v++) add_case(list, v, 0, BATCH_MIXED, "bert", 1);
  add_case(list, 0, 0, BATCH_SENTENCES, NULL, 1);
  return list;
}

/* ---- a model ready for work ---- */

typedef struct stand {
  model *model;
  real *store, *theta, *grad;
  model_workspace *workspace;
  packed_batch batch;
  int64_t count; /* floats of theta */
  int drops;
} stand;

static model_options options_of(const setting *s, int dropout) {
  model_options o = {.pooling = s->pooling, .head = s->head, .objective = s->objective, .classes = s->classes, .seed = 11};
  if (dropout) {
    o.dropout_embedding = 0.1;
    o.dropout_attention = 0.2;
    o.dropout_hidden = 0.15;
    o.dropout_adapter = 0.25;
    o.dropout_head = 0.3;
  }
  return o;
}

static const char *assets(void) { return getenv("PEFTSCALE_ASSETS"); }

/* The real model: shape from its config.json, weights from its safetensors file. */
static int real_path(char *path, size_t bytes, const char *tail) { return text_format(path, bytes, "%s/minilm-l6%s", assets(), tail); }

static int real_shape(model_shape *shape) {
  char path[4096], text[65536] = "";
  TRY(real_path(path, sizeof path, "/config.json"));
  FILE *file = fopen(path, "r");
  if (!file) return FAIL(ERROR_INPUT, NULL, "%s: cannot be opened", path);
  size_t count = fread(text, 1, sizeof text - 1, file);
  text[count] = 0;
  fclose(file);
  return model_shape_parse(text, path, shape);
}

static int real_load(model *m) {
  char path[4096];
  safetensors *file;
  TRY(real_path(path, sizeof path, ""));
  TRY(safetensors_open(path, &file));
  tensor_source source = source_of(file);
  int code = model_load(m, &source);
  safetensors_close(file);
  return code;
}

static void stand_destroy(stand *s) {
  if (!s) return;
  model_workspace_destroy(s->workspace);
  model_destroy(s->model);
  free(s->store);
  free(s->theta);
  free(s->grad);
  free(s);
}

static int stand_fill(const gradient_case *c, stand *s) {
  model_shape shape;
  model_options options = options_of(c->setting, c->dropout);
  if (c->family) shape = tiny_shape(c->family);
  else TRY(real_shape(&shape));
  TRY(model_create(&shape, &options, c->method, &c->variant->options.set, &s->model));
  s->count = model_theta_count(s->model);
  s->drops = c->dropout;
  s->store = calloc((size_t)model_store_count(s->model), sizeof(real));
  s->theta = calloc((size_t)s->count, sizeof(real));
  s->grad = calloc((size_t)s->count, sizeof(real));
  if (!s->store || !s->theta || !s->grad) return FAIL(ERROR_MEMORY, NULL, "out of memory for a model under test");
  model_attach(s->model, s->store);
  if (c->family) tiny_fill_store(s->model, 5, s->store);
  else TRY(real_load(s->model));
  TRY(tiny_fill_theta(s->model, 6, c->family ? 0.3 : 0.05, c->family ? 0.3 : 0.02, s->theta));
  const int number[] = {4, 9, 2, 30};
  batch_fill(&s->batch, s->model, c->setting->objective, c->setting->classes, c->lengths->count, number, c->lengths->length);
  const batch *b = &s->batch.view;
  return model_workspace_create(s->model, b->tokens, b->sequences, b->masked, s->batch.squares, 1, &s->workspace);
}

static int stand_create(const gradient_case *c, stand **result) {
  *result = calloc(1, sizeof **result);
  if (!*result) return FAIL(ERROR_MEMORY, NULL, "out of memory for a model under test");
  int code = stand_fill(c, *result);
  if (!code) return ERROR_NONE;
  stand_destroy(*result);
  *result = NULL;
  return code;
}

/* grad = gradient of the whole batch at s->theta. */
static int stand_gradient(stand *s, double *loss) {
  model_sums sums = {0};
  memset(s->grad, 0, (size_t)s->count * sizeof(real));
  TRY(model_expand(s->model, s->theta));
  TRY(model_gradient(s->model, s->workspace, &s->batch.view, s->grad, &sums, NULL));
  TRY(model_gather(s->model, s->workspace, s->grad));
  *loss = sums.loss;
  return ERROR_NONE;
}

/* ---- comparing ---- */

typedef struct piece {
  char name[METHOD_NAME_BYTES];
  int64_t first, count;
} piece;

/* The parameter that a segment of theta is; -1 for a method's own numbers. */
static int param_of(const model *m, const segment *g) {
  for (int i = 0; i < model_param_count(m); i++)
    if (model_param(m, i)->theta_offset == g->offset) return i;
  return -1;
}

/* What is compared by itself: segments, with q, k and v apart where they are one segment (the gradient of k's bias is a true zero, and must not hide behind
 * its neighbours). */
static int list_pieces(const model *m, piece **result) {
  int count = 0;
  piece *pieces = must_take((size_t)model_segment_count(m) * 3, sizeof *pieces);
  for (int i = 0; i < model_segment_count(m); i++) {
    const segment *g = model_segment(m, i);
    int index = g->role == SEGMENT_ADAPTER ? -1 : param_of(m, g), parts = index < 0 ? 1 : model_param_parts(m, index);
    int64_t each = (int64_t)g->rows * g->cols / parts;
    for (int part = 0; part < parts; part++) {
      piece *p = &pieces[count++];
      int first_row, rows;
      snprintf(p->name, sizeof p->name, "%s", g->name);
      if (parts > 1) model_param_part(m, index, part, p->name, &first_row, &rows);
      p->first = g->offset + part * each;
      p->count = each;
    }
  }
  *result = pieces;
  return count;
}

static double norm(int64_t count, const double *x) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

/* The house rule's error of one piece; infinite where a number is not finite. `all`: norm of the whole reference. */
static double piece_error(const piece *p, const double *g, const double *reference, double all, double factor) {
  double sum = 0;
  for (int64_t i = p->first; i < p->first + p->count; i++) sum += (factor * g[i] - reference[i]) * (factor * g[i] - reference[i]);
  double own = norm(p->count, reference + p->first), off = sqrt(sum) / fmax(own, own <= 1e-12 * all ? zero_floor * all : 1e-6 * all);
  return isfinite(off) ? off : INFINITY;
}

/* Fails the test where a piece is wrong, and where a piece 1 % off would have passed. Returns the worst error. */
static double compare(const char *name, int count, const piece *pieces, const double *g, const double *reference, int64_t total) {
  double all = norm(total, reference), worst = 0;
  int controlled = 0;
  assert_true(all > 0);
  for (int i = 0; i < count; i++) {
    double off = piece_error(&pieces[i], g, reference, all, 1);
    if (!(off <= gradient_tolerance))
      fail_msg("%s: segment %s: error %.3g, norm %.3g of %.3g", name, pieces[i].name, off, norm(pieces[i].count, reference + pieces[i].first), all);
    if (off > worst) worst = off;
    if (norm(pieces[i].count, reference + pieces[i].first) <= 1e-6 * all) continue; /* a true zero (the key's bias) has nothing to be 1 % off */
    if (piece_error(&pieces[i], g, reference, all, 1.01) <= gradient_tolerance) fail_msg("%s: segment %s: 1 %% too much goes unseen", name, pieces[i].name);
    controlled++;
  }
  assert_true(controlled > 0);
  return worst;
}

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

/* Sixth-order central difference. */
static double difference(stand *s, real *scratch, const piece *p, const real *base, int64_t element, const double *sign, double h) {
  static const double weight[] = {45, -9, 1};
  double sum = 0, up, down;
  for (int k = 1; k <= 3; k++) {
    move(s, p, base, element, sign, k * h);
    must(stand_loss(s, scratch, &up));
    move(s, p, base, element, sign, -k * h);
    must(stand_loss(s, scratch, &down));
    sum += weight[k - 1] * (up - down);
  }
  move(s, p, base, element, sign, 0);
  return sum / (60 * h);
}

/* The largest step at which a ten times smaller one says the same: large steps round least, small ones stay on one side of a kink (top-k, for one). */
static double derivative(stand *s, real *scratch, const piece *p, const real *base, int64_t element, const double *sign, double loss) {
  double h = 1e-2 / (element < 0 ? sqrt((double)p->count) : 1), before = difference(s, scratch, p, base, element, sign, h);
  for (int i = 0; i < 3; i++) {
    h /= 10;
    double now = difference(s, scratch, p, base, element, sign, h);
    if (fabs(now - before) <= 1e-8 * fmax(fabs(now), fabs(before)) + 1e-11 * fabs(loss)) return before;
    before = now;
  }
  return before;
}

enum { ELEMENTS = 6, DIRECTIONS = 2, PROBES = ELEMENTS + DIRECTIONS };

/* Single elements, and random sign vectors over the whole piece, in which no wrong element can hide. */
static double check_gradient(const gradient_case *c) {
  stand *s;
  double loss;
  piece *pieces;
  must(stand_create(c, &s));
  must(stand_gradient(s, &loss));
  int count = list_pieces(s->model, &pieces), total = 0;
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
      int written = fwrite(head, sizeof *head, 2, stdout) == 2 && fwrite(s->grad, sizeof(double), (size_t)s->count, stdout) == (size_t)s->count && !fflush(stdout);
      stand_destroy(s);
      free(list);
      return !written;
    }
    free(list);
  }
  fprintf(stderr, "%s: no such case\n", name);
  return 1;
}

#else

/* ---- the double build as a reference ---- */

/* PEFTSCALE_CONFORMANCE_DOUBLE, or conformance_double in the build tree this program lies in (build/tests/conformance, build/double). */
static void double_program(char *path, size_t bytes) {
  const char *named = getenv("PEFTSCALE_CONFORMANCE_DOUBLE");
  if (named) {
    must(text_format(path, bytes, "%s", named));
    return;
  }
  char own[3072];
  ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
  assert_true(length > 0);
  own[length] = 0;
  for (int i = 0; i < 3 && strrchr(own, '/'); i++) *strrchr(own, '/') = 0;
  must(text_format(path, bytes, "%s/double/conformance_double", own));
}

static void read_reference(const gradient_case *c, int64_t count, double *loss, double *gradient) {
  char path[3200], command[4096];
  double head[2] = {0};
  double_program(path, sizeof path);
  must(text_format(command, sizeof command, "'%s' --gradient '%s'", path, c->name));
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  int whole = fread(head, sizeof *head, 2, pipe) == 2 && (int64_t)head[0] == count && fread(gradient, sizeof *gradient, (size_t)count, pipe) == (size_t)count;
  int status = pclose(pipe);
  if (status || !whole) fail_msg("%s: the double program (%s) ended with %d, %.0f of %lld numbers", c->name, path, status, head[0], (long long)count);
  *loss = head[1];
}

static double check_gradient(const gradient_case *c) {
  stand *s;
  double loss, reference_loss;
  must(stand_create(c, &s));
  must(stand_gradient(s, &loss));
  piece *pieces;
  int count = list_pieces(s->model, &pieces);
  double *g = must_take((size_t)s->count, sizeof *g), *reference = must_take((size_t)s->count, sizeof *reference);
  read_reference(c, s->count, &reference_loss, reference);
  for (int64_t i = 0; i < s->count; i++) g[i] = (double)s->grad[i];
  if (!(fabs(loss - reference_loss) <= 1e-5 * (1 + fabs(reference_loss)))) fail_msg("%s: loss %.9g, in double %.9g", c->name, loss, reference_loss);
  double worst = compare(c->name, count, pieces, g, reference, s->count);
  free(g);
  free(reference);
  free(pieces);
  stand_destroy(s);
  return worst;
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

#ifndef PEFTSCALE_DOUBLE
static void gradients_on_real_weights(void **state) {
  const case_list *list = *state;
  if (!assets()) {
    print_message("  skipped: PEFTSCALE_ASSETS is not set, so there are no real weights\n");
    skip();
  }
  for (int i = 0; i < list->count; i++)
    if (!list->item[i].family) print_message("  worst error %.2e (%s)\n", check_gradient(&list->item[i]), list->item[i].name);
}
#endif

/* A variant with nothing more: where a test is not about dropout or objectives. */
static gradient_case plain_case(const case_list *list, const variant *v) {
  gradient_case plain = (gradient_case){.method = list->method, .variant = v, .setting = &settings[0], .lengths = &batches[BATCH_MIXED], .family = "bert"};
  snprintf(plain.name, sizeof plain.name, "%s/%s", list->method->name, v->name);
  return plain;
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
      model_attach(m[i], store);
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

static const method *head_only(void) {
  const method *m = NULL;
  must(method_find("head", &m));
  return m;
}

static void predict(stand *s, const real *theta, real *outputs) {
  model_sums sums = {0};
  must(model_expand(s->model, theta));
  must(model_predict(s->model, s->workspace, &s->batch.view, outputs, &sums));
  assert_int_equal(sums.count, s->batch.view.sequences);
}

static double distance(int count, const real *a, const real *b) {
  double most = 0;
  for (int i = 0; i < count; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    if (!(d <= most)) most = isfinite(d) ? d : INFINITY;
  }
  return most;
}

static gradient_case head_case(const gradient_case *like, variant *defaults) {
  gradient_case c = *like;
  memset(defaults, 0, sizeof *defaults);
  c.method = head_only();
  must(options_default(c.method, &defaults->options));
  c.variant = defaults;
  return c;
}

enum { OUTPUTS = 4 * 3 }; /* sequences of the mixed batch, classes of the first setting */

/* What METHOD_IDENTITY_AT_START promises: before the first step the adapted model is the base model. */
static void identity_at_start_is_kept(void **state) {
  const case_list *list = *state;
  if (!(list->method->flags & METHOD_IDENTITY_AT_START)) {
    print_message("  not promised\n");
    skip();
  }
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
static void merged_equals_adapted(void **state) {
  const case_list *list = *state;
  double worst = 0;
  for (int v = 0; v < list->variant_count; v++) {
    gradient_case c = plain_case(list, &list->variant[v]), plain;
    variant defaults;
    stand *adapted, *merged;
    real a[OUTPUTS], b[OUTPUTS];
    plain = head_case(&c, &defaults);
    must(stand_create(&c, &adapted));
    must(stand_create(&plain, &merged));
    predict(adapted, adapted->theta, a);
    for (int i = 0; i < model_param_count(adapted->model); i++) {
      const param *p = model_param(adapted->model, i), *q = model_param(merged->model, i);
      assert_string_equal(p->name, q->name);
      if (p->role == SEGMENT_HEAD) {
        memcpy(merged->theta + q->theta_offset, model_value(adapted->model, i), (size_t)p->rows * (size_t)p->cols * sizeof(real));
        continue;
      }
      if (list->method->flags & METHOD_MERGEABLE) must(model_merged_value(adapted->model, i, merged->store + q->store_offset));
      else assert_int_equal(model_merged_value(adapted->model, i, merged->store + q->store_offset), ERROR_USAGE);
    }
    if (list->method->flags & METHOD_MERGEABLE) {
      predict(merged, merged->theta, b);
      double largest = 0;
      for (int i = 0; i < OUTPUTS; i++) largest = fmax(largest, fabs((double)a[i]));
      double apart = distance(OUTPUTS, a, b) / largest;
      if (!(apart <= output_tolerance)) fail_msg("%s: outputs of the merged model are %.3g off", c.name, apart);
      worst = fmax(worst, apart);
    }
    stand_destroy(adapted);
    stand_destroy(merged);
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
      double loss;
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

typedef struct test_kind {
  const char *name;
  CMUnitTestFunction run;
} test_kind;

static const test_kind kinds[] = {
    {"gradients", gradients_are_right},
#ifndef PEFTSCALE_DOUBLE
    {"gradients on real weights", gradients_on_real_weights},
#endif
    {"layout of theta and counts", theta_is_laid_out_without_gaps},
    {"start", a_start_depends_on_the_seed_alone},
    {"identity at start", identity_at_start_is_kept},
    {"merging", merged_equals_adapted},
    {"shards add up", shards_add_up},
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
    for (int k = 0; k < KINDS; k++, used++) {
      snprintf(names[used], sizeof names[used], "%s: %s", method_list[i]->name, kinds[k].name);
      tests[used] = (struct CMUnitTest){.name = names[used], .test_func = kinds[k].run, .initial_state = lists[i]};
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
