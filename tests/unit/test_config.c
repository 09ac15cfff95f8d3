/* Configuration: order and origin of values, refusals with place and hint, round trips, identity, every file under configs/. */
#define _GNU_SOURCE
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "config/config.h"

static char root[64]; /* a configuration directory of our own */

/* The option tables that the methods bring. */
static const char *const maps[] = {"q", "k", "v", "o", "up", "down", "all", NULL};
static const char *const inits[] = {"kaiming", "gaussian", NULL};
static const option lora[] = {
    {"rank", OPTION_INT, "8", 1, 4096, NULL, 0, "rank of the change"},
    {"alpha", OPTION_REAL, "8", 0, 4096, NULL, 0, "scale: alpha / rank"},
    {"modules", OPTION_LIST, "q,v", 0, 0, maps, 0, "maps that are adapted"},
    {"init", OPTION_CHOICE, "kaiming", 0, 0, inits, 0, "of A"},
};
static const option autos[] = {
    {"length", OPTION_INT, "auto", 1, 256, NULL, 1, "of a vector"},
    {"scale", OPTION_REAL, "auto", 0, 1, NULL, 1, "of something"},
};

static int options(const char *method, const option **table, int *count) {
  static const char *const names[] = {"lora", "autos", "full", "bitfit", "head"};
  *table = !strcmp(method, "lora") ? lora : !strcmp(method, "autos") ? autos : NULL;
  *count = !strcmp(method, "lora") ? 4 : !strcmp(method, "autos") ? 2 : 0;
  for (int i = 0; i < 5; i++)
    if (!strcmp(names[i], method)) return ERROR_NONE;
  int near = text_nearest(method, names, 5);
  char hint[64] = "";
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  return FAIL(ERROR_USAGE, hint, "there is no method '%s'", method);
}

/* Writes a file below root and returns its path in one of a few rotating buffers. */
static const char *put_bytes(const char *name, const void *bytes, size_t count) {
  static char path[4][256];
  static int next;
  char *p = path[next++ % 4];
  snprintf(p, 256, "%s/%s", root, name);
  FILE *file = fopen(p, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, count, file), count);
  fclose(file);
  return p;
}

static const char *put(const char *name, const char *text) { return put_bytes(name, text, strlen(text)); }

/* Composes from one study file (or NULL) and assignments (up to a NULL). */
static int compose(config **c, const char *study, ...) {
  const char *words[16];
  int count = 0;
  va_list list;
  va_start(list, study);
  for (const char *w; (w = va_arg(list, const char *));) words[count++] = w;
  va_end(list);
  config_request request = {
      .root = root, .files = &study, .file_count = study != NULL, .assignments = words, .assignment_count = count, .method_options = options};
  return config_compose(&request, c);
}

#define COMPOSE(c, ...)                                                                                \
  do {                                                                                                 \
    if (compose(&(c), __VA_ARGS__, NULL)) fail_msg("%s (%s)", error_last()->text, error_last()->hint); \
  } while (0)

/* The origin (or value) of a key as config_print shows it in JSON. */
static const char *shown(const config *c, const char *section, const char *key, const char *what) {
  static char answer[512];
  char *text = NULL;
  size_t bytes;
  FILE *file = open_memstream(&text, &bytes);
  assert_int_equal(config_print(c, file, 1), 0);
  fclose(file);
  cJSON *json = cJSON_Parse(text), *place = json;
  assert_non_null(json);
  if (section) place = cJSON_GetObjectItemCaseSensitive(place, section);
  place = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(place, key), what);
  assert_non_null(place);
  if (cJSON_IsString(place)) {
    snprintf(answer, sizeof answer, "%s", place->valuestring);
  } else {
    char *printed = cJSON_PrintUnformatted(place);
    snprintf(answer, sizeof answer, "%s", printed);
    free(printed);
  }
  cJSON_Delete(json);
  free(text);
  return answer;
}

static const char *origin(const config *c, const char *section, const char *key) {
  const char *text = shown(c, section, key, "origin");
  return strncmp(text, root, strlen(root)) ? text : text + strlen(root) + 1; /* paths as seen from root */
}

/* The refused composition's text begins with the place, holds the words, and its hint holds `hint`. */
static void check_error(int code, int expected_code, const char *begin, const char *words, const char *hint) {
  const error *e = error_last();
  if (code != expected_code) fail_msg("code %d instead of %d: %s", code, expected_code, e->text);
  const char *text = strncmp(e->text, root, strlen(root)) ? e->text : e->text + strlen(root) + 1;
  if (strncmp(text, begin, strlen(begin)) || !strstr(text, words)) fail_msg("'%s' is not '%s ... %s'", text, begin, words);
  if (!strstr(e->hint, hint)) fail_msg("hint '%s' lacks '%s' (%s)", e->hint, hint, text);
}

#define REFUSE_FILE(yaml, begin, words, hint) REFUSE_FILE_AS(ERROR_USAGE, yaml, begin, words, hint)
#define REFUSE_FILE_AS(code, yaml, begin, words, hint)                                     \
  do {                                                                                     \
    config *refused = (config *)root;                                                      \
    check_error(compose(&refused, put("bad.yaml", yaml), NULL), code, begin, words, hint); \
    assert_null(refused);                                                                  \
  } while (0)
#define REFUSE(begin, words, hint, ...)                                                       \
  do {                                                                                        \
    config *refused = (config *)root;                                                         \
    check_error(compose(&refused, NULL, __VA_ARGS__, NULL), ERROR_USAGE, begin, words, hint); \
    assert_null(refused);                                                                     \
  } while (0)

