/* Studies: which runs a study.yaml means and in which order, every refusal with its place and hint, limits. */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "config/study.h"

static char root[64]; /* configurations and studies of our own */

/* The option tables that our methods bring. */
static const char *const maps[] = {"q", "k", "v", "all", NULL};
static const option lora[] = {
    {"rank", OPTION_INT, "8", 1, 4096, NULL, 0, "rank of the change"},
    {"modules", OPTION_LIST, "q,v", 0, 0, maps, 0, "maps that are adapted"},
};

static int options(const char *method, const option **table, int *count) {
  static const char *const names[] = {"lora", "red", "head"};
  *table = lora;
  *count = !strcmp(method, "lora") ? 2 : 0;
  for (int i = 0; i < 3; i++)
    if (!strcmp(names[i], method)) return ERROR_NONE;
  int near = text_nearest(method, names, 3);
  char hint[64] = "";
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  return FAIL(ERROR_USAGE, hint, "there is no method '%s'", method);
}

static const char *put(const char *name, const char *text) {
  static char path[4][256];
  static int next;
  char *p = path[next++ % 4];
  snprintf(p, 256, "%s/%s", root, name);
  FILE *file = fopen(p, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
  assert_int_equal(fclose(file), 0);
  return p;
}

/* Reads ROOT/s/study.yaml with this text and words (up to a NULL). */
static int try_study(study **s, const char *text, va_list list) {
  const char *words[16];
  int count = 0;
  for (const char *w; (w = va_arg(list, const char *));) words[count++] = w;
  study_request request = {.path = put("s/study.yaml", text), .root = root, .method_options = options, .assignments = words, .assignment_count = count};
  return study_read(&request, s);
}

static study *read_study(const char *text, ...) {
  study *s;
  va_list list;
  va_start(list, text);
  if (try_study(&s, text, list)) fail_msg("%s (%s)", error_last()->text, error_last()->hint);
  va_end(list);
  return s;
}

#define READ(...) read_study(__VA_ARGS__, NULL)

/* What most studies below begin with: a line of 35 characters, so that the next one is line 2. */
#define BASE "base: {model: m, task: t, method: lora}\n"
#define MODEL "base: {model: m, task: t}\n"

static char *join(const study_run *run) {
  static char text[4096];
  size_t used = 0;
  *text = 0;
  for (int i = 0; i < run->assignment_count; i++) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "", run->assignments[i]);
  return text;
}

/* Labels of the runs, one after the other, "; " between. */
static const char *labels(const study *s) {
  static char text[8192];
  size_t used = 0;
  *text = 0;
  for (int i = 0; i < s->run_count; i++) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "; " : "", s->runs[i].label);
  return text;
}

/* The study with these words is the list of labels. */
static void check_labels(const char *expected, const char *text, ...) {
  study *s;
  va_list list;
  va_start(list, text);
  if (try_study(&s, text, list)) fail_msg("%s (%s)\n%s", error_last()->text, error_last()->hint, text);
  va_end(list);
  assert_string_equal(labels(s), expected);
  study_destroy(s);
}

#define LABELS(expected, ...) check_labels(expected, __VA_ARGS__, NULL)

/* The study is refused: the text begins with the place (as seen from ROOT) and holds the words, the hint holds `hint`. */
static void check_refusal(const char *place, const char *words, const char *hint, const char *text, ...) {
  study *s = (study *)&s;
  va_list list;
  va_start(list, text);
  int code = try_study(&s, text, list);
  va_end(list);
  const error *e = error_last();
  if (!code) fail_msg("accepted:\n%s", text);
  assert_null(s);
  assert_int_equal(code, e->code);
  if (code != ERROR_USAGE && code != ERROR_INPUT) fail_msg("code %d: %s", code, e->text);
  const char *seen = strncmp(e->text, root, strlen(root)) ? e->text : e->text + strlen(root) + 1;
  if (strncmp(seen, place, strlen(place)) || !strstr(seen, words)) fail_msg("'%s' is not '%s ... %s' for:\n%s", seen, place, words, text);
  if (!strstr(e->hint, hint)) fail_msg("hint '%s' lacks '%s' (%s)", e->hint, hint, seen);
}

#define REFUSE(place, words, hint, ...) check_refusal(place, words, hint, __VA_ARGS__, NULL)
#define AT(place) "s/study.yaml:" place ": "

static void test_single(void **state) {
  (void)state;
  study *s = READ(BASE);
  assert_string_equal(s->name, "s");
  assert_string_equal(s->title, "s");
  assert_string_equal(s->question, "");
  assert_int_equal(s->action, STUDY_TRAIN);
  assert_int_equal(s->run_count, 1);
  assert_int_equal(s->group_count, 0);
  assert_int_equal(s->stage_count, 0);
  assert_int_equal(s->column_count, 0);
  assert_int_equal(s->data_count, 0);
  const study_run *run = s->runs;
  assert_string_equal(join(run), "model.name=m task.name=t method.name=lora");
  assert_string_equal(run->stage, "");
  assert_int_equal(run->role, STUDY_RUN);
  assert_int_equal(run->group, -1);
  assert_int_equal(run->ranks, 1);
  assert_string_equal(run->tuned_key, "");
  assert_string_equal(run->tuned_value, "");
  assert_string_equal(run->label, "s");
  assert_string_equal(run->origins[2] + strlen(root), "/s/study.yaml:1:35");
  study_destroy(s);

  s = READ("title: 'A: b'\nquestion: >-\n  one\n  two\nranks: 3\ncolumns: [test, sent]\n" BASE
           "data:\n  t.h5: make t.h5\n  weights: >-\n    get\n    weights\n");
  assert_string_equal(s->title, "A: b");
  assert_string_equal(s->question, "one two");
  assert_int_equal(s->runs->ranks, 3);
  assert_int_equal(s->column_count, 2);
  assert_string_equal(s->columns[1], "sent");
  assert_int_equal(s->data_count, 2);
  assert_string_equal(s->data[1].command, "get weights");
  assert_int_equal(study_find_data(s, "t.h5"), 0);
  assert_int_equal(study_find_data(s, "build/data/t.h5"), 0);
  assert_int_equal(study_find_data(s, "/x/weights"), 1);
  assert_int_equal(study_find_data(s, "at.h5"), -1);
  assert_int_equal(study_find_data(s, ""), -1);
  study_destroy(s);
}

