#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/schema.h"
#include "config/study_private.h"

/* A file of settings alone, such as `peftscale train` takes, is no study. */
static int refuse_settings(struct study_reader *r, const yaml_node_t *root) {
  if (root->type != YAML_MAPPING_NODE || root->data.mapping.pairs.start == root->data.mapping.pairs.top) return ERROR_NONE;
  const yaml_node_t *first = config_yaml_node(&r->yaml, root->data.mapping.pairs.start->key);
  char *key;
  TRY(config_yaml_key(r->memory, &r->yaml, first, &key));
  if (!config_schema_has_section(key) && !config_schema_find(key)) return ERROR_NONE;
  return config_yaml_refuse(&r->yaml, first, "settings of a study's runs stand below 'base:' (experiments/README.md)",
                            "'%s' is no key of a study: this looks like a file of settings", key);
}

/* A text for people: in one line, without control characters. */
static int read_text(struct study_reader *r, const yaml_node_t *node, const char *key, const char **result) {
  char *text;
  if (node->type != YAML_SCALAR_NODE) return config_yaml_refuse(&r->yaml, node, NULL, "%s: a text is expected", key);
  TRY(config_yaml_value(r->memory, &r->yaml, node, key, &text));
  size_t length = strlen(text);
  while (length && text[length - 1] == '\n') text[--length] = 0;
  for (char *place = text; *place; place++)
    if (*place == '\n') *place = ' ';
  text_clean(text);
  *result = text;
  return ERROR_NONE;
}

static int read_whole(struct study_reader *r, const yaml_node_t *node, const char *key, int64_t low, int64_t high, int64_t *value) {
  char *text;
  if (node->type != YAML_SCALAR_NODE) return config_yaml_refuse(&r->yaml, node, NULL, "%s: a whole number is expected", key);
  TRY(config_yaml_value(r->memory, &r->yaml, node, key, &text));
  if (text_to_int(text, value)) return config_yaml_refuse(&r->yaml, node, NULL, "%s: '%.100s' is not a whole number", key, text);
  if (*value < low || *value > high)
    return config_yaml_refuse(&r->yaml, node, NULL, "%s: %lld is out of range: it must be from %lld to %lld", key, (long long)*value, (long long)low,
                              (long long)high);
  return ERROR_NONE;
}

int study_is_name(const char *text) {
  size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
  return length > 0 && length < STUDY_NAME_BYTES && !text[length] && *text != '.' && *text != '-';
}

static int read_excludes(struct study_reader *r, const yaml_node_t *node, study_part *p) {
  if (node->type != YAML_SEQUENCE_NODE)
    return config_yaml_refuse(&r->yaml, node, "write '- {task: cola, method: red}' below it", "exclude is a list of mappings");
  size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
  if (count > STUDY_LIST_COUNT) return config_yaml_refuse(&r->yaml, node, NULL, "exclude: more than %d elements", STUDY_LIST_COUNT);
  p->exclude_count = 0;
  TRY(arena_take(r->memory, count, sizeof *p->exclude, &p->exclude));
  for (size_t i = 0; i < count; i++) {
    const yaml_node_t *pairs = config_yaml_node(&r->yaml, node->data.sequence.items.start[i]);
    study_exclude *e = &p->exclude[p->exclude_count++];
    TRY(study_read_pairs(r, pairs, &e->pairs));
    TRY(study_origin(r, pairs, &e->origin));
    if (!e->pairs.count) return config_yaml_refuse(&r->yaml, pairs, "write '- {task: cola, method: red}'", "an element of exclude has no pairs");
  }
  return ERROR_NONE;
}

/* A stage's settings of a method go behind the study's. */
static int read_methods(struct study_reader *r, const yaml_node_t *node, study_part *p) {
  if (node->type != YAML_MAPPING_NODE)
    return config_yaml_refuse(&r->yaml, node, "write 'vera: {method.rank: 256}' below it", "methods is a mapping of methods to settings");
  size_t count = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
  study_method *joined;
  TRY(arena_take(r->memory, (size_t)p->method_count + count, sizeof *joined, &joined));
  if (p->method_count) memcpy(joined, p->methods, (size_t)p->method_count * sizeof *joined);
  p->methods = joined;
  int first = p->method_count;
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *name_node = config_yaml_node(&r->yaml, pair->key), *settings = config_yaml_node(&r->yaml, pair->value);
    study_method *m = &joined[p->method_count];
    char *name;
    const option *own;
    int own_count;
    TRY(config_yaml_key(r->memory, &r->yaml, name_node, &name));
    if (r->request.method_options && r->request.method_options(name, &own, &own_count))
      return error_prefix("%s:%d:%d: ", r->yaml.source, config_yaml_line(name_node), config_yaml_column(name_node));
    for (int i = first; i < p->method_count; i++)
      if (!strcmp(joined[i].name, name)) return config_yaml_refuse(&r->yaml, name_node, "keep one of the two", "duplicate key '%s'", name);
    TRY(study_read_settings(r, settings, NULL, &m->settings));
    if (study_find_setting(&m->settings, "method.name") || study_find_setting(&m->settings, "seed"))
      return config_yaml_refuse(&r->yaml, settings, "give its options and rates", "settings of the method '%s' cannot choose a method or a seed", name);
    m->name = name;
    p->method_count++;
  }
  return ERROR_NONE;
}