static void test_defaults(void **state) {
  (void)state;
  config *c;
  config_request request = {0};
  assert_int_equal(config_compose(&request, &c), 0);
  assert_int_equal(c->seed, 1);
  assert_int_equal(c->shards, -1);
  assert_int_equal(c->threads, 1);
  assert_string_equal(c->model.name, "");
  assert_int_equal(c->model.init, INIT_PRETRAINED);
  assert_string_equal(c->model.family, "bert");
  assert_int_equal(c->model.layers, 2);
  assert_int_equal(c->model.width, 128);
  assert_int_equal(c->model.heads, 4);
  assert_int_equal(c->model.ffn, 512);
  assert_int_equal(c->model.positions, 128);
  assert_int_equal(c->model.pooling, POOLING_MEAN);
  assert_int_equal(c->model.head, HEAD_LINEAR);
  assert_int_equal(c->task.objective, -1);
  assert_int_equal(c->task.metric, -1);
  assert_true(c->task.mask_rate == 0.15);
  assert_int_equal(c->method.options.count, 0);
  assert_int_equal(c->train.batch, 32);
  assert_int_equal(c->train.epochs, 2);
  assert_int_equal(c->train.steps, -1);
  assert_true(c->train.lr == 1e-3 && isnan(c->train.lr_head) && c->train.decay == 0 && isnan(c->train.decay_head));
  assert_true(c->train.beta1 == 0.9 && c->train.beta2 == 0.999 && c->train.epsilon == 1e-8 && c->train.warmup == 0.06 && c->train.clip == 0);
  assert_int_equal(c->train.schedule, SCHEDULE_LINEAR);
  assert_int_equal(c->train.keep, KEEP_BEST);
  assert_string_equal(c->output.dir, "results/runs");
  assert_string_equal(c->output.name, "auto");
  assert_int_equal(c->output.theta, -1);
  assert_int_equal(c->output.predictions, 1);
  assert_int_equal(c->output.log_every, 50);
  assert_string_equal(c->output.export_dir, "");
  assert_string_equal(origin(c, "train", "lr"), "default");
  config_destroy(c);
  config_destroy(NULL);
}

/* The index of each word is the value of the enum. */
static void test_choices(void **state) {
  (void)state;
  static const struct {
    const char *word;
    size_t field;
    int value;
  } cases[] = {
#define CASE(word, member, value) {word, offsetof(config, member), value}
      CASE("model.init=random", model.init, INIT_RANDOM),
      CASE("model.pooling=first", model.pooling, POOLING_FIRST),
      CASE("model.head=tanh", model.head, HEAD_TANH),
      CASE("task.objective=classify", task.objective, OBJECTIVE_CLASSIFY),
      CASE("task.objective=regress", task.objective, OBJECTIVE_REGRESS),
      CASE("task.objective=mlm", task.objective, OBJECTIVE_MLM),
      CASE("task.metric=accuracy", task.metric, METRIC_ACCURACY),
      CASE("task.metric=f1", task.metric, METRIC_F1),
      CASE("task.metric=matthews", task.metric, METRIC_MATTHEWS),
      CASE("task.metric=pearson", task.metric, METRIC_PEARSON),
      CASE("task.metric=spearman", task.metric, METRIC_SPEARMAN),
      CASE("task.metric=loss", task.metric, METRIC_LOSS),
      CASE("train.schedule=linear", train.schedule, SCHEDULE_LINEAR),
      CASE("train.schedule=cosine", train.schedule, SCHEDULE_COSINE),
      CASE("train.schedule=constant", train.schedule, SCHEDULE_CONSTANT),
      CASE("train.keep=last", train.keep, KEEP_LAST),
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    config *c;
    int64_t value;
    COMPOSE(c, NULL, cases[i].word);
    memcpy(&value, (char *)c + cases[i].field, sizeof value);
    if (value != cases[i].value) fail_msg("%s gave %lld", cases[i].word, (long long)value);
    config_destroy(c);
  }
}

/* base < model < task < method < preset < study files < command line: `train.<key>` is set by every layer from the first to its own. */
static void test_order(void **state) {
  (void)state;
  config *c;
  COMPOSE(c, put("study.yaml", "model: m\ntask: t\nmethod: lora\npreset: paper/p\ntrain:\n  beta1: 0.6\n  beta2: 0.6\n"), "train.beta2=0.7");
  assert_true(c->train.clip == 1);      /* base */
  assert_true(c->train.lr == 2);        /* base, model */
  assert_true(c->train.decay == 3);     /* base, model, task */
  assert_true(c->train.warmup == 0.4);  /* ..., method */
  assert_true(c->train.epsilon == 0.5); /* ..., preset */
  assert_true(c->train.beta1 == 0.6);   /* ..., study */
  assert_true(c->train.beta2 == 0.7);   /* ..., command line */
  assert_string_equal(origin(c, "train", "clip"), "base.yaml:2");
  assert_string_equal(origin(c, "train", "lr"), "model/m.yaml:5");
  assert_string_equal(origin(c, "train", "decay"), "task/t.yaml:5");
  assert_string_equal(origin(c, "train", "warmup"), "method/lora.yaml:6");
  assert_string_equal(origin(c, "train", "epsilon"), "preset/paper/p.yaml:4");
  assert_string_equal(origin(c, "train", "beta1"), "study.yaml:6");
  assert_string_equal(origin(c, "train", "beta2"), "command line");
  assert_string_equal(origin(c, "train", "batch"), "default");
  assert_string_equal(origin(c, "method", "rank"), "method/lora.yaml:2");
  assert_string_equal(origin(c, "method", "alpha"), "default");
  assert_string_equal(origin(c, "method", "name"), "study.yaml:3");
  assert_string_equal(c->model.name, "m");
  assert_string_equal(c->model.path, "weights");
  assert_string_equal(c->task.name, "t");
  assert_string_equal(c->preset, "paper/p");
  assert_int_equal(option_int(&c->method.options, "rank"), 4);
  assert_true(option_real(&c->method.options, "alpha") == 8);
  config_destroy(c);

  const char *files[] = {put("one.yaml", "train: {lr: 1, decay: 1}\nmethod: {name: full}\n"), put("two.yaml", "method: bitfit\ntrain: {lr: 5}\n")};
  config_request request = {.root = root, .files = files, .file_count = 2, .method_options = options};
  assert_int_equal(config_compose(&request, &c), 0);
  assert_true(c->train.lr == 5 && c->train.decay == 1);
  assert_string_equal(c->method.name, "bitfit");
  config_destroy(c);
}