static void test_paths(void **state) {
  (void)state;
  study *s;
  char path[256];
  study_request request = {.path = path, .root = root, .method_options = options};
  put("s/study.yaml", BASE);
  put("s/other.yaml", BASE);
  static const struct {
    const char *path, *name;
  } good[] = {{"s", "s"}, {"s/", "s"}, {"s//", "s"}, {"s/study.yaml", "s"}, {"s/other.yaml", "other"}, {"s/../s", "s"}};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    snprintf(path, sizeof path, "%s/%s", root, good[i].path);
    if (study_read(&request, &s)) fail_msg("%s: %s", path, error_last()->text);
    assert_string_equal(s->name, good[i].name);
    study_destroy(s);
  }
  char *here = getcwd(NULL, 0);
  snprintf(path, sizeof path, "%s/s", root);
  assert_int_equal(chdir(path), 0);
  strcpy(path, "study.yaml");
  assert_int_equal(study_read(&request, &s), 0);
  assert_string_equal(s->name, "s");
  study_destroy(s);
  strcpy(path, ".");
  assert_int_equal(study_read(&request, &s), 0);
  assert_string_equal(s->name, "s");
  assert_string_equal(s->path, "./study.yaml");
  study_destroy(s);
  assert_int_equal(chdir(here), 0);
  free(here);
  strcpy(path, "quickstart"); /* there is experiments/quickstart */
  assert_int_equal(study_read(&request, &s), ERROR_INPUT);
  assert_string_equal(error_last()->hint, "did you mean experiments/quickstart?");
  snprintf(path, sizeof path, "%s/nothing", root);
  assert_int_equal(study_read(&request, &s), ERROR_INPUT);
  assert_non_null(strstr(error_last()->text, "there is no study '"));
  snprintf(path, sizeof path, "%s/model", root); /* a folder without study.yaml */
  assert_int_equal(study_read(&request, &s), ERROR_INPUT);
  put("s/a b.yaml", BASE);
  snprintf(path, sizeof path, "%s/s/a b.yaml", root);
  assert_int_equal(study_read(&request, &s), ERROR_USAGE);
  assert_non_null(strstr(error_last()->text, "'a b' is no name of a study"));
}

static void test_grid(void **state) {
  (void)state;
  study *s = READ(MODEL "grid:\n  task: [t, u]\n  method: [lora, red]\nseeds: [1, 2]\n");
  assert_string_equal(labels(s),
                      "task=t method=lora seed=1; task=t method=lora seed=2; task=t method=red seed=1; task=t method=red seed=2; "
                      "task=u method=lora seed=1; task=u method=lora seed=2; task=u method=red seed=1; task=u method=red seed=2");
  assert_string_equal(join(&s->runs[7]), "model.name=m task.name=t task.name=u method.name=red seed=2");
  assert_string_equal(s->runs[7].origins[2] + strlen(root), "/s/study.yaml:3:13");
  assert_string_equal(s->runs[7].origins[4] + strlen(root), "/s/study.yaml:5:12");
  study_destroy(s);
  LABELS("seed=1; seed=2; seed=3", BASE "repeats: 3\n");
  LABELS("method=lora; method=red", MODEL "grid: {method: [lora, red], task: [t]}\nseeds: [7]\n"); /* what does not vary is not told */
  LABELS("task=t", BASE "grid: {task: [t]}\n");                                                    /* unless nothing does */
  LABELS("train.lr=1e-3; train.lr=2e-3", BASE "grid: {train.lr: [1e-3, 2e-3]}\n");

  s = READ(BASE "ranks: 2\ngrid:\n  ranks: [1, 4]\n  method.modules: [[q, v], all]\n");
  assert_string_equal(labels(s), "ranks=1 method.modules=q,v; ranks=1 method.modules=all; ranks=4 method.modules=q,v; ranks=4 method.modules=all");
  assert_string_equal(join(&s->runs[2]), "model.name=m task.name=t method.name=lora method.modules=q,v"); /* ranks are no setting */
  assert_int_equal(s->runs[0].ranks, 1);
  assert_int_equal(s->runs[3].ranks, 4);
  study_destroy(s);

  s = READ(MODEL
           "grid:\n  method:\n    - head\n    - {method: lora, ranks: 2}\n    - method: {name: lora, rank: 16, modules: [q, k]}\n      train.lr: 2\n"
           "    - {label: big, method: lora, method.rank: 64}\n");
  assert_string_equal(labels(s), "method=head; method=lora ranks=2; method=lora method.rank=16 method.modules=q,k train.lr=2; method=big");
  assert_string_equal(join(&s->runs[2]), "model.name=m task.name=t method.name=lora method.rank=16 method.modules=q,k train.lr=2");
  assert_int_equal(s->runs[1].ranks, 2);
  study_destroy(s);

  /* An axis that is no setting. */
  LABELS("size=small; size=large", BASE "grid:\n  size:\n    - {label: small, train.batch: 8, method.rank: 1}\n    - {label: large, train.batch: 64}\n");
  LABELS("train.batch=8 method.rank=1; train.batch=64", BASE "grid: {size: [{train.batch: 8, method.rank: 1}, {train.batch: 64}]}\n");
  LABELS("seed=5; seed=6", BASE "grid: {seed: [5, 6]}\n");
}

