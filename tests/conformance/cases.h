/* The cases of the conformance tests, a model set up for one of them, and how gradients are compared.
 *
 * Cases come from the registry and the methods' option tables alone. Included by one source file of each test program, in the float or the double build.
 */
#ifndef PEFTSCALE_TESTS_CASES_H
#define PEFTSCALE_TESTS_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text.h"
#include "support/tiny_bench.h"

#ifdef PEFTSCALE_DOUBLE
static const double gradient_tolerance = 1e-6, output_tolerance = 1e-10, sum_tolerance = 1e-10, zero_floor = 1e-6;
#else
static const double gradient_tolerance = 1e-3, output_tolerance = 1e-5, sum_tolerance = 1e-4, zero_floor = 1e-4;
#endif

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

enum { ADAPTER_DROPOUT = 2, PER_SITE };

typedef struct gradient_case {
  char name[192];
  const method *method;
  const variant *variant;
  const setting *setting;
  const lengths *lengths;
  const char *family; /* NULL: the real model in PEFTSCALE_ASSETS */
  int dropout;        /* 0: none, 1: everywhere, ADAPTER_DROPOUT: of the adapter's input alone, PER_SITE: everywhere, a mask for each adapted map */
} gradient_case;

enum { VARIANTS_MAX = 64, CASES_MAX = 256 };

typedef struct case_list {
  const method *method;
  int variant_count, count;
  int broad; /* the first so many variants get every setting; each of the others has one option of its own */
  variant variant[VARIANTS_MAX];
  gradient_case item[CASES_MAX];
} case_list;

static inline const option *find_option(const method *m, const char *name) {
  for (int i = 0; i < m->option_count; i++)
    if (!strcmp(m->options[i].name, name)) return &m->options[i];
  return NULL;
}

static inline int is_wide(const char *word) { return !strcmp(word, "all"); }