static int has_seed(const study_settings *seeds, const char *text) {
  for (int i = 0; i < seeds->count; i++)
    if (!strcmp(seeds->item[i].value, text)) return 1;
  return 0;
}

static int read_seeds(struct study_reader *r, const yaml_node_t *seeds, const yaml_node_t *repeats, study_part *p) {
  int64_t number, count;
  if (seeds && repeats) return config_yaml_refuse(&r->yaml, repeats, "repeats: 3 is seeds: [1, 2, 3]", "seeds and repeats exclude each other");
  if (!seeds && !repeats) return ERROR_NONE;
  const yaml_node_t *node = seeds ? seeds : repeats;
  p->seeds = (study_settings){0};
  if (repeats) {
    TRY(read_whole(r, repeats, "repeats", 1, STUDY_RUN_COUNT, &count));
  } else {
    if (seeds->type != YAML_SEQUENCE_NODE) return config_yaml_refuse(&r->yaml, seeds, "write seeds: [1, 2, 3], or repeats: 3", "seeds is a list");
    count = seeds->data.sequence.items.top - seeds->data.sequence.items.start;
    if (!count) return config_yaml_refuse(&r->yaml, seeds, NULL, "seeds needs at least one");
    if (count > STUDY_LIST_COUNT)
      return config_yaml_refuse(&r->yaml, seeds, "repeats: 5000 is seeds 1 to 5000", "seeds: more than %d elements", STUDY_LIST_COUNT);
  }
  const char *origin;
  TRY(study_origin(r, node, &origin));
  TRY(arena_take(r->memory, (size_t)count, sizeof *p->seeds.item, &p->seeds.item));
  for (int i = 0; i < (int)count; i++) {
    char *text, digits[24];
    number = i + 1;
    if (seeds) {
      const yaml_node_t *seed = config_yaml_node(&r->yaml, seeds->data.sequence.items.start[i]);
      TRY(read_whole(r, seed, "seeds", 0, UINT32_MAX, &number));
      TRY(study_origin(r, seed, &origin));
    }
    snprintf(digits, sizeof digits, "%lld", (long long)number);
    TRY(arena_copy_text(r->memory, digits, &text));
    if (seeds && has_seed(&p->seeds, text)) return FAIL(ERROR_USAGE, "keep one of the two", "%s: the seed %s is there twice", origin, text);
    TRY(study_make_setting(r, "seed", text, origin, &p->seeds.item[p->seeds.count++]));
  }
  return ERROR_NONE;
}

enum { PART_BASE, PART_RANKS, PART_GRID, PART_ZIP, PART_EXCLUDE, PART_METHODS, PART_SEEDS, PART_REPEATS, PART_TUNE, PART_KEYS };
#define PART_NAMES "base", "ranks", "grid", "zip", "exclude", "methods", "seeds", "repeats", "tune"

static int read_base(struct study_reader *r, const yaml_node_t *node, study_part *p) {
  study_settings own;
  TRY(study_read_settings(r, node, NULL, &own));
  if (study_find_setting(&own, "ranks"))
    return config_yaml_refuse(&r->yaml, node, "write 'ranks: 2' beside 'base:'", "the number of ranks is no setting of a configuration");
  return study_join_settings(r->memory, &p->base, &own, &p->base);
}

/* Reads what a study and a stage have in common on top of what `p` holds: base and methods are added to, all others replaced. */
static int read_part(struct study_reader *r, const yaml_node_t *const node[PART_KEYS], study_part *p) {
  int64_t ranks;
  if (node[PART_BASE]) TRY(read_base(r, node[PART_BASE], p));
  if (node[PART_RANKS]) {
    TRY(read_whole(r, node[PART_RANKS], "ranks", 1, STUDY_RANK_COUNT, &ranks));
    p->ranks = (int)ranks;
  }
  if (node[PART_GRID]) TRY(study_read_grid(r, node[PART_GRID], &p->grid));
  if (node[PART_ZIP]) TRY(study_read_zip(r, node[PART_ZIP], &p->zip));
  if (node[PART_EXCLUDE]) TRY(read_excludes(r, node[PART_EXCLUDE], p));
  if (node[PART_METHODS]) TRY(read_methods(r, node[PART_METHODS], p));
  TRY(read_seeds(r, node[PART_SEEDS], node[PART_REPEATS], p));
  return node[PART_TUNE] ? study_read_tune(r, node[PART_TUNE], &p->tune) : ERROR_NONE;
}