static void test_names(void **state) {
  (void)state;
  config *c;
  COMPOSE(c, put("study.yaml", "method: {name: lora, rank: 2}\nmodel: {name: m}\n"), "method.rank=3", "seed=3", "model=other");
  assert_string_equal(c->model.name, "other"); /* the last name decides which file is read */
  assert_string_equal(c->model.path, "");
  assert_int_equal(option_int(&c->method.options, "rank"), 3);
  assert_int_equal(c->seed, 3);
  config_destroy(c);

  COMPOSE(c, put("study.yaml", "model: m\n"), "model="); /* taken back: no file is read */
  assert_string_equal(c->model.path, "");
  config_destroy(c);

  COMPOSE(c, NULL, "preset=paper/complete", "task=t"); /* a preset may choose what it is for; the command line wins */
  assert_string_equal(c->model.path, "weights");
  assert_string_equal(c->method.name, "lora");
  assert_string_equal(c->task.name, "t");
  assert_int_equal(option_int(&c->method.options, "rank"), 16);
  config_destroy(c);

  COMPOSE(c, NULL, "method=full"); /* no method/full.yaml here: its table is enough */
  assert_string_equal(c->method.name, "full");
  config_destroy(c);

  config_request bare = {.root = root, .assignments = (const char *const[]){"method=lora"}, .assignment_count = 1};
  check_error(config_compose(&bare, &c), ERROR_USAGE, "method/lora.yaml:2:3: ", "unknown key 'method.rank'", "method 'lora' has no keys of its own");
}

static void test_lists(void **state) {
  (void)state;
  config *c;
  COMPOSE(c, put("study.yaml", "method:\n  name: lora\n  modules: [q, \"up\", down]\n"));
  assert_string_equal(option_text(&c->method.options, "modules"), "q,up,down");
  assert_true(option_lists(&c->method.options, "modules", "up"));
  assert_string_equal(shown(c, "method", "modules", "value"), "[\"q\",\"up\",\"down\"]");
  config_destroy(c);
  COMPOSE(c, put("study.yaml", "method:\n  name: lora\n  modules: q , v\n"));
  assert_string_equal(option_text(&c->method.options, "modules"), "q,v");
  config_destroy(c);
}

static void test_refused_keys(void **state) {
  (void)state;
  REFUSE_FILE("seed: 2\n\ntrain:\n  batch: 8\n  learning_rate: 1\n", "bad.yaml:5:3: ", "unknown key 'train.learning_rate'", "did you mean 'train.lr'?");
  REFUSE_FILE("train:\n  btach: 8\n", "bad.yaml:2:3: ", "unknown key 'train.btach'", "did you mean 'train.batch'?");
  REFUSE_FILE("train:\n  seed: 8\n", "bad.yaml:2:3: ", "unknown key 'train.seed'", "did you mean 'seed'?");
  REFUSE_FILE("lr: 8\n", "bad.yaml:1:1: ", "unknown key 'lr'", "did you mean 'train.lr'?");
  REFUSE_FILE("tarin:\n  lr: 8\n", "bad.yaml:1:1: ", "unknown section 'tarin'", "did you mean 'train'?");
  REFUSE_FILE("optimizer: {}\n", "bad.yaml:1:1: ", "unknown section 'optimizer'", "model, task, method, train, output");
  REFUSE_FILE("train.lr: 8\n", "bad.yaml:1:1: ", "the key 'train.lr' is written with a dot", "indented");
  REFUSE_FILE("train: {a.b: 8}\n", "bad.yaml:1:9: ", "unknown key 'train.a.b'", "");
  REFUSE_FILE("train: fast\n", "bad.yaml:1:8: ", "train: this is a section of keys, not a value", "indented");
  REFUSE_FILE("method: {name: lora, rnak: 8}\n", "bad.yaml:1:22: ", "unknown key 'method.rnak'", "did you mean 'method.rank'?");
  REFUSE_FILE("method: {name: full, zzzzzz: 8}\n", "bad.yaml:1:22: ", "unknown key 'method.zzzzzz'", "method 'full' has no keys of its own");
  REFUSE_FILE("method: {name: lora, zzzzzz: 8}\n", "bad.yaml:1:22: ", "unknown key 'method.zzzzzz'", "rank, alpha, modules, init");
  REFUSE_FILE("method: {rank: 8}\n", "bad.yaml:1:10: ", "unknown key 'method.rank'", "method=lora");
  REFUSE("command line: ", "unknown key 'train.weight_decay'", "did you mean 'train.decay'?", "train.weight_decay=1");
  REFUSE("command line: ", "'train.lr' is not of the form key=value", "train.lr=1e-3", "train.lr");
  REFUSE("command line: ", "'=3' is not of the form key=value", "", "=3");
  REFUSE("command line: train=3: ", "this is a section", "", "train=3");
}

