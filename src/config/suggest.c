#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/entries.h"

/* What other programs call our keys: no edit distance leads from one to the other. */
static const struct {
  const char *other, *ours;
} synonyms[] = {
    {"learning_rate", "train.lr"},
    {"head_lr", "train.lr_head"},
    {"classifier_lr", "train.lr_head"},
    {"weight_decay", "train.decay"},
    {"wd", "train.decay"},
    {"batch_size", "train.batch"},
    {"global_batch_size", "train.batch"},
    {"num_epochs", "train.epochs"},
    {"num_train_epochs", "train.epochs"},
    {"max_steps", "train.steps"},
    {"iterations", "train.steps"},
    {"adam_beta1", "train.beta1"},
    {"adam_beta2", "train.beta2"},
    {"adam_epsilon", "train.epsilon"},
    {"eps", "train.epsilon"},
    {"lr_scheduler_type", "train.schedule"},
    {"scheduler", "train.schedule"},
    {"warmup_ratio", "train.warmup"},
    {"warmup_steps", "train.warmup"},
    {"max_grad_norm", "train.clip"},
    {"grad_clip", "train.clip"},
    {"eval_steps", "train.evaluate_every"},
    {"logging_steps", "output.log_every"},
    {"output_dir", "output.dir"},
    {"random_seed", "seed"},
    {"dataset", "task.data"},
    {"max_train_samples", "task.limit"},
    {"mlm_probability", "task.mask_rate"},
    {"num_hidden_layers", "model.layers"},
    {"num_layers", "model.layers"},
    {"hidden_size", "model.width"},
    {"num_attention_heads", "model.heads"},
    {"intermediate_size", "model.ffn"},
    {"max_position_embeddings", "model.positions"},
    {"model_name_or_path", "model.path"},
    {"r", "method.rank"},
    {"lora_alpha", "method.alpha"},
    {"target_modules", "method.modules"},
    {"num_threads", "threads"},
};

static const char *by_synonym(const config *c, const char *leaf) {
  for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
    if (!strcmp(synonyms[i].other, leaf) && config_entries_find(c, synonyms[i].ours)) return synonyms[i].ours;
  return NULL;
}

/* The same word in another section, if there is only one. */
static const char *elsewhere(const config *c, const char *leaf) {
  const char *found = NULL;
  for (int i = 0; i < c->entries->count; i++) {
    if (strcmp(c->entries->entry[i].leaf, leaf)) continue;
    if (found) return NULL;
    found = c->entries->entry[i].key;
  }
  return found;
}

/* The key whose leaf (or, with `whole`, whose full name) is nearest to `word`, in one section or, with section NULL, in all. */
static const char *nearest(const config *c, const char *section, int whole, const char *word) {
  const char *name[256], *key[256];
  int count = 0;
  for (int i = 0; i < c->entries->count && count < 256; i++) {
    const config_entry *e = &c->entries->entry[i];
    if (section && strcmp(e->section, section)) continue;
    name[count] = whole ? e->key : e->leaf;
    key[count++] = e->key;
  }
  int index = text_nearest(word, name, count);
  return index < 0 ? NULL : key[index];
}

static void list_method_keys(const config *c, char *hint, size_t bytes) {
  if (!*c->method.name) {
    snprintf(hint, bytes, "a method's own keys need a method: method=lora");
    return;
  }
  const char *format = c->method.options.count ? "the keys of method '%.60s' are: " : "method '%.60s' has no keys of its own";
  size_t used = (size_t)snprintf(hint, bytes, format, c->method.name);
  for (int i = 0; i < c->method.options.count && used < bytes; i++)
    used += (size_t)snprintf(hint + used, bytes - used, "%s%s", i ? ", " : "", c->method.options.values[i].declared->name);
}

void config_entries_suggest(const config *c, const char *key, char *hint, size_t bytes) {
  const char *dot = strchr(key, '.'), *leaf = dot ? dot + 1 : key, *best;
  char section[64] = "";
  if (dot) snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
  *hint = 0;
  best = by_synonym(c, leaf);
  if (!best) best = elsewhere(c, leaf);
  if (!best) best = nearest(c, section, 0, leaf);
  if (!best && *section && !config_schema_has_section(section)) best = nearest(c, NULL, 1, key); /* perhaps the section is misspelt */
  if (!best && !strcmp(section, "method")) {
    list_method_keys(c, hint, bytes);
    return;
  }
  if (!best) best = nearest(c, NULL, 0, leaf);
  if (best) snprintf(hint, bytes, "did you mean '%s'?", best);
}