static int read_stage(struct study_reader *r, const yaml_node_t *stage, const study_part *common) {
  static const char *const names[] = {PART_NAMES, "name"};
  const yaml_node_t *node[PART_KEYS + 1] = {0};
  study_part *p = &r->part[r->part_count];
  *p = *common;
  TRY(config_yaml_parts(r->memory, &r->yaml, stage, "a stage", names, PART_KEYS + 1, node));
  TRY(study_origin(r, stage, &p->origin));
  if (!node[PART_KEYS]) return config_yaml_refuse(&r->yaml, stage, "write 'name: short'", "a stage lacks its name");
  TRY(read_text(r, node[PART_KEYS], "name", &p->name));
  if (!study_is_name(p->name)) return config_yaml_refuse(&r->yaml, node[PART_KEYS], "letters, digits, - _ and .", "'%.100s' is no name of a stage", p->name);
  for (int i = 0; i < r->part_count; i++)
    if (!strcmp(r->part[i].name, p->name)) return config_yaml_refuse(&r->yaml, node[PART_KEYS], NULL, "there is another stage '%s'", p->name);
  r->part_count++;
  return read_part(r, node, p);
}

static int read_stages(struct study_reader *r, const yaml_node_t *list, const study_part *common) {
  const char **names;
  if (list->type != YAML_SEQUENCE_NODE) return config_yaml_refuse(&r->yaml, list, "write '- name: first' below it", "stages is a list of mappings");
  size_t count = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
  if (!count) return config_yaml_refuse(&r->yaml, list, "leave it out", "stages has no element");
  if (count > STUDY_STAGE_COUNT) return config_yaml_refuse(&r->yaml, list, NULL, "more than %d stages", STUDY_STAGE_COUNT);
  TRY(arena_take(r->memory, count, sizeof *r->part, &r->part));
  TRY(arena_take(r->memory, count, sizeof *names, &names));
  for (size_t i = 0; i < count; i++) {
    TRY(read_stage(r, config_yaml_node(&r->yaml, list->data.sequence.items.start[i]), common));
    names[i] = r->part[i].name;
  }
  r->out->stages = names;
  r->out->stage_count = (int)count;
  return ERROR_NONE;
}

/* What a table of runs or of counts can show. */
static const char *const column_names[] = {"ranks",
                                           "test",
                                           "sd",
                                           "difference",
                                           "difference_examples",
                                           "compared",
                                           "p_value",
                                           "smallest",
                                           "letters",
                                           "validation",
                                           "tuned",
                                           "trainable",
                                           "head",
                                           "stored",
                                           "regenerated",
                                           "sent",
                                           "sent_with_head",
                                           "wire",
                                           "step",
                                           "expand",
                                           "gather",
                                           "overhead",
                                           "communication",
                                           "wait",
                                           "tokens_per_s",
                                           "train_s",
                                           "activation",
                                           "memory",
                                           "time_to_target",
                                           "bytes_to_target",
                                           "energy",
                                           "seeds",
                                           "verdict"};

static int check_column(struct study_reader *r, const yaml_node_t *node, const char *column) {
  enum { COUNT = sizeof column_names / sizeof *column_names };
  char hint[512] = "one of:";
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(column_names[i], column)) return ERROR_NONE;
  int near = text_nearest(column, column_names, COUNT);
  size_t used = near < 0 ? strlen(hint) : (size_t)snprintf(hint, sizeof hint, "did you mean '%s'?", column_names[near]);
  for (int i = 0; near < 0 && i < COUNT; i++) used += (size_t)snprintf(hint + used, sizeof hint - used, "%s %s", i ? "," : "", column_names[i]);
  return config_yaml_refuse(&r->yaml, node, hint, "there is no column '%.100s'", column);
}