static void test_refused_values(void **state) {
  (void)state;
  REFUSE_FILE("method:\n  name: lora\n  rank: eight\n", "bad.yaml:3:9: method.rank: ", "'eight' is not a whole number", "");
  REFUSE_FILE("train: {lr: fast}\n", "bad.yaml:1:13: train.lr: ", "'fast' is not a number", "");
  REFUSE_FILE("train: {keep: bets}\n", "bad.yaml:1:15: train.keep: ", "'bets' is not one of: best, last", "did you mean 'best'?");
  REFUSE_FILE("output: {predictions: maybe}\n", "bad.yaml:1:23: output.predictions: ", "neither true nor false", "");
  REFUSE_FILE("method: {name: lora, modules: [q, w]}\n", "bad.yaml:1:31: method.modules: ", "'w' is not one of: q, k", "");
  REFUSE_FILE("method: {name: lora, modules: []}\n", "bad.yaml:1:31: method.modules: ", "empty", "");
  REFUSE_FILE("train: {batch: auto}\n", "bad.yaml:1:16: train.batch: ", "'auto' is not a whole number", "");
  REFUSE_FILE("train: {lr: nan}\n", "bad.yaml:1:13: train.lr: ", "'nan' is not a number", "");
  REFUSE_FILE("train: {lr: .inf}\n", "bad.yaml:1:13: train.lr: ", "is not a number", "");
  REFUSE_FILE("task: {data: \"a\\nb\"}\n", "bad.yaml:1:14: task.data: ", "control character", "");
  REFUSE("command line: train.batch=0: ", "0 is out of range: it must be from 1 to 1048576", "", "train.batch=0");
  REFUSE("command line: model.dropout_head=0.96: ", "out of range", "", "model.dropout_head=0.96");
  REFUSE("command line: train.lr=inf: ", "out of range", "", "train.lr=inf");
  REFUSE("command line: seed=-1: ", "out of range", "", "seed=-1");
  REFUSE("command line: seed=: ", "'' is not a whole number", "", "seed=");
  REFUSE("command line: ", "not UTF-8", "", "task.data=\xff\xfe");
  char *long_word = malloc(5001);
  memset(long_word, 'x', 5000);
  long_word[5000] = 0;
  memcpy(long_word, "task.data=", 10);
  REFUSE("command line: ", "longer than 4095 bytes", "", long_word);
  free(long_word);
}

static void test_refused_shapes(void **state) {
  (void)state;
  REFUSE_FILE("train:\n", "bad.yaml:1:7: train: ", "there is no value", "leave the key out");
  REFUSE_FILE("train:\n  lr: ~\n", "bad.yaml:2:7: train.lr: ", "there is no value", "");
  REFUSE_FILE("output: {export_dir: null}\n", "bad.yaml:1:22: output.export_dir: ", "there is no value", "");
  REFUSE_FILE("train:\n  lr: {a: 1}\n", "bad.yaml:2:7: train.lr: ", "a single value is expected, not a mapping", "");
  REFUSE_FILE("seed: {a: 1}\n", "bad.yaml:1:7: seed: ", "a single value is expected, not a mapping", "");
  REFUSE_FILE("train:\n  lr: [1, 2]\n", "bad.yaml:2:7: train.lr: ", "a single value is expected, not a list", "");
  REFUSE_FILE("method: {name: lora, modules: [q, [v]]}\n", "bad.yaml:1:35: method.modules: ", "a list may hold only single values", "[q, v]");
  REFUSE_FILE("seed: 1\ntrain:\n  lr: 1\n  batch: 2\n  lr: 2\n", "bad.yaml:5:3: ", "duplicate key 'train.lr', already set in line 3", "");
  REFUSE_FILE("method: lora\nmethod: {rank: 3}\n", "bad.yaml:2:1: ", "duplicate key 'method', already set in line 1", "");
  REFUSE_FILE("seed: 1\n---\nseed: 2\n", "bad.yaml:3:1: ", "one YAML document only", "");
  REFUSE_FILE("- seed\n- 1\n", "bad.yaml:1:1: ", "must be a mapping", "");
  REFUSE_FILE("seed\n", "bad.yaml:1:1: ", "must be a mapping", "");
  REFUSE_FILE("[a]: 1\n", "bad.yaml:1:1: ", "a key must be a word", "");
  REFUSE_FILE("train: {lr: 1\nseed: 2\n", "bad.yaml:2:", "not valid YAML", "");
  REFUSE_FILE("train:\n\tlr: 1\n", "bad.yaml:2:", "not valid YAML", "");
  REFUSE_FILE("seed: 1\nthreads: \xff\xfe\n", "bad.yaml:2:10: ", "not valid YAML", "");
  REFUSE_FILE("train: {lr: *nothing}\n", "bad.yaml:1:13: ", "not valid YAML", "");
  config *c;
  check_error(compose(&c, put_bytes("bad.yaml", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16), NULL), ERROR_USAGE, "bad.yaml:1:", "not valid YAML", "");
  check_error(compose(&c, put_bytes("bad.yaml", "task: {data: \"a\\0b\"}", 20), NULL), ERROR_USAGE, "bad.yaml:1:14: task.data: ", "zero byte", "");
  COMPOSE(c, put("study.yaml", "# nothing\n"));
  config_destroy(c);
  COMPOSE(c, put("study.yaml", "train: &t {lr: 0.5}\nmodel: {dropout_head: &d 0.25, dropout_hidden: *d}\n"));
  assert_true(c->model.dropout_hidden == 0.25);
  config_destroy(c);
}