static void test_refused_grid(void **state) {
  (void)state;
  REFUSE(AT("2:8"), "'taks' is no setting", "'task'", BASE "grid: {taks: [t]}\n");
  REFUSE(AT("2:8"), "an axis cannot be called 'stage'", "'stages:'", BASE "grid: {stage: [{seed: 1}]}\n");
  REFUSE(AT("2:7"), "grid is a mapping", "method: [lora, red]", BASE "grid: [lora]\n");
  REFUSE(AT("2:14"), "task.name: an axis is a list", "below 'base:'", BASE "grid: {task: t}\n");
  REFUSE(AT("2:14"), "task.name: an axis needs at least one element", "", BASE "grid: {task: []}\n");
  REFUSE(AT("2:19"), "train.lr: 'fast' is not a number", "", BASE "grid: {train.lr: [fast]}\n");
  REFUSE(AT("3:22"), "train.keep: 'bset' is not one of", "'best'", BASE "grid:\n  train.keep: [last, bset]\n");
  REFUSE(AT("2:17"), "method.name: there is no method 'lorra'", "'lora'", MODEL "grid: {method: [lorra]}\n");
  REFUSE(AT("2:16"), "ranks: 0 is out of range: it must be from 1 to 65536", "", BASE "grid: {ranks: [0]}\n");
  REFUSE(AT("2:16"), "'two' is not a whole number", "", BASE "grid: {ranks: [two]}\n");
  REFUSE(AT("2:15"), "task.name: a single value is expected, not a list", "", BASE "grid: {task: [[t, u]]}\n");
  REFUSE(AT("2:15"), "task.name: there is no value", "", BASE "grid: {task: [~]}\n");
  REFUSE(AT("2:21"), "the axis 'task.name' has 't' twice", "one of the two", BASE "grid: {task: [t, u, t]}\n");
  REFUSE(AT("2:25"), "the axis 'train.lr' has '0.001' twice", "", BASE "grid: {train.lr: [1e-3, 0.001]}\n");
  REFUSE(AT("2:33"), "has 'a' twice", "", BASE "grid: {x: [{label: a, seed: 1}, {label: a, seed: 2}]}\n");
  REFUSE(AT("2:23"), "has 'seed=1' twice", "", BASE "grid: {x: [{seed: 1}, {seed: 1}]}\n");
  REFUSE(AT("2:15"), "an element of the axis 'task.name' does not set it", "any other word", BASE "grid: {task: [{train.lr: 1}]}\n");
  REFUSE(AT("2:12"), "x: an element sets nothing", "", BASE "grid: {x: [{label: a}]}\n");
  REFUSE(AT("2:13"), "unknown key 'train.lrr'", "'train.lr'", BASE "grid: {x: [{train.lrr: 1}]}\n");
  REFUSE(AT("2:13"), "empty 'label'", "", BASE "grid: {x: [{label: '', seed: 1}]}\n");
  REFUSE(AT("2:25"), "train.lr: a single value is expected, not a mapping", "", BASE "grid: {x: [{train: {lr: {}}}]}\n");
  REFUSE(AT("2:38"), "'train.lr' is set by the axes 'train.lr' and 'x'", "", BASE "grid: {train.lr: [1], x: [{train.lr: 2}]}\n");
  REFUSE(AT("2:19"), "the axis 'task.name' is there twice", "", BASE "grid: {task: [t], task.name: [u]}\n");
  REFUSE(AT("2:15"), "'seed' is set by an axis of a study with seeds", "'seeds:'", BASE "grid: {seed: [1, 2]}\nseeds: [1]\n");
}

static void test_zip(void **state) {
  (void)state;
  LABELS("ranks=1 train.batch=8; ranks=2 train.batch=16", BASE "zip: {ranks: [1, 2], train.batch: [8, 16]}\n");
  LABELS("method=lora ranks=1 seed=1; method=lora ranks=2 seed=2; method=red ranks=1 seed=1; method=red ranks=2 seed=2",
         MODEL "grid: {method: [lora, red]}\nzip: {ranks: [1, 2], seed: [1, 2]}\n");
  LABELS("ranks=1 shards=1 threads=1 seed=5; ranks=1 shards=1 threads=2 seed=6; ranks=2 shards=2 threads=1 seed=5; ranks=2 shards=2 threads=2 seed=6",
         BASE "zip:\n  - {ranks: [1, 2], shards: [1, 2]}\n  - {threads: [1, 2], seed: [5, 6]}\n");
  REFUSE(AT("2:22"), "'shards' has 3 elements, 'ranks' has 2", "equally long", BASE "zip: {ranks: [1, 2], shards: [1, 2, 3]}\n");
  REFUSE(AT("2:7"), "an element of zip has no lists", "", BASE "zip: [{}]\n");
  REFUSE(AT("2:7"), "an element of zip is a mapping", "", BASE "zip: [ranks]\n");
  REFUSE(AT("3:21"), "the axis 'ranks' is there twice", "", BASE "grid: {ranks: [1]}\nzip: {threads: [1], ranks: [1]}\n");
}

static void test_exclude(void **state) {
  (void)state;
  static const char grid[] = MODEL "grid:\n  task: [t, u]\n  method: [lora, red, head]\n  ranks: [1]\n";
  char text[512];
#define WITH(rest) (snprintf(text, sizeof text, "%s%s", grid, rest), text)
  LABELS("task=t method=lora; task=t method=red; task=t method=head; task=u method=lora; task=u method=head", WITH("exclude:\n  - {task: u, method: red}\n"));
  LABELS("task=t method=lora; task=u method=lora; task=u method=red; task=u method=head", WITH("exclude: [{task: t, method: [red, head]}]\n"));
  LABELS("task=t method=lora; task=t method=red; task=t method=head", WITH("exclude: [{task: {name: u}}]\n"));
  LABELS("task=u method=lora; task=u method=red; task=u method=head", WITH("exclude: [{task.name: t, ranks: 1.0}]\n")); /* as numbers */
  LABELS("x=b", BASE "grid: {x: [{label: a, train.lr: 1}, {label: b, train.lr: 2}]}\nexclude: [{x: a}]\n");
  LABELS("x=a", BASE "grid: {x: [{label: a, train.lr: 1}, {label: b, train.lr: 2}]}\nexclude: [{train.lr: 2}]\n");
  LABELS("method.modules=all", BASE "grid: {method.modules: [[q, v], all]}\nexclude: [{method.modules: [q, v]}]\n");
  REFUSE(AT("6:11"), "this exclude leaves nothing out", "misspelt", WITH("exclude: [{task: u, method: lroa}]\n"));
  REFUSE(AT("6:24"), "no axis sets 'train.lr'", "name axes", WITH("exclude: [{train: {lr: 1}}]\n"));
  REFUSE(AT("6:27"), "no axis sets 'seed'", "", WITH("exclude: [{task: u, seed: 1}]\nseeds: [1]\n"));
  REFUSE("s/study.yaml: ", "exclude leaves all of them out", "", WITH("exclude: [{ranks: 1}]\n"));
  REFUSE(AT("6:10"), "exclude is a list", "", WITH("exclude: {task: t}\n"));
  REFUSE(AT("6:11"), "has no pairs", "", WITH("exclude: [{}]\n"));
  REFUSE(AT("6:11"), "must be a mapping", "", WITH("exclude: [t]\n"));
  REFUSE(AT("6:21"), "duplicate key 'task.name', in two spellings", "", WITH("exclude: [{task: t, task.name: u}]\n"));
#undef WITH
}