static int read_columns(struct study_reader *r, const yaml_node_t *list) {
  const char **columns;
  if (list->type != YAML_SEQUENCE_NODE) return config_yaml_refuse(&r->yaml, list, "write columns: [test, trainable]", "columns is a list");
  size_t count = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
  if (count > STUDY_LIST_COUNT) return config_yaml_refuse(&r->yaml, list, NULL, "more than %d columns", STUDY_LIST_COUNT);
  TRY(arena_take(r->memory, count, sizeof *columns, &columns));
  r->out->columns = columns;
  for (size_t i = 0; i < count; i++) {
    const yaml_node_t *node = config_yaml_node(&r->yaml, list->data.sequence.items.start[i]);
    TRY(read_text(r, node, "columns", &columns[i]));
    TRY(check_column(r, node, columns[i]));
    for (size_t k = 0; k < i; k++)
      if (!strcmp(columns[k], columns[i])) return config_yaml_refuse(&r->yaml, node, "keep one of the two", "the column '%s' is there twice", columns[i]);
    r->out->column_count++;
  }
  return ERROR_NONE;
}

static int read_data(struct study_reader *r, const yaml_node_t *node) {
  study_data *data;
  if (node->type != YAML_MAPPING_NODE)
    return config_yaml_refuse(&r->yaml, node, "write 'NAME.h5: python3 -m experiments.prepare ...' below it", "data is a mapping of names to commands");
  size_t count = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
  if (count > STUDY_LIST_COUNT) return config_yaml_refuse(&r->yaml, node, NULL, "data: more than %d elements", STUDY_LIST_COUNT);
  TRY(arena_take(r->memory, count, sizeof *data, &data));
  r->out->data = data;
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *name_node = config_yaml_node(&r->yaml, pair->key);
    study_data *d = &data[r->out->data_count];
    char *name;
    TRY(config_yaml_key(r->memory, &r->yaml, name_node, &name));
    for (int i = 0; i < r->out->data_count; i++)
      if (!strcmp(data[i].name, name)) return config_yaml_refuse(&r->yaml, name_node, "keep one of the two", "duplicate key '%s'", name);
    d->name = name;
    TRY(read_text(r, config_yaml_node(&r->yaml, pair->value), name, &d->command));
    r->out->data_count++;
  }
  return ERROR_NONE;
}

static int read_action(struct study_reader *r, const yaml_node_t *node) {
  static const char *const words[] = {"train", "count"};
  const char *word;
  char hint[64];
  TRY(read_text(r, node, "action", &word));
  for (int i = 0; i < 2; i++)
    if (!strcmp(words[i], word)) {
      r->out->action = (study_action)i;
      return ERROR_NONE;
    }
  int near = text_nearest(word, words, 2);
  snprintf(hint, sizeof hint, near >= 0 ? "did you mean '%s'?" : "one of: train, count", near >= 0 ? words[near] : "");
  return config_yaml_refuse(&r->yaml, node, hint, "action: there is no '%.100s'", word);
}

/* A count has neither numbers that depend on a seed nor a validation to tune on. */
static int check_count(struct study_reader *r, const yaml_node_t *root) {
  for (int i = 0; i < r->part_count; i++) {
    const study_part *p = &r->part[i];
    const char *what = p->seeds.count ? "seeds" : p->tune ? "a tuning" : p->ranks > 1 ? "ranks" : NULL;
    if (what) return config_yaml_refuse(&r->yaml, root, "leave it out", "a study that counts has no use for %s", what);
  }
  return ERROR_NONE;
}

int study_parse(struct study_reader *r) {
  enum { TITLE = PART_KEYS, QUESTION, ACTION, COLUMNS, DATA, STAGES, KEYS };
  static const char *const names[] = {PART_NAMES, "title", "question", "action", "columns", "data", "stages"};
  const yaml_node_t *root = config_yaml_root(&r->yaml), *node[KEYS] = {0};
  study_part *common;
  study *s = r->out;
  if (!root) return FAIL(ERROR_USAGE, "experiments/README.md tells how a study is written", "%s: the file is empty", r->yaml.source);
  TRY(refuse_settings(r, root));
  TRY(config_yaml_parts(r->memory, &r->yaml, root, "a study", names, KEYS, node));
  s->title = s->name;
  s->question = "";
  if (node[TITLE]) TRY(read_text(r, node[TITLE], "title", &s->title));
  if (node[QUESTION]) TRY(read_text(r, node[QUESTION], "question", &s->question));
  if (node[ACTION]) TRY(read_action(r, node[ACTION]));
  if (node[COLUMNS]) TRY(read_columns(r, node[COLUMNS]));
  if (node[DATA]) TRY(read_data(r, node[DATA]));
  TRY(arena_take(r->memory, 1, sizeof *common, &common));
  *common = (study_part){.name = "", .ranks = 1};
  TRY(study_origin(r, root, &common->origin));
  TRY(read_part(r, node, common));
  if (node[STAGES]) TRY(read_stages(r, node[STAGES], common));
  else {
    r->part = common;
    r->part_count = 1;
  }
  return s->action == STUDY_COUNT ? check_count(r, root) : ERROR_NONE;
}