static void test_refused_files(void **state) {
  (void)state;
  config *c;
  size_t bytes = 100u << 20;
  char *much = malloc(bytes);
  memset(much, '#', bytes);
  check_error(compose(&c, put_bytes("bad.yaml", much, bytes), NULL), ERROR_INPUT, "bad.yaml: ", "larger than 1 MiB", "");
  unlink(put("bad.yaml", ""));
  free(much);
  char path[128];
  snprintf(path, sizeof path, "%s/absent.yaml", root);
  check_error(compose(&c, path, NULL), ERROR_INPUT, "absent.yaml: ", "cannot be read: No such file", "");
  check_error(compose(&c, root, NULL), ERROR_INPUT, "", "cannot be read: Is a directory", "");
  config_request request = {.root = path};
  check_error(config_compose(&request, &c), ERROR_INPUT, "absent.yaml/base.yaml: ", "cannot be read", "");

  char *many = NULL;
  FILE *file = open_memstream(&many, &bytes);
  for (int i = 0; i < 5000; i++) fprintf(file, "k%d: 1\n", i);
  fclose(file);
  REFUSE_FILE(many, "bad.yaml: ", "more than 4096 keys", "");
  free(many);
  file = open_memstream(&many, &bytes); /* a small file of references to one long word */
  fprintf(file, "a: &a %03000d\nmethod: {name: lora, modules: [", 1);
  for (int i = 0; i < 2000; i++) fputs("*a,", file);
  fputs("]}\n", file);
  fclose(file);
  REFUSE_FILE(many, "bad.yaml:1:4: method.modules: ", "longer than 4095 bytes", "");
  free(many);
  many = malloc(500001);
  memset(many, '[', 500000);
  many[500000] = 0;
  REFUSE_FILE_AS(ERROR_INPUT, many, "bad.yaml: ", "more than 2048 brackets", "");
  memset(many, '[', 2000);
  many[2000] = 0;
  REFUSE_FILE(many, "bad.yaml:", "not valid YAML", "");
  for (int i = 0; i < 500000; i++) many[i] = i % 2 ? ' ' : '-'; /* deep without brackets */
  REFUSE_FILE(many, "bad.yaml:1:1: ", "must be a mapping", "");
  free(many);
}

static void test_refused_names(void **state) {
  (void)state;
  REFUSE_FILE("seed: 1\nmodel: mm\n", "bad.yaml:2:8: model.name: ", "there is no model 'mm'", "did you mean 'm'?");
  REFUSE_FILE("model: zzzzz\n", "bad.yaml:1:8: ", "model holds: m, other", "");
  REFUSE_FILE("task: {name: tt}\n", "bad.yaml:1:14: task.name: ", "there is no task 'tt'", "did you mean 't'?");
  REFUSE_FILE("method: lorra\n", "bad.yaml:1:9: method.name: ", "there is no method 'lorra'", "did you mean 'lora'?");
  REFUSE("command line: method=lorra: ", "there is no method 'lorra'", "did you mean 'lora'?", "method=lorra");
  REFUSE("command line: preset=paper/q: ", "holds: paper/bad, paper/complete, paper/p", "did you mean 'paper/p'?", "preset=paper/q");
  REFUSE("command line: model=../model/m: ", "there is no model '../model/m'", "", "model=../model/m");
  REFUSE("command line: preset=paper/../paper/p: ", "there is no preset", "", "preset=paper/../paper/p");
  REFUSE("preset/paper/bad.yaml:1:1: ", "'preset' cannot be chosen by a preset file", "", "preset=paper/bad");
  put("model/other.yaml", "task: t\n");
  REFUSE("model/other.yaml:1:1: ", "'task.name' cannot be chosen by a model file", "", "model=other");
  put("model/other.yaml", "model: {name: other}\n");
  config *c;
  COMPOSE(c, NULL, "model=other");
  config_destroy(c);
}

static void test_auto(void **state) {
  (void)state;
  config *c;
  COMPOSE(c, NULL, "method=autos", "train.lr_head=auto");
  assert_true(option_is_auto(&c->method.options, "length"));
  assert_string_equal(shown(c, "train", "lr_head", "value"), "auto");
  assert_int_equal(config_resolve(c, "shards", "7"), 0);
  assert_int_equal(config_resolve(c, "train.lr_head", "0.01"), 0);
  assert_int_equal(config_resolve(c, "task.metric", "f1"), 0);
  assert_int_equal(config_resolve(c, "output.theta", "false"), 0);
  assert_int_equal(config_resolve(c, "output.name", "trec6-lora"), 0);
  assert_int_equal(config_resolve(c, "method.length", "64"), 0);
  assert_int_equal(c->shards, 7);
  assert_true(c->train.lr_head == 0.01);
  assert_int_equal(c->task.metric, METRIC_F1);
  assert_int_equal(c->output.theta, 0);
  assert_string_equal(c->output.name, "trec6-lora");
  assert_int_equal(option_int(&c->method.options, "length"), 64);
  assert_false(option_is_auto(&c->method.options, "length"));
  assert_string_equal(origin(c, NULL, "shards"), "resolved");
  assert_string_equal(origin(c, "method", "length"), "resolved");
  check_error(config_resolve(c, "shards", "8"), ERROR_INTERNAL, "", "'shards' is not auto", "");
  check_error(config_resolve(c, "train.batch", "8"), ERROR_INTERNAL, "", "'train.batch' is not auto", "");
  check_error(config_resolve(c, "train.shards", "8"), ERROR_INTERNAL, "", "unknown key 'train.shards'", "");
  check_error(config_resolve(c, "train.steps", "-8"), ERROR_INTERNAL, "train.steps: ", "out of range", "");
  assert_int_equal(c->shards, 7);
  assert_int_equal(c->train.steps, -1);
  config_destroy(c);
}