static void test_methods(void **state) {
  (void)state;
  study *s =
      READ(MODEL "grid: {train.epochs: [1, 2], method: [lora, red]}\nmethods:\n  lora: {method.rank: 4, train: {lr: 2, epochs: 9}}\n  head: {train.lr: 3}\n");
  assert_string_equal(join(&s->runs[0]), "model.name=m task.name=t method.rank=4 train.lr=2 train.epochs=9 train.epochs=1 method.name=lora");
  assert_string_equal(join(&s->runs[1]), "model.name=m task.name=t train.epochs=1 method.name=red");
  config *c;
  assert_int_equal(study_compose(s, &s->runs[0], NULL, &c), 0);
  assert_int_equal(c->train.epochs, 1); /* an axis wins */
  assert_int_equal(option_int(&c->method.options, "rank"), 4);
  config_destroy(c);
  study_destroy(s);
  s = READ("base: {model: m, task: t, method: red}\nmethods: {red: {ranks: 2}}\n"); /* the base names it */
  assert_int_equal(s->runs->ranks, 2);
  study_destroy(s);
  REFUSE(AT("2:11"), "there is no method 'rad'", "'red'", MODEL "methods: {rad: {train.lr: 1}}\n");
  REFUSE(AT("2:16"), "cannot choose a method or a seed", "", MODEL "methods: {red: {seed: 1}}\n");
  REFUSE(AT("2:16"), "cannot choose a method or a seed", "", MODEL "methods: {red: {method: lora}}\n");
  REFUSE(AT("2:17"), "unknown key 'train.rate'", "", MODEL "methods: {red: {train.rate: 1}}\n");
  REFUSE(AT("2:10"), "methods is a mapping", "", MODEL "methods: [red]\n");
  REFUSE(AT("2:31"), "duplicate key 'red'", "", MODEL "methods: {red: {train.lr: 1}, red: {train.lr: 1}}\n");
}

static void test_seeds(void **state) {
  (void)state;
  REFUSE(AT("2:8"), "seeds is a list", "repeats: 3", BASE "seeds: 3\n");
  REFUSE(AT("2:8"), "seeds needs at least one", "", BASE "seeds: []\n");
  REFUSE(AT("2:12"), "the seed 1 is there twice", "", BASE "seeds: [1, 1]\n");
  REFUSE(AT("2:9"), "seeds: -1 is out of range: it must be from 0 to 4294967295", "", BASE "seeds: [-1]\n");
  REFUSE(AT("2:9"), "seeds: 'a' is not a whole number", "", BASE "seeds: [a]\n");
  REFUSE(AT("2:9"), "seeds: a whole number is expected", "", BASE "seeds: [[1]]\n");
  REFUSE(AT("3:10"), "seeds and repeats exclude each other", "", BASE "seeds: [1]\nrepeats: 2\n");
  REFUSE(AT("2:10"), "repeats: 0 is out of range: it must be from 1 to 100000", "", BASE "repeats: 0\n");
  REFUSE(AT("2:10"), "must be from 1 to 100000", "", BASE "repeats: 100001\n");
  study *s = READ("base: {model: m, task: t, method: lora, seed: 9}\nrepeats: 2\n"); /* seeds win over the base */
  assert_string_equal(join(&s->runs[1]), "model.name=m task.name=t method.name=lora seed=9 seed=2");
  study_destroy(s);
}

#define TUNE "tune: {key: train.lr, values: [1e-3, 3e-3], set: {train.epochs: 1}}\n"

static void test_tune(void **state) {
  (void)state;
  study *s = READ(MODEL "grid: {method: [lora, red]}\nseeds: [3, 4]\n" TUNE, "train.batch=8");
  assert_string_equal(labels(s),
                      "method=lora train.lr=1e-3 trial; method=lora train.lr=3e-3 trial; method=red train.lr=1e-3 trial; method=red train.lr=3e-3 trial; "
                      "method=lora seed=3; method=lora seed=4; method=red seed=3; method=red seed=4");
  assert_int_equal(s->group_count, 2);
  assert_int_equal(s->groups[1].first_trial, 2);
  assert_int_equal(s->groups[1].trial_count, 2);
  const study_run *trial = &s->runs[3], *run = &s->runs[7];
  assert_int_equal(trial->role, STUDY_TRIAL);
  assert_int_equal(trial->group, 1);
  assert_string_equal(trial->tuned_key, "train.lr");
  assert_string_equal(trial->tuned_value, "3e-3");
  assert_string_equal(join(trial), "model.name=m task.name=t method.name=red seed=1 output.test=false train.epochs=1 train.lr=3e-3 train.batch=8");
  assert_string_equal(trial->origins[6] + strlen(root), "/s/study.yaml:4:38");
  assert_string_equal(trial->origins[7], "command line");
  assert_int_equal(run->role, STUDY_RUN);
  assert_int_equal(run->group, 1);
  assert_string_equal(run->tuned_key, "train.lr");
  assert_string_equal(run->tuned_value, "");
  assert_string_equal(join(run), "model.name=m task.name=t method.name=red seed=4 train.batch=8");
  config *c;
  assert_int_equal(study_compose(s, trial, NULL, &c), 0);
  assert_int_equal(c->output.test, 0);
  assert_int_equal(c->train.epochs, 1);
  assert_int_equal(c->seed, 1);
  assert_true(c->train.lr == 3e-3);
  config_destroy(c);
  assert_int_equal(study_compose(s, run, "0.5", &c), 0);
  assert_true(c->train.lr == 0.5);
  assert_int_equal(c->output.test, 1);
  assert_int_equal(c->train.epochs, 2);
  config_destroy(c);
  assert_int_equal(study_compose(s, run, NULL, &c), 0);
  assert_true(c->train.lr == 1); /* of the base configuration */
  config_destroy(c);
  assert_int_equal(study_compose(s, run, "much", &c), ERROR_USAGE);
  assert_string_equal(error_last()->text, "tuned on validation: train.lr: 'much' is not a number");
  study_destroy(s);

  /* Keys and values by method, and by task and method; the most exact one counts. */
  LABELS(
      "task=t method=lora train.lr=1 trial; task=t method=red train.lr=2 trial; task=t method=head train.lr_head=3 trial; "
      "task=u method=lora train.lr=4 trial; task=u method=red train.lr=6 trial; task=u method=head train.lr_head=3 trial; "
      "task=t method=lora; task=t method=red; task=t method=head; task=u method=lora; task=u method=red; task=u method=head",
      MODEL
      "grid: {task: [t, u], method: [lora, red, head]}\ntune:\n  key: {default: train.lr, head: train.lr_head}\n"
      "  values: {default: [1], red: [2], head: [3], u/lora: [4], u/default: [5], u/red: [6]}\n");
  s = READ(BASE "tune: {key: method.rank, values: [2, 4], seed: 7}\n");
  assert_string_equal(join(s->runs), "model.name=m task.name=t method.name=lora seed=7 output.test=false method.rank=2");
  study_destroy(s);
  /* An element that brings epochs of its own is tried as short as the others. */
  s = READ(BASE "grid: {task: [{task: t, train.epochs: 5}, u]}\n" TUNE);
  assert_int_equal(study_compose(s, s->runs, NULL, &c), 0);
  assert_int_equal(c->train.epochs, 1);
  config_destroy(c);
  study_destroy(s);
}

