#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "method/method.h"

#define METHOD(table) extern const method table;
#include "method/list.h"
#undef METHOD

const method *const method_list[] = {
#define METHOD(table) &table,
#include "method/list.h"
#undef METHOD
    NULL};

int method_find(const char *name, const method **result) {
  const char *names[64];
  int count = 0;
  for (; method_list[count]; count++) {
    if (!strcmp(method_list[count]->name, name)) {
      *result = method_list[count];
      return ERROR_NONE;
    }
    names[count] = method_list[count]->name;
  }
  int near = text_nearest(name, names, count);
  char hint[128];
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  else snprintf(hint, sizeof hint, "see: peftscale list methods");
  return FAIL(ERROR_USAGE, hint, "there is no method '%s'", name);
}

int method_options(const char *name, const option **options, int *count) {
  const method *m;
  TRY(method_find(name, &m));
  *options = m->options;
  *count = m->option_count;
  return ERROR_NONE;
}