static char *canonical(const config *c) {
  char *text;
  assert_int_equal(config_canonical(c, &text), 0);
  return text;
}

static void check_same(int same, const char *word_a, const char *word_b) {
  config *a, *b;
  COMPOSE(a, NULL, "method=lora", word_a);
  COMPOSE(b, NULL, "method=lora", word_b);
  char *text_a = canonical(a), *text_b = canonical(b);
  if ((strcmp(text_a, text_b) == 0) != same) fail_msg("%s and %s: %s", word_a, word_b, same ? "differ" : "are the same");
  free(text_a);
  free(text_b);
  config_destroy(a);
  config_destroy(b);
}

static void test_canonical(void **state) {
  (void)state;
  check_same(1, "train.lr=1e-3", "train.lr=0.001");
  check_same(1, "train.lr=+1.0e-3", "train.lr=0.0010");
  check_same(1, "train.decay=-0.0", "train.decay=0");
  check_same(1, "method.alpha=8", "method.alpha=8.0");
  check_same(1, "method.modules=q,v", "method.modules=q, v");
  check_same(1, "method.modules=q,v", "method.modules=v,q,v");
  check_same(1, "threads=1", "threads=2");
  check_same(1, "output.dir=a", "output.dir=b");
  check_same(1, "output.name=a", "output.theta=false");
  check_same(1, "output.log_every=2", "output.export_dir=b");
  check_same(1, "task.data=a", "model.path=b");
  check_same(1, "model=other", "model.name=");     /* by itself a name decides nothing */
  check_same(1, "train.start=a", "train.start=b"); /* nor does that of a file: its content is hashed */
  check_same(0, "train.lr=0.001", "train.lr=0.0010000001");
  check_same(0, "method.rank=8", "method.rank=9");
  check_same(0, "method.init=kaiming", "method.init=gaussian");
  check_same(0, "seed=1", "seed=2");
  check_same(0, "shards=1", "shards=2");
  check_same(0, "task.limit=0", "task.limit=2");
  check_same(0, "model.dropout_head=0", "model.dropout_head=0.1");
  check_same(0, "train.keep=best", "train.keep=last");
  check_same(0, "method=lora", "method=full");

  config *c;
  COMPOSE(c, NULL, "method=lora", "train.lr=1e-5");
  char *text = canonical(c), *line = NULL, previous[128] = "";
  assert_non_null(strstr(text, "\ntrain.lr=1.0e-05\n"));
  assert_non_null(strstr(text, "\nmethod.name=lora\n"));
  assert_non_null(strstr(text, "\nmethod.modules=q,v\n"));
  assert_non_null(strstr(text, "\nshards=auto\n"));
  assert_non_null(strstr(text, "\ntrain.keep=best\n"));
  assert_null(strstr(text, "dropout")); /* neutral */
  assert_null(strstr(text, "task.limit"));
  assert_null(strstr(text, "threads"));
  assert_null(strstr(text, "output."));
  assert_null(strstr(text, "preset"));
  assert_null(strstr(text, "path"));
  for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char key[128];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(line, "="), line);
    assert_true(strcmp(previous, key) < 0);
    strcpy(previous, key);
  }
  free(text);
  config_destroy(c);
}

/* Keys and values of a configuration without origins: all that a round trip has to keep. */
static char *values_only(const config *c) {
  char *text;
  assert_int_equal(config_write_yaml(c, &text), 0);
  return text;
}

static void check_round_trip(const config *c) {
  config *back;
  char *text = values_only(c);
  if (config_restore(text, "run.h5", options, NULL, 0, &back)) fail_msg("%s\n%s", error_last()->text, text);
  char *again = values_only(back), *was = canonical(c), *is = canonical(back);
  assert_string_equal(text, again);
  assert_string_equal(was, is);
  assert_string_equal(c->output.dir, back->output.dir);
  assert_string_equal(c->task.data, back->task.data);
  assert_string_equal(c->train.start, back->train.start);
  back->train.start = c->train.start; /* each has its own copy */
  assert_memory_equal(&c->train, &back->train, sizeof c->train);
  assert_string_equal(origin(back, NULL, "seed"), "run.h5:1");
  free(text);
  free(again);
  free(was);
  free(is);
  config_destroy(back);
}

static void test_round_trip(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      "null",
                                      "~",
                                      "true",
                                      "No",
                                      "auto",
                                      "a: b",
                                      "#no",
                                      "q\"uote\\",
                                      "ünï/文",
                                      "[x]",
                                      "-",
                                      "1.5",
                                      " spaced ",
                                      "'",
                                      "\xc2\x85line",
                                      "\xf0\x9f\x98\x80",
                                      "&a",
                                      "*a",
                                      "!x",
                                      "%y",
                                      "@z",
                                      "`w",
                                      "{",
                                      "? k",
                                      "\xef\xbb\xbf",
                                      "\xef\xbf\xbe"};
  config *c;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char word[64];
    snprintf(word, sizeof word, "output.dir=%s", texts[i]);
    COMPOSE(c, NULL, "method=lora", word, "task.data=x.h5", "train.lr=1.2345678901234567e-7", "method.modules=all,q");
    assert_string_equal(c->output.dir, texts[i]);
    check_round_trip(c);
    config_destroy(c);
  }
  COMPOSE(c, NULL, "method=autos", "model=m", "preset=paper/p", "threads=3");
  check_round_trip(c);
  assert_int_equal(config_resolve(c, "method.length", "8"), 0);
  assert_int_equal(config_resolve(c, "method.scale", "0.3"), 0);
  check_round_trip(c);

  config *back;
  char *text = values_only(c);
  const char *words[] = {"task.data=elsewhere.h5", "threads=2"};
  assert_int_equal(config_restore(text, "run.h5", options, words, 2, &back), 0); /* names in it load no files: they may be gone */
  assert_string_equal(back->task.data, "elsewhere.h5");
  assert_int_equal(back->threads, 2);
  config_destroy(back);
  free(text);
  config_destroy(c);
  check_error(config_restore("train:\n  x: 1\n", "run.h5", options, NULL, 0, &back), ERROR_USAGE, "run.h5:2:3: ", "unknown key 'train.x'", "");
  check_error(config_restore("method: lorra\n", "run.h5", options, NULL, 0, &back), ERROR_USAGE, "run.h5:1:9: method.name: ", "no method 'lorra'", "'lora'");
  assert_int_equal(config_restore("seed: 4\n", "run.h5", NULL, NULL, 0, &back), 0);
  assert_int_equal(back->seed, 4);
  config_destroy(back);
}

