#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "method/method.h"
#include "store/runfile.h"

static int take_flag(const char *verb_name, int argc, char **argv, int *at, const flag *flags, int flag_count) {
  const char *word = argv[*at] + 2;
  size_t length = strcspn(word, "=");
  const char *names[32];
  char hint[160], written[80];
  for (int i = 0; i < flag_count; i++) {
    const flag *f = &flags[i];
    names[i] = f->name;
    if (strlen(f->name) != length || strncmp(f->name, word, length)) continue;
    if (f->set) *f->set = 1;
    if (!f->value) return word[length] ? FAIL(ERROR_USAGE, NULL, "--%s takes no value", f->name) : ERROR_NONE;
    if (word[length]) *f->value = word + length + 1;
    else if (*at + 1 < argc) *f->value = argv[++*at];
    else return FAIL(ERROR_USAGE, NULL, "--%s needs a value", f->name);
    return ERROR_NONE;
  }
  snprintf(written, sizeof written, "%.*s", (int)length, word);
  int near = text_nearest(written, names, flag_count);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean --%s? See: peftscale %s --help", names[near], verb_name);
  else snprintf(hint, sizeof hint, "see: peftscale %s --help", verb_name);
  return FAIL(ERROR_USAGE, hint, "unknown flag --%s", written);
}

int arguments_parse(const char *verb_name, int argc, char **argv, const flag *flags, int flag_count, arguments *result) {
  *result = (arguments){0};
  for (int i = 0; i < argc; i++) {
    if (i == ARGUMENTS_MAX - 1) return FAIL(ERROR_USAGE, NULL, "more than %d arguments", ARGUMENTS_MAX - 1); /* one place is left for what a verb adds */
    if (!strncmp(argv[i], "--", 2) && argv[i][2]) TRY(take_flag(verb_name, argc, argv, &i, flags, flag_count));
    else if (argv[i][0] == '-' && argv[i][1]) {
      char hint[80];
      snprintf(hint, sizeof hint, "see: peftscale %s --help", verb_name);
      return FAIL(ERROR_USAGE, hint, "unknown flag %s", argv[i]);
    } else if (strchr(argv[i], '=')) result->assignments[result->assignment_count++] = argv[i];
    else result->words[result->word_count++] = argv[i];
  }
  return ERROR_NONE;
}

int arguments_agree(comm *c, int argc, char **argv) {
  char digits[HASH_TEXT_BYTES];
  hash *words;
  int same;
  TRY(comm_agree(c, hash_create(&words)));
  for (int i = 0; i < argc; i++) hash_add_text(words, argv[i]);
  hash_finish(words, digits);
  TRY(comm_same_text(c, digits, &same));
  return same ? ERROR_NONE : FAIL(ERROR_USAGE, "give all ranks the same arguments", "the ranks were started with different arguments");
}

void add_json_number(cJSON *object, const char *name, double value) {
  char text[32];
  snprintf(text, sizeof text, "%.17g", value);
  cJSON_AddRawToObject(object, name, isfinite(value) ? text : "null");
}

void print_json_object(cJSON *object) {
  char *text = cJSON_Print(object);
  printf("%s\n", text ? text : "{}");
  free(text);
  cJSON_Delete(object);
}

void print_written(const char *kind, const char *path, int json) {
  if (!json) {
    printf("%s\n", path);
    return;
  }
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, kind, path);
  print_json_object(o);
}

static int has_base(const char *directory) {
  char path[2 * PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/base.yaml", directory);
  return access(path, R_OK) == 0;
}

int configs_root(char *path, size_t bytes) {
  const char *named = getenv("PEFTSCALE_CONFIGS");
  char program[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (named && *named) {
    TRY(text_format(path, bytes, "%s", named));
    return has_base(path) ? ERROR_NONE : FAIL(ERROR_INPUT, NULL, "PEFTSCALE_CONFIGS=%s: there is no base.yaml", named);
  }
  TRY(text_format(path, bytes, "configs"));
  if (has_base(path)) return ERROR_NONE;
  if (length > 0) {
    static const char *const places[] = {"../configs", "../share/peftscale/configs"};
    program[length] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    for (int i = 0; i < 2; i++) {
      char found[2 * PATH_MAX], plain[PATH_MAX];
      TRY(text_format(found, sizeof found, "%s/%s", program, places[i]));
      if (has_base(found) && realpath(found, plain)) return text_format(path, bytes, "%s", plain);
    }
  }
  return FAIL(ERROR_INPUT, "set PEFTSCALE_CONFIGS to the directory that holds base.yaml", "cannot find the configs directory");
}

int compose_arguments(const arguments *a, config **result) {
  char root[PATH_MAX];
  TRY(configs_root(root, sizeof root));
  config_request request = {.root = root,
                            .files = a->words,
                            .file_count = a->word_count,
                            .assignments = a->assignments,
                            .assignment_count = a->assignment_count,
                            .method_options = method_options};
  return config_compose(&request, result);
}

int restore_arguments(const char *run_path, const arguments *a, config **result) {
  char *text;
  TRY(runfile_read_text(run_path, "config", &text));
  int code = config_restore(text, run_path, method_options, a->assignments, a->assignment_count, result);
  free(text);
  return code;
}
