/* Names of linear maps outside. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "train/peft_private.h"

const char *const peft_modules[PEFT_MODULES] = {"q", "k", "v", "o", "up", "down"};

const char *peft_pattern(const family *f, int module) {
  const tensor_names *t = f->tensors;
  const char *const patterns[PEFT_MODULES] = {t->query, t->key, t->value, t->attention_out, t->up, t->down};
  return patterns[module];
}

int peft_map_name(const family *f, const site *s, char name[PEFT_KEY_BYTES]) {
  for (int i = 0; i < PEFT_MODULES; i++) {
    if (strcmp(peft_modules[i], s->module)) continue;
    const char *pattern = peft_pattern(f, i), *mark = strstr(pattern, "%d");
    return text_format(name, PEFT_KEY_BYTES, "%.*s%d%s", (int)(mark - pattern), pattern, s->layer, mark + 2);
  }
  return FAIL(ERROR_USAGE, "adapt its parts (method.modules=q,k,v), or fold it in: peftscale merge", "the fused map %s has no name outside this program",
              s->name);
}

int peft_each_map(const model *m, int (*act)(void *context, const site *s), void *context) {
  const adapter *a = model_adapter(m);
  for (int i = 0; i < a->group_count; i++)
    for (int k = 0; k < a->groups[i].site_count; k++) {
      const site *s = &a->sites[a->groups[i].site[k]];
      if (adapter_targets(a, s)) TRY(act(context, s));
    }
  return ERROR_NONE;
}

int64_t peft_rank(const adapter *a) {
  char buffer[32];
  int64_t rank = 0;
  for (int i = 0; i < a->options->count; i++)
    if (!strcmp(a->options->values[i].declared->name, "rank")) text_to_int(adapter_option_text(a, i, buffer), &rank);
  return rank;
}

const segment *peft_segment(const model *m, const site *s, const char *suffix) {
  char name[METHOD_NAME_BYTES + 16];
  snprintf(name, sizeof name, "%s%s%s", s ? s->name : "", s ? "." : "", suffix);
  for (int i = model_adapter_segment(m); i < model_segment_count(m); i++)
    if (!strcmp(model_segment(m, i)->name, name)) return model_segment(m, i);
  return NULL;
}
