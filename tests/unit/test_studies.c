/* The studies that are shipped: each is read, its runs compose, and it holds what its README promises. */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "config/study.h"
#include "method/method.h"

static const char *configs(void) {
  const char *root = getenv("PEFTSCALE_CONFIGS");
  return root ? root : "configs";
}

/* name: of a folder below experiments/, or "FOLDER/FILE.yaml". */
static study *read_shipped(const char *name) {
  char path[256];
  const char *slash = strchr(name, '/'), *own = slash ? slash + 1 : name;
  snprintf(path, sizeof path, "experiments/%s", name);
  study_request request = {.path = path, .root = configs(), .method_options = method_options};
  study *s;
  if (study_read(&request, &s)) fail_msg("%s (%s)", error_last()->text, error_last()->hint);
  assert_int_equal(strncmp(s->name, own, strlen(s->name)), 0);
  assert_string_equal(own + strlen(s->name), slash ? ".yaml" : "");
  assert_true(*s->question);
  assert_true(s->column_count > 0);
  return s;
}

static int has_method(const study *s, const char *stage, const char *name) {
  char word[64];
  snprintf(word, sizeof word, "method.name=%s", name);
  for (int i = 0; i < s->run_count; i++)
    for (int k = 0; k < s->runs[i].assignment_count && !strcmp(s->runs[i].stage, stage); k++)
      if (!strcmp(s->runs[i].assignments[k], word)) return 1;
  return 0;
}

/* Every run composes, and the study tells how its data are prepared. */
static void check_runs(const study *s) {
  for (int i = 0; i < s->run_count; i++) {
    config *c;
    const study_run *run = &s->runs[i];
    if (study_compose(s, run, run->role == STUDY_RUN && run->group >= 0 ? s->runs[s->groups[run->group].first_trial].tuned_value : NULL, &c))
      fail_msg("%s: %s", run->label, error_last()->text);
    if (s->action == STUDY_TRAIN) {
      if (study_find_data(s, c->task.data) < 0) fail_msg("%s does not tell how to prepare %s", s->path, c->task.data);
      if (c->model.init == INIT_PRETRAINED && study_find_data(s, c->model.path) < 0) fail_msg("%s does not tell where %s comes from", s->path, c->model.path);
      if (c->shards >= 0) assert_true(c->shards >= run->ranks * c->threads);
      assert_int_equal(c->output.test, run->role == STUDY_RUN && strcmp(s->name, "comm-scaling"));
    }
    config_destroy(c);
  }
}

static void test_shipped(void **state) {
  (void)state;
  int found = 0;
  DIR *folder = opendir("experiments");
  assert_non_null(folder);
  for (struct dirent *entry; (entry = readdir(folder));) {
    char path[512];
    snprintf(path, sizeof path, "experiments/%s/study.yaml", entry->d_name);
    if (access(path, R_OK)) continue;
    study *s = read_shipped(entry->d_name);
    check_runs(s);
    study_destroy(s);
    found++;
  }
  closedir(folder);
  assert_true(found >= 4);
  int count = 0;
  study *quick = read_shipped("quickstart"), *demo = read_shipped("quickstart/minilm.yaml"), *glue = read_shipped("minilm-glue"),
        *scaling = read_shipped("comm-scaling"), *counts = read_shipped("paper-counts");
  for (; method_list[count]; count++) {
    const char *name = method_list[count]->name;
    assert_true(has_method(quick, "", name) && has_method(demo, "", name));
    assert_true(has_method(glue, "short", name) && has_method(glue, "long", name));
    assert_true(has_method(scaling, "strong", name) && has_method(scaling, "weak", name));
  }
  check_runs(demo);
  assert_int_equal(quick->run_count, 3 * count + 3 * count); /* three trials, three seeds */
  assert_int_equal(demo->run_count, 3 * count);
  assert_int_equal(glue->run_count, 5 * count * (3 + 5)); /* three trials and five seeds of five tasks */
  assert_int_equal(glue->group_count, 5 * count);
  assert_int_equal(scaling->run_count, 2 * 4 * 3 * count);
  assert_int_equal(counts->action, STUDY_COUNT);
  study_destroy(quick);
  study_destroy(demo);
  study_destroy(glue);
  study_destroy(scaling);
  study_destroy(counts);
}

