#include <cjson/cJSON.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "method/method.h"
#include "model/census.h"

typedef struct listing {
  cJSON *rows; /* NULL: text */
} listing;

static void add_row(listing *l, const char *name, const char *words) {
  if (!l->rows) {
    printf("  %-24s %s\n", name, words);
    return;
  }
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "name", name);
  cJSON_AddStringToObject(o, "about", words);
  cJSON_AddItemToArray(l->rows, o);
}

static int list_methods(listing *l) {
  char words[256];
  for (int i = 0; method_list[i]; i++) {
    snprintf(words, sizeof words, "%s: %s", method_list[i]->title, method_list[i]->paper);
    add_row(l, method_list[i]->name, words);
  }
  return ERROR_NONE;
}

static int list_families(listing *l) {
  for (int i = 0; family_list[i]; i++) add_row(l, family_list[i]->name, "encoder; linear maps q, k, v (or fused: qkv), o, up, down");
  return ERROR_NONE;
}

static int list_models(listing *l) {
  char words[128];
  for (const known_shape *k = known_shapes; k->name; k++) {
    snprintf(words, sizeof words, "%s, %d layers, width %d, %d heads, ffn %d", k->family, k->layers, k->width, k->heads, k->ffn);
    add_row(l, k->name, words);
  }
  for (const census_shape *s = counted_shapes; s->name; s++) {
    char layers[32];
    snprintf(layers, sizeof layers, s->decoders ? "%d + %d" : "%d", s->layers, s->decoders);
    snprintf(words, sizeof words, "%s, %s layers, width %d, ffn %d; counted only", s->family, layers, s->width, s->ffn);
    add_row(l, s->name, words);
  }
  return ERROR_NONE;
}

static int is_yaml(const struct dirent *e) {
  size_t length = strlen(e->d_name);
  return length > 5 && !strcmp(e->d_name + length - 5, ".yaml");
}

/* Configurations of one folder below configs; the first comment line of each says what it is. `before` is put before the names. */
static int list_folder(listing *l, const char *root, const char *folder, const char *before) {
  char path[PATH_MAX + 600], name[600], line[256];
  struct dirent **entries;
  TRY(text_format(path, sizeof path, "%s/%s", root, folder));
  int count = scandir(path, &entries, is_yaml, alphasort);
  if (count < 0) return FAIL(ERROR_INPUT, NULL, "%s: cannot list it", path);
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, entries[i]->d_name);
    FILE *file = fopen(path, "r");
    line[0] = 0;
    if (file) {
      if (!fgets(line, sizeof line, file)) line[0] = 0;
      fclose(file);
    }
    line[strcspn(line, "\n")] = 0;
    entries[i]->d_name[strlen(entries[i]->d_name) - 5] = 0;
    snprintf(name, sizeof name, "%s%s", before, entries[i]->d_name);
    add_row(l, name, line[0] == '#' ? line + 1 + strspn(line + 1, " ") : "");
    free(entries[i]);
  }
  free(entries);
  return ERROR_NONE;
}

static int list_tasks(listing *l) {
  char root[PATH_MAX];
  TRY(configs_root(root, sizeof root));
  return list_folder(l, root, "task", "");
}

static int is_name(const struct dirent *e) { return e->d_name[0] != '.'; }

/* configs/preset/PAPER/MODEL-TASK-METHOD.yaml */
static int list_presets(listing *l) {
  char root[PATH_MAX], path[PATH_MAX + 600];
  struct dirent **papers;
  TRY(configs_root(root, sizeof root));
  TRY(text_format(path, sizeof path, "%s/preset", root));
  int count = scandir(path, &papers, is_name, alphasort), code = ERROR_NONE;
  if (count < 0) return FAIL(ERROR_INPUT, NULL, "%s: cannot list it", path);
  for (int i = 0; i < count; i++) {
    char folder[400], before[300];
    snprintf(folder, sizeof folder, "preset/%.255s", papers[i]->d_name);
    snprintf(before, sizeof before, "%.255s/", papers[i]->d_name);
    if (!code) code = list_folder(l, root, folder, before);
    free(papers[i]);
  }
  free(papers);
  return code;
}

static int act(comm *none, int argc, char **argv) {
  static const struct {
    const char *name;
    int (*list)(listing *);
  } kinds[] = {{"methods", list_methods}, {"families", list_families}, {"models", list_models}, {"tasks", list_tasks}, {"presets", list_presets}};
  enum { KINDS = sizeof kinds / sizeof *kinds };
  int json = 0, found = 0;
  const flag flags[] = {{"json", NULL, &json}};
  arguments a;
  (void)none;
  TRY(arguments_parse("list", argc, argv, flags, 1, &a));
  if (a.word_count > 1 || a.assignment_count) return FAIL(ERROR_USAGE, "see: peftscale list --help", "list takes one word");
  cJSON *root = json ? cJSON_CreateObject() : NULL;
  int code = ERROR_NONE;
  for (int i = 0; i < KINDS && !code; i++) {
    if (a.word_count && strcmp(a.words[0], kinds[i].name)) continue;
    found = 1;
    listing l = {json ? cJSON_AddArrayToObject(root, kinds[i].name) : NULL};
    if (!json) printf("%s\n", kinds[i].name);
    code = kinds[i].list(&l);
  }
  if (!code && !found) code = FAIL(ERROR_USAGE, "one of: methods, families, models, tasks, presets", "there is no list '%s'", a.words[0]);
  if (json && !code) print_json_object(root);
  else cJSON_Delete(root);
  return code;
}

const verb verb_list = {"list", "list methods, families, models, tasks and presets",
                        "usage: peftscale list [methods | families | models | tasks | presets] [--json]\n"
                        "\n"
                        "methods: what can be compared; families: model types that can be loaded and trained; models: shapes that `count` knows\n"
                        "without weights (\"counted only\": of a family that cannot be trained); tasks: configurations below configs/task;\n"
                        "presets: settings of papers below configs/preset (preset=NAME).\n"
                        "\n"
                        "example:\n"
                        "  peftscale list methods\n",
                        0, act};
