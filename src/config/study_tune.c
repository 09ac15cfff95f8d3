#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/schema.h"
#include "config/study_private.h"

static const char others[] = "default";

/* Refuses a method that does not exist, at its node. */
static int check_method(struct study_reader *r, const yaml_node_t *node, const char *method) {
  const option *own;
  int count;
  if (!strcmp(method, others) || !r->request.method_options || !r->request.method_options(method, &own, &count)) return ERROR_NONE;
  return error_prefix("%s:%d:%d: ", r->yaml.source, config_yaml_line(node), config_yaml_column(node));
}

static int read_key(struct study_reader *r, const yaml_node_t *node, const char *method, study_tuned_key *result) {
  char *word;
  TRY(config_yaml_value(r->memory, &r->yaml, node, "key", &word));
  TRY(config_keys_full(r->memory, word, &result->key));
  TRY(study_origin(r, node, &result->origin));
  result->method = method;
  const config_key *row = config_schema_find(result->key);
  if (!study_is_key(result->key)) {
    char hint[512];
    config_entries_suggest(r->scratch, word, hint, sizeof hint);
    return config_yaml_refuse(&r->yaml, node, hint, "unknown key '%s'", word);
  }
  if (node->type != YAML_SCALAR_NODE || !strcmp(result->key, "ranks") || !strcmp(result->key, "seed") || !strcmp(result->key, "method.name") ||
      (row && row->identity != IDENTITY_NUMBERS))
    return config_yaml_refuse(&r->yaml, node, "tune a setting such as train.lr", "'%s' cannot be tuned", word);
  return ERROR_NONE;
}

static int read_keys(struct study_reader *r, const yaml_node_t *node, study_tune *tune) {
  if (node->type != YAML_MAPPING_NODE) {
    TRY(arena_take(r->memory, 1, sizeof *tune->key, &tune->key));
    tune->key_count = 1;
    return read_key(r, node, others, tune->key);
  }
  TRY(arena_take(r->memory, (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start), sizeof *tune->key, &tune->key));
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *method_node = config_yaml_node(&r->yaml, pair->key);
    char *method;
    TRY(config_yaml_key(r->memory, &r->yaml, method_node, &method));
    TRY(check_method(r, method_node, method));
    for (int i = 0; i < tune->key_count; i++)
      if (!strcmp(tune->key[i].method, method)) return config_yaml_refuse(&r->yaml, method_node, "keep one of the two", "duplicate key '%s'", method);
    TRY(read_key(r, config_yaml_node(&r->yaml, pair->value), method, &tune->key[tune->key_count++]));
  }
  return ERROR_NONE;
}

static int read_list(struct study_reader *r, const yaml_node_t *list, study_tuned_values *v) {
  TRY(study_origin(r, list, &v->origin));
  if (list->type != YAML_SEQUENCE_NODE) return config_yaml_refuse(&r->yaml, list, "write [1e-3, 3e-3, 9e-3]", "the values to try are a list");
  size_t count = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
  if (!count) return config_yaml_refuse(&r->yaml, list, NULL, "there is no value to try");
  if (count > STUDY_LIST_COUNT) return config_yaml_refuse(&r->yaml, list, NULL, "more than %d values", STUDY_LIST_COUNT);
  TRY(arena_take(r->memory, count, sizeof *v->value, &v->value));
  for (size_t i = 0; i < count; i++) {
    const yaml_node_t *node = config_yaml_node(&r->yaml, list->data.sequence.items.start[i]);
    char *text;
    if (node->type != YAML_SCALAR_NODE) return config_yaml_refuse(&r->yaml, node, NULL, "a value to try is a single one");
    TRY(config_yaml_value(r->memory, &r->yaml, node, "values", &text));
    for (int k = 0; k < v->count; k++)
      if (study_value_equals(v->value[k].value, text)) return config_yaml_refuse(&r->yaml, node, "keep one of the two", "'%s' is tried twice", text);
    TRY(study_origin(r, node, &v->value[v->count].origin));
    v->value[v->count++].value = text;
  }
  return ERROR_NONE;
}