static void test_refused_tune(void **state) {
  (void)state;
#define BUDGET MODEL "grid: {method: [lora, red]}\ntune:\n  key: train.lr\n"
  REFUSE(AT("5:28"), "'red' has 2 values to try, 'lora' has 1", "as many trials", BUDGET "  values: {lora: [1], red: [1, 2]}\n");
  REFUSE(AT("4:3"), "tune.values says nothing of the method 'red' on the task 't'", "'default'", BUDGET "  values: {lora: [1]}\n");
  REFUSE(AT("5:12"), "there is no method 'lorra'", "'lora'", BUDGET "  values: {lorra: [1]}\n");
  REFUSE(AT("5:26"), "no run has the task 'x'", "misspelt", BUDGET "  values: {default: [1], x/lora: [2]}\n");
  REFUSE(AT("5:23"), "duplicate key 'lora'", "", BUDGET "  values: {lora: [1], lora: [2]}\n");
  REFUSE(AT("5:11"), "the values to try are a list", "", BUDGET "  values: 1e-3\n");
  REFUSE(AT("5:11"), "there is no value to try", "", BUDGET "  values: []\n");
  REFUSE(AT("5:12"), "a value to try is a single one", "", BUDGET "  values: [[1]]\n");
  REFUSE(AT("5:15"), "'1.0' is tried twice", "", BUDGET "  values: [1, 1.0]\n");
  REFUSE(AT("5:15"), "train.lr: 'x' is not a number", "", BUDGET "  values: [1, x]\n");
#undef BUDGET
  REFUSE(AT("2:7"), "tune lacks 'values'", "", BASE "tune: {key: train.lr}\n");
  REFUSE(AT("2:7"), "tune lacks 'key'", "", BASE "tune: {values: [1]}\n");
  REFUSE(AT("2:8"), "unknown key 'keys' of tune", "'key'", BASE "tune: {keys: train.lr}\n");
  REFUSE(AT("2:7"), "tune is a mapping", "", BASE "tune: train.lr\n");
  REFUSE(AT("2:13"), "unknown key 'train.rl'", "'train.lr'", BASE "tune: {key: train.rl, values: [1]}\n");
  REFUSE(AT("2:13"), "'seed' cannot be tuned", "", BASE "tune: {key: seed, values: [1]}\n");
  REFUSE(AT("2:13"), "'task' cannot be tuned", "", BASE "tune: {key: task, values: [t]}\n");
  REFUSE(AT("2:13"), "'output.theta' cannot be tuned", "", BASE "tune: {key: output.theta, values: [true]}\n");
  REFUSE(AT("2:7"), "tune.key says nothing of the method 'lora'", "", BASE "tune: {key: {head: train.lr}, values: [1]}\n");
  REFUSE(AT("2:14"), "there is no method 'haed'", "'head'", BASE "tune: {key: {haed: train.lr}, values: [1]}\n");
  REFUSE(AT("2:49"), "seed: 'x' is not a whole number", "", BASE "tune: {key: train.lr, values: [1, 2, 3], seed:  x}\n");
  REFUSE(AT("2:41"), "trials cannot have a method, ranks or seed", "'seed:'", BASE "tune: {key: train.lr, values: [1], set: {seed: 2}}\n");
  REFUSE(AT("2:41"), "trials never read the test split", "", BASE "tune: {key: train.lr, values: [1], set: {output.test: true}}\n");
  REFUSE(AT("3:7"), "'train.lr' is tuned, and an axis", "", BASE "grid: {train.lr: [1, 2]}\n" TUNE);
  REFUSE(AT("2:8"), "'train.epochs' is an axis, and set by tune.set", "", BASE "grid: {train.epochs: [1, 2]}\n" TUNE);
  REFUSE(AT("2:15"), "'seed' is set by an axis of a study with seeds or tuning", "", BASE "grid: {seed: [1, 2]}\n" TUNE);
  REFUSE("command line: ", "'train.lr' is tuned by the study", "", BASE TUNE, "train.lr=1");
  REFUSE("command line: ", "output.test=true: trials never read the test split", "", BASE TUNE, "output.test=true");
}

static void test_stages(void **state) {
  (void)state;
  study *s = READ(MODEL "ranks: 2\ngrid: {method: [lora, red]}\nmethods: {lora: {train.lr: 1}}\nseeds: [1, 2]\n" TUNE
                        "stages:\n"
                        "  - name: one\n"
                        "  - name: two\n    base: {train.batch: 8}\n    ranks: 4\n    grid: {task: [t, u], method: [lora]}\n    seeds: [5]\n"
                        "    methods: {lora: {train.warmup: 0.5}}\n    tune: {key: train.decay, values: [0]}\n");
  assert_int_equal(s->stage_count, 2);
  assert_string_equal(s->stages[1], "two");
  assert_string_equal(labels(s),
                      "method=lora train.lr=1e-3 trial; method=lora train.lr=3e-3 trial; method=red train.lr=1e-3 trial; method=red train.lr=3e-3 trial; "
                      "method=lora seed=1; method=lora seed=2; method=red seed=1; method=red seed=2; "
                      "task=t train.decay=0 trial; task=u train.decay=0 trial; task=t; task=u");
  assert_string_equal(s->runs[7].stage, "one");
  assert_string_equal(s->runs[8].stage, "two");
  assert_int_equal(s->runs[7].ranks, 2);
  assert_int_equal(s->runs[8].ranks, 4);
  assert_int_equal(s->runs[8].group, 2);
  assert_int_equal(s->groups[2].first_trial, 8);
  assert_string_equal(join(&s->runs[11]), "model.name=m task.name=t train.batch=8 train.lr=1 train.warmup=0.5 task.name=u method.name=lora seed=5");
  study_destroy(s);
  LABELS("a; task=t; task=u", BASE "stages: [{name: a}, {name: b, grid: {task: [t, u]}}]\n");
  /* An exclude of all stages needs to match in one of them. */
  LABELS("task=u; task=t; task=u", BASE "grid: {task: [t, u]}\nexclude: [{task: t, ranks: 1}]\nstages:\n  - {name: a, zip: {ranks: [1]}}\n  - {name: b}\n");
  REFUSE(AT("4:5"), "a stage lacks its name", "", BASE "stages:\n  - name: a\n  - base: {}\n");
  REFUSE(AT("4:11"), "there is another stage 'a'", "", BASE "stages:\n  - name: a\n  - name: a\n");
  REFUSE(AT("3:11"), "'a b' is no name of a stage", "letters", BASE "stages:\n  - name: a b\n");
  REFUSE(AT("3:15"), "unknown key 'title' of a stage", "", BASE "stages:\n  - {name: a, title: b}\n");
  REFUSE(AT("3:15"), "unknown key 'grids' of a stage", "'grid'", BASE "stages:\n  - {name: a, grids: {}}\n");
  REFUSE(AT("2:9"), "stages is a list", "", BASE "stages: a\n");
  REFUSE(AT("2:9"), "stages has no element", "", BASE "stages: []\n");
  REFUSE(AT("2:10"), "a stage is a mapping", "", BASE "stages: [a]\n");
}