static void test_print(void **state) {
  (void)state;
  config *c;
  char *text = NULL;
  size_t bytes;
  COMPOSE(c, NULL, "method=lora", "train.lr=1e-5");
  FILE *file = open_memstream(&text, &bytes);
  assert_int_equal(config_print(c, file, 0), 0);
  config_print_schema(file);
  fclose(file);
  char *line = strstr(text, "\ntrain.lr ");
  assert_non_null(line);
  char key[64], value[64], from[64];
  assert_int_equal(sscanf(line, "%63s %63s %63[^\n]", key, value, from), 3);
  assert_string_equal(key, "train.lr");
  assert_string_equal(value, "1.0e-05");
  assert_string_equal(from, "command line");
  char *rank = strstr(text, "\nmethod.rank ");
  assert_non_null(rank);
  assert_int_equal(strstr(rank, root) - rank, strstr(line, "command line") - line); /* aligned */
  free(text);
  assert_string_equal(shown(c, "train", "lr", "value"), "1e-05");
  assert_string_equal(shown(c, "train", "keep", "value"), "best");
  assert_string_equal(shown(c, "output", "predictions", "value"), "true");
  assert_string_equal(shown(c, "output", "theta", "value"), "auto");
  assert_string_equal(shown(c, NULL, "seed", "value"), "1");
  config_destroy(c);
}

/* Calls `each` for the name of every file of ROOT/KIND, with FOLDER/ before those in folders. */
static int visit(const char *base, const char *kind, const char *folder, int (*each)(const char *base, const char *kind, const char *name)) {
  char path[512];
  int count = 0;
  snprintf(path, sizeof path, "%s/%s/%s", base, kind, folder);
  DIR *opened = opendir(path);
  for (struct dirent *entry; opened && (entry = readdir(opened));) {
    char name[512];
    size_t length = strlen(entry->d_name);
    snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", entry->d_name);
    if (*entry->d_name == '.') continue;
    if (length > 5 && !strcmp(entry->d_name + length - 5, ".yaml")) {
      name[strlen(name) - 5] = 0;
      count += each(base, kind, name);
    } else {
      count += visit(base, kind, name, each);
    }
  }
  if (opened) closedir(opened);
  return count;
}

static char current[512]; /* the file that is being checked */
static option shelf[32];
static char shelf_names[32][64];
static int shelf_count;

/* Declares the keys below `method:` in a file. */
static void read_method_keys(const char *path) {
  char line[512], name[64];
  FILE *file = fopen(path, "r");
  int inside = 0;
  while (file && fgets(line, sizeof line, file)) {
    if (*line >= 'a' && *line <= 'z') inside = !strncmp(line, "method:", 7);
    if (!inside || shelf_count == 32 || sscanf(line, "  %63[a-z_0-9]:", name) != 1 || !strcmp(name, "name")) continue;
    int known = 0;
    for (int i = 0; i < shelf_count; i++) known |= !strcmp(shelf_names[i], name);
    if (known) continue;
    strcpy(shelf_names[shelf_count], name);
    shelf[shelf_count] = (option){.name = shelf_names[shelf_count], .type = OPTION_LIST, .preset = "x"};
    shelf_count++;
  }
  if (file) fclose(file);
}

/* Every method, with the keys that its files use as words: what the methods declare is tested with them. */
static int any_method(const char *method, const option **table, int *count) {
  char path[512];
  snprintf(path, sizeof path, "%s/method/%s.yaml", getenv("PEFTSCALE_CONFIGS") ? getenv("PEFTSCALE_CONFIGS") : "configs", method);
  shelf_count = 0;
  read_method_keys(path);
  read_method_keys(current);
  *table = shelf;
  *count = shelf_count;
  return ERROR_NONE;
}

static int check_named(const char *base, const char *kind, const char *name) {
  char word[600];
  snprintf(word, sizeof word, "%s=%s", kind, name);
  if (snprintf(current, sizeof current, "%s/%s/%s.yaml", base, kind, name) >= (int)sizeof current) fail_msg("%s is too long", name);
  config *c;
  config_request request = {.root = base, .assignments = (const char *const[]){word}, .assignment_count = 1, .method_options = any_method};
  if (config_compose(&request, &c)) fail_msg("%s (%s)", error_last()->text, error_last()->hint);
  if (!strcmp(kind, "task")) assert_true(*c->task.data);
  if (!strcmp(kind, "model")) assert_true(*c->model.path || c->model.init == INIT_RANDOM);
  if (!strcmp(kind, "preset")) assert_string_equal(c->preset, name);
  config_destroy(c);
  return 1;
}

