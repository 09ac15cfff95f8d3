#include "config/study.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"
#include "config/study_private.h"

static const char file_name[] = "study.yaml";

/* The file of a study that is named by its file or its folder. */
static int find_file(struct study_reader *r, const char **path) {
  char text[PATH_MAX], hint[PATH_MAX + 32] = "";
  const char *given = r->request.path;
  struct stat state;
  size_t length = strlen(given);
  while (length > 1 && given[length - 1] == '/') length--;
  TRY(text_format(text, sizeof text, "%.*s", (int)length, given));
  if (stat(text, &state)) {
    char other[PATH_MAX];
    if (!strchr(given, '/') && snprintf(other, sizeof other, "experiments/%s/%s", given, file_name) < (int)sizeof other && !stat(other, &state))
      snprintf(hint, sizeof hint, "did you mean experiments/%s?", given);
    return FAIL(ERROR_INPUT, hint, "there is no study '%s'", text);
  }
  if (S_ISDIR(state.st_mode)) TRY(text_format(text + length, sizeof text - length, "/%s", file_name));
  return arena_copy_text(r->memory, text, (char **)path);
}

/* DIR/study.yaml is the study DIR, DIR/other.yaml the study other. */
static int find_name(struct study_reader *r, const char *path, const char **name) {
  char folder[PATH_MAX], whole[PATH_MAX], *copy;
  const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
  if (!strcmp(file, file_name)) {
    TRY(text_format(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : "."));
    if (!realpath(*folder ? folder : "/", whole)) return FAIL(ERROR_INPUT, NULL, "%s: its folder cannot be found", path);
    slash = strrchr(whole, '/');
    file = slash + 1;
  }
  TRY(arena_copy_text(r->memory, file, &copy));
  char *end = strrchr(copy, '.');
  if (end && end != copy && !strcmp(end, ".yaml")) *end = 0;
  if (!study_is_name(copy))
    return FAIL(ERROR_USAGE, "letters, digits, - _ and . ; study.yaml takes its folder's name", "%s: '%.100s' is no name of a study", path, copy);
  *name = copy;
  return ERROR_NONE;
}

static int make_scratch(struct study_reader *r) {
  arena *memory;
  TRY(arena_create(&memory));
  return config_entries_create(memory, NULL, 0, 0, &r->scratch); /* takes the memory over */
}

static int read_file(struct study_reader *r) {
  TRY(config_yaml_read(r->out->path, &r->yaml));
  int code = study_parse(r);
  if (!code) code = study_read_words(r);
  if (!code) code = study_expand(r);
  if (!code) code = study_verify(r);
  config_yaml_close(&r->yaml);
  return code;
}

static int fill(struct study_reader *r, const study_request *request) {
  char *root = NULL;
  r->request = *request;
  if (request->root) TRY(arena_copy_text(r->memory, request->root, &root));
  r->request.root = root;
  TRY(config_cache_create(&r->cache));
  TRY(make_scratch(r));
  TRY(find_file(r, &r->out->path));
  TRY(find_name(r, r->out->path, &r->out->name));
  return read_file(r);
}

int study_read(const study_request *request, study **result) {
  arena *memory;
  study *s;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *s, &s);
  if (!code) code = arena_take(memory, 1, sizeof *s->reader, &s->reader);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  s->reader->memory = memory;
  s->reader->out = s;
  code = fill(s->reader, request);
  if (code) study_destroy(s);
  else *result = s;
  return code;
}

void study_destroy(study *s) {
  if (!s) return;
  config_cache_destroy(s->reader->cache);
  config_destroy(s->reader->scratch);
  arena_destroy(s->reader->memory);
}

/* The last of a run's words, with what it takes from its trials. */
static int add_tuned(const study_run *run, const char *value, const char **words, const char **origins, char *tuned, size_t bytes) {
  TRY(text_format(tuned, bytes, "%s=%s", run->tuned_key, value));
  words[run->assignment_count] = tuned;
  origins[run->assignment_count] = "tuned on validation";
  return ERROR_NONE;
}

static const char *origin_of(const char *origin) { return strcmp(origin, "command line") ? origin : NULL; }

int study_compose(const study *s, const study_run *run, const char *tuned_value, config **result) {
  size_t count = (size_t)run->assignment_count + 1;
  char tuned[CONFIG_VALUE_BYTES + YAML_KEY_BYTES];
  int has_tuned = tuned_value && *tuned_value && *run->tuned_key && run->role == STUDY_RUN;
  *result = NULL;
  const char **words = malloc(2 * count * sizeof *words);
  if (!words) return FAIL(ERROR_MEMORY, NULL, "out of memory for the settings of a run");
  for (int i = 0; i < run->assignment_count; i++) {
    words[i] = run->assignments[i];
    words[count + (size_t)i] = origin_of(run->origins[i]);
  }
  int code = has_tuned ? add_tuned(run, tuned_value, words, words + count, tuned, sizeof tuned) : ERROR_NONE;
  config_request request = {.root = s->action == STUDY_COUNT ? NULL : s->reader->request.root,
                            .assignments = words,
                            .assignment_count = run->assignment_count + has_tuned,
                            .origins = words + count,
                            .method_options = s->reader->request.method_options,
                            .cache = s->reader->cache};
  if (!code) code = config_compose(&request, result);
  free(words);
  return code;
}

int study_find_data(const study *s, const char *name) {
  const char *slash = strrchr(name, '/');
  for (int i = 0; i < s->data_count; i++)
    if (!strcmp(s->data[i].name, name)) return i;
  for (int i = 0; i < s->data_count; i++)
    if (slash && slash[1] && !strcmp(s->data[i].name, slash + 1)) return i;
  return -1;
}