static void test_words(void **state) {
  (void)state;
  static const char text[] = MODEL "ranks: 2\ngrid: {task: [t, u], method: [lora, red, head]}\nseeds: [1, 2]\n";
  LABELS("task=u method=red seed=2", text, "task=u", "method=red", "seed=2");
  LABELS("task=t method=lora seed=1; task=t method=head seed=1", text, "method=lora,head", "task.name=t", "seed=1");
  study *s = READ(text, "method=lora", "task=t", "seed=1", "train.lr=5", "ranks=7", "method.rank=3");
  assert_string_equal(join(s->runs), "model.name=m task.name=t task.name=t method.name=lora seed=1 train.lr=5 method.rank=3");
  assert_string_equal(s->runs->origins[6], "command line");
  assert_int_equal(s->runs->ranks, 7);
  study_destroy(s);
  LABELS("ranks=4", BASE "grid: {ranks: [2, 4]}\n", "ranks=4"); /* an axis: chosen, not set */
  LABELS("x=b", BASE "grid: {x: [{label: a, train.lr: 1}, {label: b, train.lr: 2}]}\n", "x=b");
  LABELS("x=b", BASE "grid: {x: [{label: a, train.lr: 1}, {label: b, train.lr: 2}]}\n", "train.lr=2");
  LABELS("method.modules=q,v", BASE "grid: {method.modules: [[q, v], all]}\n", "method.modules=q,v");
  static const char stages[] =
      BASE "seeds: [1, 2]\nstages:\n  - {name: a, grid: {task: [t, u]}}\n  - {name: b, ranks: 3}\n  - {name: c, zip: {ranks: [3, 4]}}\n";
  LABELS("seed=1; seed=2", stages, "stage=b");
  LABELS("task=t seed=1; task=t seed=2; seed=1; seed=2", stages, "stage=a,b", "task=t"); /* what a base says counts, too */
  LABELS("seed=2; ranks=3 seed=2", stages, "ranks=3", "seed=2");
  LABELS("method=lora train.lr=1e-3 trial; method=lora train.lr=3e-3 trial; method=lora seed=2", /* trials have a seed of their own */
         MODEL "grid: {method: [lora, red]}\nseeds: [1, 2]\n" TUNE, "method=lora", "seed=2");
  REFUSE("command line: ", "no run with task=x", "there is: t, u", text, "task=x");
  REFUSE("command line: ", "no run with method=rde", "did you mean 'red'?", text, "method=lora,rde");
  REFUSE("command line: ", "no run with ranks=5", "there is: 2, 3, 4", BASE "stages: [{name: a, ranks: 2}, {name: b, zip: {ranks: [3, 4]}}]\n", "ranks=2,5");
  REFUSE("command line: ", "no run with method=lorra", "did you mean 'lora'?", text, "method=lorra");
  REFUSE("command line: ", "no run with stage=b task=u", "not together", stages, "stage=b", "task=u");
  REFUSE("command line: ", "no run with seed=3", "there is: 1, 2", text, "task=t", "seed=3");
  REFUSE("command line: ", "'taks', which is neither a setting nor an axis", "'task'", text, "taks=t");
  REFUSE("command line: ", "train.lr=x: 'x' is not a number", "", text, "train.lr=x");
  REFUSE("command line: ", "'train.lr' is not of the form key=value", "", text, "train.lr");
  REFUSE("command line: ", "ranks=0: 0 is out of range: it must be from 1", "", text, "ranks=0");
  REFUSE("command line: ", "the study has no stages, so 'stage' says nothing", "", text, "stage=a");
  REFUSE("command line: ", "no run with stage=x", "there is: a, b, c", stages, "stage=x");
  REFUSE("command line: ", "output.name=x: a study's run files are named by what they are", "", text, "output.name=x");
  REFUSE("command line: ", "unknown key 'method.rank'", "", text, "method.rank=3"); /* red has none */
}

