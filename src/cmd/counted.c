#include "cmd/counted.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "store/file.h"

int counted_census(const char *name, census **result) {
  struct stat status;
  char path[4096], *text;
  size_t bytes;
  model_shape shape;
  *result = NULL;
  if (stat(name, &status) || !S_ISDIR(status.st_mode)) return census_of_name(name, result);
  TRY(text_format(path, sizeof path, "%s/config.json", name));
  TRY(file_read(path, 1 << 20, &text, &bytes));
  int code = model_shape_parse(text, path, &shape);
  free(text);
  TRY(code);
  return census_of_shape(&shape, result);
}

static int full_keys(const arguments *given, const char *method_name, arena *memory, arguments *full) {
  *full = (arguments){0};
  for (int i = -1; i < given->assignment_count; i++) {
    const char *text = i < 0 ? method_name : given->assignments[i], *dot = strchr(text, '.'), *equal = strchr(text, '=');
    const char *before = i < 0 ? "method=" : dot && dot < equal ? "" : "method.";
    size_t bytes = strlen(before) + strlen(text) + 1;
    char *word;
    TRY(arena_take(memory, bytes, 1, &word));
    TRY(text_format(word, bytes, "%s%s", before, text));
    full->assignments[full->assignment_count++] = word;
  }
  return ERROR_NONE;
}

int counted_compose(const arguments *given, const char *method_name, config **result) {
  arguments full;
  arena *memory;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = full_keys(given, method_name, memory, &full);
  if (!code) code = compose_arguments(&full, result);
  arena_destroy(memory);
  return code;
}

int counted_deep_head(const char *head, const char *model_name) { return head ? !strcmp(head, "tanh") : !strncmp(model_name, "roberta", 7); }

int counted_classes(const char *text, int *classes) {
  int64_t found;
  if (text_to_int(text, &found) || found < 2 || found > COUNTED_MOST_CLASSES)
    return FAIL(ERROR_USAGE, NULL, "--classes %s: a number from 2 to %d is needed", text, COUNTED_MOST_CLASSES);
  *classes = (int)found;
  return ERROR_NONE;
}