/* Is the run this model, this method and these options ("rank=8 modules=q,v")? */
static int is_printed(const study *s, const study_run *run, const char *model, const char *name, const char *words) {
  config *c;
  char word[64];
  int same = 1;
  if (study_compose(s, run, NULL, &c)) fail_msg("%s", error_last()->text);
  same = !strcmp(c->model.name, model) && !strcmp(c->method.name, name);
  for (const char *place = words; same && *place && strcmp(words, "-"); place += strspn(place, " ")) {
    size_t length = strcspn(place, " ");
    snprintf(word, sizeof word, "%.*s", (int)length, place);
    place += length;
    char *sign = strchr(word, '=');
    assert_non_null(sign);
    *sign = 0;
    char buffer[32], wanted[64];
    const option_value *v = option_find(&c->method.options, word);
    option_value other;
    if (!v) fail_msg("%s has no option %s", name, word);
    assert_int_equal(option_parse(v->declared, sign + 1, &other), 0);
    snprintf(wanted, sizeof wanted, "%s", option_spell(&other, buffer));
    same = !strcmp(option_spell(v, buffer), wanted);
  }
  config_destroy(c);
  return same;
}

/* What papers print of models and methods that we have is among the counts. */
static void test_printed(void **state) {
  (void)state;
  study *s = read_shipped("paper-counts");
  FILE *file = fopen("tests/counts/printed.tsv", "r");
  char line[1024];
  int rows = 0;
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    char *field[8], *rest = line;
    int fields = 0, found = 0;
    const method *known;
    while (fields < 8 && (field[fields] = strsep(&rest, "\t"))) fields++;
    if (*line == '#' || fields < 8 || *field[4] == '-' || *field[4] == '=' || method_find(field[2], &known)) continue;
    for (int i = 0; i < s->run_count && !found; i++) found = is_printed(s, &s->runs[i], field[1], field[2], field[3]);
    if (!found) fail_msg("paper-counts has no run for %s %s %s", field[1], field[2], field[3]);
    rows++;
  }
  fclose(file);
  assert_true(rows >= 70);
  study_destroy(s);
}

/* The example of experiments/README.md is a study of as many runs as it says, and a run is what it says. */
static void test_example(void **state) {
  (void)state;
  static const char begin[] = "```yaml\n", end[] = "```";
  char path[] = "/tmp/test_studies.XXXXXX", text[1 << 15], words[2048] = "";
  FILE *readme = fopen("experiments/README.md", "r");
  assert_non_null(readme);
  text[fread(text, 1, sizeof text - 1, readme)] = 0;
  fclose(readme);
  char *first = strstr(text, begin);
  assert_non_null(first);
  first += strlen(begin);
  char *last = strstr(first, end);
  assert_non_null(last);
  int file = mkstemp(path);
  assert_true(file >= 0);
  assert_int_equal(write(file, first, (size_t)(last - first)), last - first);
  close(file);
  study *s;
  study_request request = {.path = path, .root = configs(), .method_options = method_options};
  int code = study_read(&request, &s);
  unlink(path);
  if (code) fail_msg("%s (%s)", error_last()->text, error_last()->hint);
  assert_int_equal(s->group_count, 5);
  assert_int_equal(s->groups[4].first_trial + s->groups[4].trial_count, 15);
  assert_int_equal(s->run_count, 30);
  assert_non_null(strstr(last, "15 trials and 15 runs"));
  assert_string_equal(s->runs[3].label, "method=low train.batch=16 train.lr=1e-3 trial");
  for (int i = 0; i < s->runs[3].assignment_count; i++) {
    if (!strcmp(s->runs[3].assignments[i], "seed=1")) strcat(words, " \\\n   "); /* where the line is broken */
    strcat(strcat(words, " "), s->runs[3].assignments[i]);
  }
  if (!strstr(last, words)) fail_msg("the example's trial is%s", words);
  study_destroy(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shipped), cmocka_unit_test(test_printed), cmocka_unit_test(test_example)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