/* A variant at the method's defaults, to be changed further. */
static inline variant *add_variant(case_list *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline variant *add_variant(case_list *list, const char *format, ...) {
  variant *v = &list->variant[list->variant_count++];
  va_list words;
  va_start(words, format);
  vsnprintf(v->name, sizeof v->name, format, words);
  va_end(words);
  if (options_default(list->method, &v->options)) fprintf(stderr, "%s: a default is not valid: %s\n", list->method->name, error_last()->text);
  return v;
}

/* Every second module the method knows: several groups, and some groups in part. */
static inline void choose_several(const method *m, variant *v) {
  const option *modules = find_option(m, "modules");
  if (!modules || !modules->choices) return;
  int taken = 0;
  for (int i = 0; modules->choices[i]; i++) {
    if (is_wide(modules->choices[i]) || !strcmp(modules->choices[i], "qkv") || taken++ % 2) continue;
    size_t used = strlen(v->modules);
    snprintf(v->modules + used, sizeof v->modules - used, "%s%s", used ? "," : "", modules->choices[i]);
  }
  options_change(&v->options, "modules", v->modules);
}

static inline int can_be_wide(const method *m) {
  const option *modules = find_option(m, "modules");
  for (int i = 0; modules && modules->choices && modules->choices[i]; i++)
    if (is_wide(modules->choices[i])) return 1;
  return 0;
}

/* Odd rank (no kernel's block), where the method has one. */
static inline void choose_wide(const method *m, variant *v) {
  if (can_be_wide(m)) options_change(&v->options, "modules", "all");
  const option *rank = find_option(m, "rank");
  if (rank && rank->type == OPTION_INT && rank->low <= 3 && rank->high >= 3) options_change(&v->options, "rank", "3");
}

/* Whether the tiny model takes these options. */
static inline int fits_tiny(const method *m, const variant *v) {
  model_shape shape = tiny_shape("bert");
  model_options options = {.pooling = MODEL_POOL_MEAN, .objective = MODEL_CLASSIFY, .classes = 3, .seed = 1};
  model *tried;
  if (model_create(&shape, &options, m, &v->options.set, &tried)) return 0;
  model_destroy(tried);
  return 1;
}

/* A variant on one kind of map alone; the tiny encoder lacks some kinds (gates), which are refused. */
static inline void add_module(case_list *list, const char *word) {
  variant *v = add_variant(list, "modules=%s", word);
  options_change(&v->options, "modules", word);
  if (!fits_tiny(list->method, v)) list->variant_count--;
}

/* One path for each of the tiny encoder's 12 maps, every support of every tensor among them. */
#define LISTED_PATHS "431,0,17,58,99,140,181,222,263,304,345,386"

/* A variant with one option of its own, on all modules where that is possible (ties of one square shape, say, cannot span the feed-forward maps). */
static inline void add_choice(case_list *list, const char *name, const char *word) {
  variant *v = add_variant(list, "%s=%s", name, word);
  choose_wide(list->method, v);
  options_change(&v->options, name, word);
  options_change(&v->options, "paths", LISTED_PATHS); /* of use to path=listed alone */
  if (fits_tiny(list->method, v)) return;
  if (options_default(list->method, &v->options) || options_change(&v->options, name, word) || !fits_tiny(list->method, v)) list->variant_count--;
}

static inline void add_variants(case_list *list) {
  const method *m = list->method;
  choose_several(m, add_variant(list, "several"));
  if (m->option_count) choose_wide(m, add_variant(list, "all"));
  list->broad = list->variant_count;
  for (int i = 0; i < m->option_count; i++) {
    const option *o = &m->options[i];
    if (o->type == OPTION_CHOICE)
      for (int c = 0; o->choices[c] && list->variant_count < VARIANTS_MAX; c++) {
        if (!strcmp(o->choices[c], o->preset)) continue;
        add_choice(list, o->name, o->choices[c]);
      }
    if (o->type == OPTION_BOOL && list->variant_count < VARIANTS_MAX) {
      option_value preset;
      const char *turned = option_parse(o, o->preset, &preset) || preset.integer ? "false" : "true";
      add_choice(list, o->name, turned);
    }
    if (!strcmp(o->name, "modules") && o->choices)
      for (int c = 0; o->choices[c] && list->variant_count < VARIANTS_MAX; c++)
        if (!is_wide(o->choices[c])) add_module(list, o->choices[c]);
  }
}

static inline void add_case(case_list *list, int v, int s, int l, const char *family_name, int dropout) {
  if (list->count >= CASES_MAX) return;
  gradient_case *c = &list->item[list->count++];
  *c = (gradient_case){
      .method = list->method, .variant = &list->variant[v], .setting = &settings[s], .lengths = &batches[l], .family = family_name, .dropout = dropout};
  snprintf(c->name, sizeof c->name, "%s/%s/%s/%s/%s/%s", list->method->name, list->variant[v].name, settings[s].name, batches[l].name,
           family_name ? family_name : "real",
           dropout == PER_SITE ? "per-site"
           : dropout           ? "dropout"
                               : "plain");
}

static inline case_list *cases_of(const method *m) {
  case_list *list = calloc(1, sizeof *list);
  if (!list) abort();
  list->method = m;
  add_variants(list);
  for (int v = 0; v < list->broad; v++)
    for (int s = 0; s < SETTINGS; s++)
      for (int dropout = 0; dropout < 2; dropout++) add_case(list, v, s, BATCH_MIXED, "bert", dropout);
  for (int v = 0; v < list->broad; v++)
    for (int dropout = 0; dropout < 2; dropout++)
      for (int l = BATCH_ONE_TOKEN; l <= BATCH_ONE_SEQUENCE; l++) add_case(list, v, 0, l, "bert", dropout);
  for (int v = 0; v < list->broad && m->flags & METHOD_DROPS_INPUT; v++) add_case(list, v, 0, BATCH_MIXED, "bert", PER_SITE);
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

static inline model_options options_of(const setting *s, int dropout) {
  model_options o = {.pooling = s->pooling, .head = s->head, .objective = s->objective, .classes = s->classes, .seed = 11};
  if (dropout == ADAPTER_DROPOUT) {
    o.dropout_adapter = 0.25;
  } else if (dropout) {
    o.dropout_embedding = 0.1;
    o.dropout_attention = 0.2;
    o.dropout_hidden = 0.15;
    o.dropout_adapter = 0.25;
    o.dropout_head = 0.3;
    o.drops_per_site = dropout == PER_SITE;
  }
  return o;
}

static inline const char *assets(void) { return getenv("PEFTSCALE_ASSETS"); }

/* The real model: shape from its config.json, weights from its safetensors file. */
static inline int real_path(char *path, size_t bytes, const char *tail) {
  if (!assets()) return FAIL(ERROR_INPUT, "it names the directory that holds minilm-l6", "PEFTSCALE_ASSETS is not set");
  return text_format(path, bytes, "%s/minilm-l6%s", assets(), tail);
}

static inline int real_shape(model_shape *shape) {
  char path[4096], text[65536] = "";
  TRY(real_path(path, sizeof path, "/config.json"));
  FILE *file = fopen(path, "r");
  if (!file) return FAIL(ERROR_INPUT, NULL, "%s: cannot be opened", path);
  size_t count = fread(text, 1, sizeof text - 1, file);
  text[count] = 0;
  fclose(file);
  return model_shape_parse(text, path, shape);
}

static inline int real_load(model *m) {
  char path[4096];
  safetensors *file;
  TRY(real_path(path, sizeof path, ""));
  TRY(safetensors_open(path, &file));
  tensor_source source = source_of(file);
  int code = model_load(m, &source);
  safetensors_close(file);
  return code;
}

static inline void stand_destroy(stand *s) {
  if (!s) return;
  model_workspace_destroy(s->workspace);
  model_destroy(s->model);
  free(s->store);
  free(s->theta);
  free(s->grad);
  free(s);
}

static inline int stand_fill(const gradient_case *c, stand *s) {
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
  TRY(model_attach(s->model, s->store));
  if (c->family) tiny_fill_store(s->model, 5, s->store);
  else TRY(real_load(s->model));
  tiny_fill_constants(s->model, 7);
  TRY(model_choose(s->model, 3)); /* as the batch's random streams: step 3 */
  TRY(tiny_fill_theta(s->model, 6, c->family ? 0.3 : 0.05, c->family ? 0.3 : 0.02, s->theta));
  const int number[] = {4, 9, 2, 30};
  batch_fill(&s->batch, s->model, c->setting->objective, c->setting->classes, c->lengths->count, number, c->lengths->length);
  const batch *b = &s->batch.view;
  return model_workspace_create(s->model, b->tokens, b->sequences, b->masked, s->batch.squares, 1, &s->workspace);
}

static inline int stand_create(const gradient_case *c, stand **result) {
  *result = calloc(1, sizeof **result);
  if (!*result) return FAIL(ERROR_MEMORY, NULL, "out of memory for a model under test");
  int code = stand_fill(c, *result);
  if (!code) return ERROR_NONE;
  stand_destroy(*result);
  *result = NULL;
  return code;
}

/* grad = gradient of the whole batch at s->theta. */
static inline int stand_gradient(stand *s, double *loss) {
  model_sums sums = {0};
  memset(s->grad, 0, (size_t)s->count * sizeof(real));
  TRY(model_expand(s->model, s->theta));
  TRY(model_gradient(s->model, s->workspace, &s->batch.view, s->grad, &sums, NULL));
  TRY(model_gather(s->model, s->workspace, s->grad));
  *loss = sums.loss;
  return ERROR_NONE;
}

/* A variant with nothing more: where a test is not about dropout or objectives. */
static inline gradient_case plain_case(const case_list *list, const variant *v) {
  gradient_case plain = (gradient_case){.method = list->method, .variant = v, .setting = &settings[0], .lengths = &batches[BATCH_MIXED], .family = "bert"};
  snprintf(plain.name, sizeof plain.name, "%s/%s", list->method->name, v->name);
  return plain;
}

static inline const method *head_only(void) {
  const method *m = NULL;
  must(method_find("head", &m));
  return m;
}

static inline void predict(stand *s, const real *theta, real *outputs) {
  model_sums sums = {0};
  must(model_expand(s->model, theta));
  must(model_predict(s->model, s->workspace, &s->batch.view, outputs, &sums));
  assert_int_equal(sums.count, s->batch.view.sequences);
}

static inline double distance(int count, const real *a, const real *b) {
  double most = 0;
  for (int i = 0; i < count; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    if (!(d <= most)) most = isfinite(d) ? d : INFINITY;
  }
  return most;
}

static inline gradient_case head_case(const gradient_case *like, variant *defaults) {
  gradient_case c = *like;
  memset(defaults, 0, sizeof *defaults);
  c.method = head_only();
  must(options_default(c.method, &defaults->options));
  c.variant = defaults;
  return c;
}

enum { OUTPUTS = 4 * 3 }; /* sequences of the mixed batch, classes of the first setting */

/* ---- comparing ---- */

typedef struct piece {
  char name[METHOD_NAME_BYTES];
  int64_t first, count;
  int may_vanish; /* a gradient of zero is no sign of a test that says nothing */
} piece;

/* Off the step's path there is no gradient; what shifts all keys alike has none behind a softmax; over one token a softmax is constant, and a single number may
 * be dropped out. */
static inline int may_vanish(const stand *s, int index, const char *name) {
  const segment *g = model_segment(s->model, index);
  if (model_active(s->model) && !model_active(s->model)[index]) return 1;
  if (strstr(name, ".k.") || strstr(name, ".key.")) return 1;
  if (s->batch.view.tokens > 1) return 0;
  return strstr(name, ".q.") || strstr(name, ".query.") || (s->drops && g->rows * g->cols == 1);
}

/* The parameter that a segment of theta is; -1 for a method's own numbers. */
static inline int param_of(const model *m, const segment *g) {
  for (int i = 0; i < model_param_count(m); i++)
    if (model_param(m, i)->theta_offset == g->offset) return i;
  return -1;
}

/* What is compared by itself: segments, with q, k and v apart where they are one segment (the gradient of k's bias is a true zero, and must not hide behind
 * its neighbours). */
static inline int list_pieces(const stand *s, piece **result) {
  const model *m = s->model;
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
      p->may_vanish = may_vanish(s, i, p->name);
    }
  }
  *result = pieces;
  return count;
}