static void test_refused_shapes(void **state) {
  (void)state;
  REFUSE("s/study.yaml: ", "the file is empty", "experiments/README.md", "# nothing\n");
  REFUSE(AT("1:1"), "a study is a mapping", "", "[a]\n");
  REFUSE(AT("1:5"), "not valid YAML", "", "a: b: c\n");
  REFUSE(AT("3:1"), "one YAML document only", "", "title: a\n---\ntitle: b\n");
  REFUSE(AT("2:1"), "unknown key 'girds' of a study", "'grid'", BASE "girds: {}\n");
  REFUSE(AT("2:1"), "unknown key 'zzzzz' of a study", "title, question", BASE "zzzzz: {}\n");
  REFUSE(AT("1:1"), "'model' is no key of a study", "below 'base:'", "model: m\ntrain: {lr: 1}\n");
  REFUSE(AT("2:1"), "duplicate key 'base'", "", BASE "base: {}\n");
  REFUSE(AT("1:8"), "title: a text is expected", "", "title: [a]\n");
  REFUSE(AT("1:7"), "title: there is no value", "", "title:\n");
  REFUSE(AT("1:9"), "action: there is no 'trian'", "'train'", "action: trian\n");
  REFUSE(AT("1:9"), "action: there is no 'fly'", "train, count", "action: fly\n");
  REFUSE(AT("2:8"), "ranks: 0 is out of range: it must be from 1 to 65536", "", BASE "ranks: 0\n");
  REFUSE(AT("2:8"), "ranks: '2x' is not a whole number", "", BASE "ranks: 2x\n");
  REFUSE(AT("2:8"), "ranks: a whole number is expected", "", BASE "ranks: [2]\n");
  REFUSE(AT("1:7"), "this must be a mapping", "", "base: [a]\n");
  REFUSE(AT("1:7"), "the number of ranks is no setting", "'ranks: 2'", "base: {ranks: 2}\n");
  REFUSE(AT("1:8"), "unknown section 'modle'", "'model'", "base: {modle: {name: m}}\n");
  REFUSE(AT("1:16"), "unknown key 'train.lrr'", "'train.lr'", "base: {train: {lrr: 1}}\n");
  REFUSE(AT("1:8"), "unknown key 'learning_rate'", "'train.lr'", "base: {learning_rate: 1}\n");
  REFUSE(AT("1:18"), "train.lr: 'x' is not a number", "", "base: {train.lr: x}\n");
  REFUSE(AT("1:18"), "train.lr: a single value is expected, not a list", "'grid:'", "base: {train.lr: [1, 2]}\n");
  REFUSE(AT("1:15"), "this is a section of keys", "", "base: {train: 3}\n");
  REFUSE(AT("1:29"), "duplicate key 'train.lr'", "", "base: {train.lr: 1, train: {lr: 2}}\n");
  REFUSE(AT("1:20"), "output.dir: a study's run files", "leave it out", "base: {output.dir: x}\n");
  REFUSE(AT("2:10"), "columns is a list", "", BASE "columns: test\n");
  REFUSE(AT("2:11"), "there is no column 'tset'", "'test'", BASE "columns: [tset]\n");
  REFUSE(AT("2:11"), "there is no column 'q'", "ranks, test, sd", BASE "columns: [q]\n");
  REFUSE(AT("2:17"), "the column 'test' is there twice", "", BASE "columns: [test, test]\n");
  REFUSE(AT("2:7"), "data is a mapping", "", BASE "data: [t.h5]\n");
  REFUSE(AT("2:14"), "t.h5: a text is expected", "", BASE "data: {t.h5: [a]}\n");
  REFUSE(AT("2:17"), "duplicate key 't.h5'", "", BASE "data: {t.h5: a, t.h5: b}\n");
}

static void test_composing(void **state) {
  (void)state;
  REFUSE(AT("1:24"), "task.name: there is no task 'x'", "", "base: {model: m, task: x, method: lora}\n");
  REFUSE(AT("2:18"), "task.name: there is no task 'tt'", "'t'", BASE "grid: {task: [t, tt, u]}\n");
  REFUSE(AT("2:45"), "unknown key 'method.rnak'", "'method.rank'", MODEL "grid: {method: [{method: lora, method.rnak: 3}]}\n");
  REFUSE(AT("3:42"), "unknown key 'method.rank'", "method 'red' has no keys",
         MODEL "grid: {method: [lora, red]}\nstages: [{name: a, base: {method: {rank: 1}}}]\n");
  REFUSE(AT("2:25"), "method.rank: 5000 is out of range: it must be from 1 to 4096", "", BASE "grid: {method.rank: [8, 5000]}\n");
  REFUSE("s/study.yaml: ", "the run 'task=t' has no method", "'grid:'", "base: {model: m}\ngrid: {task: [t]}\n");
  REFUSE("s/study.yaml: ", "the run 's' has no task", "", "base: {model: m, method: lora}\n");

  /* Origins and messages name the study's lines; files are read once per study. */
  study *s = READ(BASE "grid: {train.clip: [2]}\n", "train.decay=3");
  config *c;
  assert_int_equal(study_compose(s, s->runs, NULL, &c), 0);
  char *text = NULL;
  size_t bytes;
  FILE *file = open_memstream(&text, &bytes);
  assert_int_equal(config_print(c, file, 0), 0);
  fclose(file);
  char expected[256];
  snprintf(expected, sizeof expected, "%s/s/study.yaml:2:21\n", root);
  char *line = strstr(text, "\ntrain.clip ");
  assert_non_null(line);
  assert_non_null(strstr(line, expected));
  assert_non_null(strstr(text, "/task/t.yaml:1"));
  free(text);
  assert_string_equal(c->task.data, "t.h5");
  config_destroy(c);
  put("task/t.yaml", "task: {data: changed.h5}\n");
  assert_int_equal(study_compose(s, s->runs, NULL, &c), 0);
  assert_string_equal(c->task.data, "t.h5");
  study_destroy(s);
  assert_string_equal(c->task.data, "t.h5"); /* outlives the study */
  config_destroy(c);
  put("task/t.yaml", "task: {data: t.h5}\n");
}

static void test_count(void **state) {
  (void)state;
  study *s = READ("action: count\ngrid: {model: [gpt-9, m], method: [{method: lora, method.rank: 3}, red]}\n");
  assert_int_equal(s->action, STUDY_COUNT);
  assert_int_equal(s->run_count, 4);
  config *c;
  assert_int_equal(study_compose(s, s->runs, NULL, &c), 0); /* a model without a file: it is not looked for */
  assert_string_equal(c->model.name, "gpt-9");
  assert_int_equal(option_int(&c->method.options, "rank"), 3);
  config_destroy(c);
  study_destroy(s);
  REFUSE(AT("1:1"), "has no use for seeds", "", "action: count\nbase: {model: m, method: lora}\nseeds: [1]\n");
  REFUSE(AT("1:1"), "has no use for a tuning", "", "action: count\nbase: {model: m, method: lora}\n" TUNE);
  REFUSE(AT("1:1"), "has no use for ranks", "", "action: count\nbase: {model: m, method: lora}\nranks: 2\n");
  REFUSE("s/study.yaml: ", "has no model", "", "action: count\nbase: {method: lora}\n");
}

/* A list of `count` numbers from 1: "1, 2, 3". */
static void append_numbers(char *text, int count) {
  char *end = text + strlen(text);
  for (int i = 1; i <= count; i++) end += sprintf(end, "%s%d", i > 1 ? ", " : "", i);
}