static void test_shipped(void **state) {
  (void)state;
  const char *base = getenv("PEFTSCALE_CONFIGS");
  if (!base) base = "configs";
  assert_true(visit(base, "model", "", check_named) >= 4);
  assert_true(visit(base, "task", "", check_named) >= 11);
  assert_true(visit(base, "method", "", check_named) >= 4);
  visit(base, "preset", "", check_named);
  config *c; /* base.yaml repeats defaults and changes none */
  config_request request = {.root = base}, none = {0};
  assert_int_equal(config_compose(&request, &c), 0);
  char *text = values_only(c);
  config_destroy(c);
  assert_int_equal(config_compose(&none, &c), 0);
  char *defaults = values_only(c);
  config_destroy(c);
  assert_string_equal(text, defaults);
  free(text);
  free(defaults);
}

static const char fuzz_text[] =
    "# a study\nseed: 3\nmodel: {name: m, pooling: first}\ntask: t\nmethod:\n  name: lora\n  rank: 4\n  modules: [q, \"v\", &k k, *k]\n"
    "train:\n  lr: 1.0e-3\n  keep: 'last'\noutput:\n  dir: \"r\\u00e9s/\\x41\"\n  name: |\n    folded\n  export_dir: >-\n    x\n    y\n";

static void try_fuzzed(const char *bytes, size_t count) {
  char text[sizeof fuzz_text + 8];
  memcpy(text, bytes, count);
  text[count] = 0;
  config *c = NULL;
  FAIL(ERROR_NONE, NULL, "%s", ""); /* forgets the last error */
  int code = config_restore(text, "fuzz", options, NULL, 0, &c);
  if (code) {
    assert_null(c);
    if (code == ERROR_INTERNAL || !*error_last()->text) fail_msg("code %d '%s' for:\n%s", code, error_last()->text, text);
    if (strncmp(error_last()->text, "fuzz:", 5)) fail_msg("no place in '%s'", error_last()->text);
  } else {
    check_round_trip(c);
    config_destroy(c);
  }
  const char *path = put_bytes("fuzz.yaml", bytes, count); /* the same with zero bytes kept and with layers */
  code = compose(&c, path, NULL);
  if (!code) config_destroy(c);
}

static void test_fuzz(void **state) {
  (void)state;
  size_t count = sizeof fuzz_text - 1;
  for (size_t end = 0; end <= count; end++) try_fuzzed(fuzz_text, end);
  random_key key = random_key_make(7, RANDOM_TEST, 0);
  for (uint64_t round = 0; round < 4000; round++) {
    char bytes[sizeof fuzz_text];
    memcpy(bytes, fuzz_text, count);
    int flips = 1 + (int)(random_bits(key, round, 0) % 4);
    for (int k = 0; k < flips; k++) {
      uint32_t place = random_bits(key, round, 1 + 2 * (uint64_t)k) % (uint32_t)count, bit = random_bits(key, round, 2 + 2 * (uint64_t)k) % 8;
      bytes[place] ^= (char)(1u << bit);
    }
    try_fuzzed(bytes, count);
  }
}

static int make_root(void **state) {
  (void)state;
  strcpy(root, "/tmp/test_config.XXXXXX");
  if (!mkdtemp(root)) return -1;
  static const char *const folders[] = {"model", "task", "method", "preset", "preset/paper"};
  for (int i = 0; i < 5; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, folders[i]);
    if (mkdir(path, 0700)) return -1;
  }
  put("base.yaml", "train:\n  clip: 1\n  lr: 1\n  decay: 1\n  warmup: 0.1\n  epsilon: 0.1\n  beta1: 0.1\n  beta2: 0.1\n");
  put("model/m.yaml", "# model\nmodel:\n  path: weights\ntrain:\n  lr: 2\n  decay: 2\n  warmup: 0.2\n  epsilon: 0.2\n  beta1: 0.2\n  beta2: 0.2\n");
  put("model/other.yaml", "model: {name: other}\n");
  put("task/t.yaml", "task:\n  name: t\n  data: t.h5\ntrain:\n  decay: 3\n  warmup: 0.3\n  epsilon: 0.3\n  beta1: 0.3\n  beta2: 0.3\n");
  put("method/lora.yaml", "method:\n  rank: 4\n# and\n# more\ntrain:\n  warmup: 0.4\n  epsilon: 0.4\n  beta1: 0.4\n  beta2: 0.4\n");
  put("preset/paper/p.yaml", "# paper\n\ntrain:\n  epsilon: 0.5\n  beta1: 0.5\n  beta2: 0.5\n");
  put("preset/paper/complete.yaml", "model: m\ntask: other\nmethod:\n  name: lora\n  rank: 16\n");
  put("preset/paper/bad.yaml", "preset: paper/p\n");
  return 0;
}

static int remove_folder(const char *path) {
  DIR *opened = opendir(path);
  for (struct dirent *entry; opened && (entry = readdir(opened));) {
    char inner[600];
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
    if (unlink(inner)) remove_folder(inner);
  }
  if (opened) closedir(opened);
  return rmdir(path);
}

static int remove_root(void **state) {
  (void)state;
  return remove_folder(root);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults),      cmocka_unit_test(test_choices),       cmocka_unit_test(test_order),          cmocka_unit_test(test_names),
      cmocka_unit_test(test_lists),         cmocka_unit_test(test_refused_keys),  cmocka_unit_test(test_refused_values), cmocka_unit_test(test_refused_shapes),
      cmocka_unit_test(test_refused_files), cmocka_unit_test(test_refused_names), cmocka_unit_test(test_auto),           cmocka_unit_test(test_canonical),
      cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_print),         cmocka_unit_test(test_shipped),        cmocka_unit_test(test_fuzz),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