static inline double norm(int64_t count, const double *x) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

/* What a piece's error is measured against, at least. The gradient of a single number can nearly cancel by chance (of a sum over tokens of +-0.1, 1e-4 was
 * left), and then shows the rounding of its terms, as a true zero does: the float build takes both for what they are, the double build is the judge. */
static inline double smallest_norm(const piece *p, double own, double all) { return (own <= 1e-12 * all || p->count == 1 ? zero_floor : 1e-6) * all; }

/* The house rule's error of one piece; infinite where a number is not finite. `all`: norm of the whole reference. */
static inline double piece_error(const piece *p, const double *g, const double *reference, double all, double factor) {
  double sum = 0;
  for (int64_t i = p->first; i < p->first + p->count; i++) sum += (factor * g[i] - reference[i]) * (factor * g[i] - reference[i]);
  double own = norm(p->count, reference + p->first), off = sqrt(sum) / fmax(own, smallest_norm(p, own, all));
  return isfinite(off) ? off : INFINITY;
}

/* Fails the test where a piece is wrong, and where a piece 1 % off would have passed. Returns the worst error. */
static inline double compare(const char *name, int count, const piece *pieces, const double *g, const double *reference, int64_t total) {
  double all = norm(total, reference), worst = 0;
  int controlled = 0;
  assert_true(all > 0);
  for (int i = 0; i < count; i++) {
    double off = piece_error(&pieces[i], g, reference, all, 1);
    if (!(off <= gradient_tolerance))
      fail_msg("%s: segment %s: error %.3g, norm %.3g of %.3g", name, pieces[i].name, off, norm(pieces[i].count, reference + pieces[i].first), all);
    if (off > worst) worst = off;
    double own = norm(pieces[i].count, reference + pieces[i].first);
    if (own <= 1e-6 * all) {                                   /* nothing to be 1 % off */
      int cancels = pieces[i].count == 1 && own > 1e-12 * all; /* a single number by chance, on one of the models */
      if (!pieces[i].may_vanish && !cancels) fail_msg("%s: segment %s has no gradient (%.3g of %.3g): nothing is tested", name, pieces[i].name, own, all);
      continue;
    }
    if (0.01 * own <= 2 * gradient_tolerance * smallest_norm(&pieces[i], own, all)) continue; /* a single number, near cancellation: the double build sees it */
    if (piece_error(&pieces[i], g, reference, all, 1.01) <= gradient_tolerance) fail_msg("%s: segment %s: 1 %% too much goes unseen", name, pieces[i].name);
    controlled++;
  }
  assert_true(controlled > 0);
  return worst;
}

#ifndef PEFTSCALE_DOUBLE

/* ---- the double build as a reference ---- */

/* PEFTSCALE_CONFORMANCE_DOUBLE, or conformance_double in the build tree this program lies in (build/tests/conformance, build/double). */
static inline void double_program(char *path, size_t bytes) {
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

static inline void read_reference(const gradient_case *c, int64_t count, double *loss, double *gradient) {
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

static inline double check_gradient(const gradient_case *c) {
  stand *s;
  double loss = 0, reference_loss = 0;
  must(stand_create(c, &s));
  must(stand_gradient(s, &loss));
  piece *pieces;
  int count = list_pieces(s, &pieces);
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

#endif