static void test_limits(void **state) {
  (void)state;
  char *text = malloc(1 << 20);
  assert_non_null(text);
  strcpy(text, BASE "grid: {train.batch: [");
  append_numbers(text, 1000);
  strcat(text, "]}\n");
  double began = clock_process_cpu_s();
  study *s = READ(text);
  assert_int_equal(s->run_count, 1000);
  for (int i = 0; i < s->run_count; i++) {
    config *c;
    assert_int_equal(study_compose(s, &s->runs[i], NULL, &c), 0);
    assert_int_equal(c->train.batch, i + 1);
    config_destroy(c);
  }
  double spent = clock_process_cpu_s() - began;
  if (spent > 1) fail_msg("1,000 runs take %.2f s of processor time to read and compose", spent); /* some 0.05 s without sanitisers */
  assert_string_equal(s->runs[999].label, "train.batch=1000");
  study_destroy(s);
  text[strlen(text) - 3] = 0;
  strcat(text, ", 1001]}\n");
  REFUSE(AT("2:21"), "train.batch: more than 1000 elements", "", text);

  strcpy(text, BASE "repeats: 100\ngrid: {train.batch: [");
  append_numbers(text, 1000);
  strcat(text, "]}\n");
  s = READ(text);
  assert_int_equal(s->run_count, STUDY_RUN_COUNT);
  assert_string_equal(s->runs[99999].label, "train.batch=1000 seed=100");
  study_destroy(s);
  text[strlen(BASE "repeats: 10")] = '1'; /* 101 */
  REFUSE("s/study.yaml: ", "more than 100000 runs", "split it", text);

  strcpy(text, BASE "grid: {train.epochs: [");
  append_numbers(text, 500);
  strcat(text, "], train.batch: [");
  append_numbers(text, 500);
  strcat(text, "]}\n");
  REFUSE(AT("1:1"), "more than 100000 combinations", "", text);

  strcpy(text, BASE "seeds: [");
  append_numbers(text, 1001);
  strcat(text, "]\n");
  REFUSE(AT("2:8"), "seeds: more than 1000 elements", "repeats: 5000", text);

  strcpy(text, BASE "grid:\n");
  for (int i = 0; i < 65; i++) sprintf(text + strlen(text), "  x%d: [{train.lr: 1}]\n", i);
  REFUSE(AT("67:3"), "more than 64 axes", "", text);
  strcpy(text, BASE "stages:\n");
  for (int i = 0; i < 65; i++) sprintf(text + strlen(text), "  - name: x%d\n", i);
  REFUSE(AT("3:3"), "more than 64 stages", "", text);
  strcpy(text, "base:\n");
  for (int i = 0; i < 257; i++) sprintf(text + strlen(text), "  method.x%d: 1\n", i);
  REFUSE(AT("2:3"), "more than 256 settings", "", text);
  /* References that would unfold to a million settings. */
  strcpy(text, "base: &b\n");
  for (int i = 0; i < 250; i++) sprintf(text + strlen(text), "  method.x%d: 1\n", i);
  strcat(text, "grid:\n  x:\n");
  for (int i = 0; i < 999; i++) strcat(text, "    - *b\n");
  REFUSE(AT("1:7"), "the axis 'x' has 'method.x0=1 ", "", text);
  memset(text, '#', 1 << 20);
  text[(1 << 20) - 1] = 0;
  memcpy(text, BASE, strlen(BASE));
  s = READ(text); /* just below a megabyte */
  study_destroy(s);
  free(text);
}

static const char fuzz_text[] =
    "title: a\nquestion: >-\n  b\n  c\nranks: 2\nbase: {model: m, task: t, train: {lr: 1, batch: 8}}\ngrid:\n  task: [t, u]\n  method: [red, {method: lora, "
    "method.rank: 4}]\n"
    "zip: [{shards: [2, 4], threads: [1, 2]}]\nexclude:\n  - {task: u, shards: 4}\nmethods: {red: {train.warmup: 0.5}}\nseeds: [1, 2]\n"
    "tune: {key: {default: train.lr}, values: {red: &r [1, 2], lora: *r}, set: {train.epochs: 1}, seed: 3}\ncolumns: [test]\ndata: {t.h5: 'make t'}\n"
    "stages:\n  - name: a\n  - {name: b, grid: {method: [red]}}\n";

static void try_fuzzed(const char *text) {
  study_request request = {.path = put("s/study.yaml", text), .root = root, .method_options = options};
  study *s = NULL;
  FAIL(ERROR_NONE, NULL, "%s", ""); /* forgets the last error */
  int code = study_read(&request, &s);
  if (!code) {
    assert_true(s->run_count > 0);
    study_destroy(s);
    return;
  }
  assert_null(s);
  if (code == ERROR_INTERNAL || strncmp(error_last()->text, root, strlen(root))) fail_msg("code %d '%s' for:\n%s", code, error_last()->text, text);
}

static void test_fuzz(void **state) {
  (void)state;
  study *s = READ(fuzz_text);
  assert_int_equal(s->run_count, 6 * (2 + 2) + 2 * (2 + 2)); /* combinations of a and of b, each with two trials and two seeds */
  study_destroy(s);
  char text[sizeof fuzz_text];
  size_t count = sizeof fuzz_text - 1;
  for (size_t end = 0; end < count; end++) {
    memcpy(text, fuzz_text, end);
    text[end] = 0;
    try_fuzzed(text);
  }
  random_key key = random_key_make(11, RANDOM_TEST, 0);
  for (uint64_t round = 0; round < 4000; round++) {
    memcpy(text, fuzz_text, sizeof text);
    int flips = 1 + (int)(random_bits(key, round, 0) % 4);
    for (int k = 0; k < flips; k++) {
      uint32_t place = random_bits(key, round, 1 + 2 * (uint64_t)k) % (uint32_t)count, bit = random_bits(key, round, 2 + 2 * (uint64_t)k) % 8;
      text[place] ^= (char)(1u << bit);
    }
    try_fuzzed(text);
  }
}

static int make_root(void **state) {
  (void)state;
  strcpy(root, "/tmp/test_study.XXXXXX");
  if (!mkdtemp(root)) return -1;
  static const char *const folders[] = {"model", "task", "method", "s"};
  for (int i = 0; i < 4; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, folders[i]);
    if (mkdir(path, 0700)) return -1;
  }
  put("base.yaml", "train: {lr: 1, epochs: 2}\n");
  put("model/m.yaml", "model: {path: weights}\n");
  put("task/t.yaml", "task: {data: t.h5}\n");
  put("task/u.yaml", "task: {data: u.h5}\n");
  put("method/lora.yaml", "method: {rank: 8}\n");
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
      cmocka_unit_test(test_single),         cmocka_unit_test(test_paths),     cmocka_unit_test(test_grid),
      cmocka_unit_test(test_refused_grid),   cmocka_unit_test(test_zip),       cmocka_unit_test(test_exclude),
      cmocka_unit_test(test_methods),        cmocka_unit_test(test_seeds),     cmocka_unit_test(test_tune),
      cmocka_unit_test(test_refused_tune),   cmocka_unit_test(test_stages),    cmocka_unit_test(test_words),
      cmocka_unit_test(test_refused_shapes), cmocka_unit_test(test_composing), cmocka_unit_test(test_count),
      cmocka_unit_test(test_limits),         cmocka_unit_test(test_fuzz),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