static int read_values(struct study_reader *r, const yaml_node_t *node, study_tune *tune) {
  if (node->type != YAML_MAPPING_NODE) {
    TRY(arena_take(r->memory, 1, sizeof *tune->values, &tune->values));
    *tune->values = (study_tuned_values){.task = "", .method = others};
    tune->values_count = 1;
    return read_list(r, node, tune->values);
  }
  TRY(arena_take(r->memory, (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start), sizeof *tune->values, &tune->values));
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *name_node = config_yaml_node(&r->yaml, pair->key);
    char *name, *slash;
    study_tuned_values *v = &tune->values[tune->values_count];
    TRY(config_yaml_key(r->memory, &r->yaml, name_node, &name));
    slash = strchr(name, '/');
    if (slash) *slash = 0;
    *v = (study_tuned_values){.task = slash ? name : "", .method = slash ? slash + 1 : name};
    TRY(check_method(r, name_node, v->method));
    TRY(study_origin(r, name_node, &v->name_origin));
    for (int i = 0; i < tune->values_count; i++)
      if (!strcmp(tune->values[i].task, v->task) && !strcmp(tune->values[i].method, v->method))
        return config_yaml_refuse(&r->yaml, name_node, "keep one of the two", "duplicate key '%s%s%s'", v->task, slash ? "/" : "", v->method);
    tune->values_count++;
    TRY(read_list(r, config_yaml_node(&r->yaml, pair->value), v));
  }
  return ERROR_NONE;
}

/* What trials have beside the run's own settings: a seed, what tune.set says, and no look at the test split. */
static int read_set(struct study_reader *r, const yaml_node_t *seed, const yaml_node_t *set, study_tune *tune) {
  study_settings own = {0};
  if (set) TRY(study_read_settings(r, set, NULL, &own));
  if (study_find_setting(&own, "seed") || study_find_setting(&own, "ranks") || study_find_setting(&own, "method.name"))
    return config_yaml_refuse(&r->yaml, set, "the seed of trials is 'seed:' beside 'set:'", "trials cannot have a method, ranks or seed set here");
  if (study_find_setting(&own, "output.test")) return config_yaml_refuse(&r->yaml, set, "leave it out", "trials never read the test split");
  study_setting fixed[2];
  char *value = "1";
  const char *origin = tune->origin;
  if (seed) {
    TRY(config_yaml_value(r->memory, &r->yaml, seed, "seed", &value));
    TRY(study_origin(r, seed, &origin));
    if (study_check_value(r, "seed", value)) return error_prefix("%s: seed: ", origin);
  }
  TRY(study_make_setting(r, "seed", value, origin, &fixed[0]));
  TRY(study_make_setting(r, "output.test", "false", tune->origin, &fixed[1]));
  return study_join_settings(r->memory, &(study_settings){fixed, 2}, &own, &tune->set);
}

int study_read_tune(struct study_reader *r, const yaml_node_t *node, study_tune **result) {
  static const char *const names[] = {"key", "values", "set", "seed"};
  const yaml_node_t *part[4] = {0};
  study_tune *tune;
  TRY(config_yaml_parts(r->memory, &r->yaml, node, "tune", names, 4, part));
  TRY(arena_take(r->memory, 1, sizeof *tune, &tune));
  TRY(study_origin(r, node, &tune->origin));
  for (int i = 0; i < 2; i++)
    if (!part[i]) return config_yaml_refuse(&r->yaml, node, "write 'key: train.lr' and 'values: [1e-3, 3e-3]'", "tune lacks '%s'", names[i]);
  TRY(read_keys(r, part[0], tune));
  TRY(read_values(r, part[1], tune));
  TRY(read_set(r, part[3], part[2], tune));
  *result = tune;
  return ERROR_NONE;
}

int study_find_tuned(struct study_reader *r, const study_part *p, const char *task, const char *method, const char **key, study_tuned_values **values) {
  study_tune *t = p->tune;
  const study_tuned_key *found = NULL;
  study_tuned_values *chosen = NULL;
  int rank = 0; /* of how exactly a list fits */
  for (int i = 0; i < t->key_count; i++)
    if (!strcmp(t->key[i].method, method) || (!found && !strcmp(t->key[i].method, others))) found = &t->key[i];
  for (int i = 0; i < t->values_count; i++) {
    study_tuned_values *v = &t->values[i];
    int of_task = *v->task && !strcmp(v->task, task), of_method = !strcmp(v->method, method);
    if (of_task) v->has_matched = 1;
    int fits = (!*v->task || of_task) && (of_method || !strcmp(v->method, others)) ? 1 + of_task + 2 * of_method : 0;
    if (fits > rank) {
      rank = fits;
      chosen = v;
    }
  }
  if (!found) return FAIL(ERROR_USAGE, "name it, or 'default' for all the others", "%s: tune.key says nothing of the method '%.60s'", t->origin, method);
  if (!chosen)
    return FAIL(ERROR_USAGE, "every method is tuned, with as many values: name it, or 'default' for all the others",
                "%s: tune.values says nothing of the method '%.60s' on the task '%.60s'", t->origin, method, task);
  for (int i = 0; i < chosen->count; i++)
    if (study_check_value(r, found->key, chosen->value[i].value)) return error_prefix("%s: %s: ", chosen->value[i].origin, found->key);
  *key = found->key;
  *values = chosen;
  return ERROR_NONE;
}
