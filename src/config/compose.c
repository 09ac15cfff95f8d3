#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/catalog.h"
#include "config/document.h"
#include "config/entries.h"

enum { PATH_BYTES = 4096, PLACE_BYTES = PATH_BYTES + 32 };

/* One source of settings. Later layers win. */
typedef struct layer {
  config_document document;
  const char *kind; /* "model", "task", "method": such a file may not choose the others; "preset", "base" or NULL (study, command line) */
} layer;

typedef struct layers {
  arena *memory;
  layer *layer; /* base, model, task, method, preset, study files, command line */
  int count;
} layers;

enum { LAYER_BASE, LAYER_MODEL, LAYER_TASK, LAYER_METHOD, LAYER_PRESET, LAYER_FIRST_STUDY };

typedef int (*method_table)(const char *, const option **, int *);

/* Puts the place of an item before the last error's text; errors of a value also name the key. */
static int locate(const config_document *d, const config_item *item) {
  char place[PLACE_BYTES];
  config_document_place(d, item, 1, place, sizeof place);
  return error_prefix("%s%.200s: ", place, d->is_command_line ? item->written : item->key);
}

/* Raises ERROR_USAGE at an item's key. */
static int refuse_key(const config_document *d, const config_item *item, const char *hint, const char *before, const char *after) {
  char place[PLACE_BYTES];
  return FAIL(ERROR_USAGE, hint, "%s%s'%.200s'%s", config_document_place(d, item, 0, place, sizeof place), before, item->key, after);
}

static int refuse_section(const config_document *d, const config_item *item) {
  static const char *const names[] = {"model", "task", "method", "train", "output", "seed", "shards", "threads", "preset"};
  char hint[128] = "the sections are: model, task, method, train, output";
  int near = text_nearest(item->key, names, sizeof names / sizeof *names);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  return refuse_key(d, item, hint, "unknown section ", "");
}

/* Brings the keys of a document to their full names (a section as one word means its name) and refuses what cannot be a key of any method. */
static int normalise(arena *memory, config_document *d) {
  for (int i = 0; i < d->count; i++) {
    config_item *item = &d->item[i];
    int is_section = config_schema_has_section(item->key), has_dot = strchr(item->key, '.') != NULL;
    if (item->kind == ITEM_SECTION) {
      if (is_section) continue;
      if (!config_schema_find(item->key) || has_dot) return refuse_section(d, item);
      FAIL(ERROR_USAGE, NULL, "a single value is expected, not a mapping");
      return locate(d, item);
    }
    if (is_section) {
      char *key;
      size_t bytes = strlen(item->key) + sizeof ".name";
      TRY(arena_take(memory, bytes, 1, &key));
      snprintf(key, bytes, "%s.name", item->key);
      if (!config_schema_find(key)) {
        FAIL(ERROR_USAGE, "write its keys below it, indented; on the command line: train.lr=1e-3", "this is a section of keys, not a value");
        return locate(d, item);
      }
      item->key = key;
    } else if (has_dot && !item->is_nested && !d->is_command_line) {
      return refuse_key(d, item, "in a file, write the section and, indented below it, the key", "the key ", " is written with a dot");
    }
  }
  return ERROR_NONE;
}

/* A model, task or method file may repeat its own name but choose no other file; a preset may choose all but a preset. */
static int check_choices(const layer *l, const char *own_name) {
  static const char *const choices[] = {"preset", "model.name", "task.name", "method.name"};
  if (!l->kind || !strcmp(l->kind, "base")) return ERROR_NONE;
  int is_preset = !strcmp(l->kind, "preset");
  for (int i = 0; i < l->document.count; i++) {
    const config_item *item = &l->document.item[i];
    for (int k = 0; k < (is_preset ? 1 : 4) && item->kind != ITEM_SECTION; k++) {
      if (strcmp(item->key, choices[k])) continue;
      if (!strncmp(choices[k], l->kind, strlen(l->kind)) && !strcmp(item->text, own_name)) continue;
      char after[96];
      snprintf(after, sizeof after, " cannot be chosen by a %s file", l->kind);
      return refuse_key(&l->document, item, "base.yaml, presets, study files and the command line choose model, task and method", "", after);
    }
  }
  return ERROR_NONE;
}

/* The last item that sets `key`; NULL if none does. */
static const config_item *last_item(const layers *all, const char *key, const layer **where) {
  for (int i = all->count - 1; i >= 0; i--)
    for (int k = all->layer[i].document.count - 1; k >= 0; k--) {
      const config_item *item = &all->layer[i].document.item[k];
      if (item->kind == ITEM_SECTION || strcmp(item->key, key)) continue;
      *where = &all->layer[i];
      return item;
    }
  return NULL;
}

static int read_layer(layers *all, int index, const char *path, const char *kind) {
  layer *l = &all->layer[index];
  l->kind = kind;
  TRY(config_document_read(all->memory, path, &l->document));
  return normalise(all->memory, &l->document);
}

/* The file of a name that an earlier read layer or the command line chose, as layer `index`. */
static int read_named(layers *all, const char *root, int index, const char *kind, const char *key) {
  const layer *where;
  const config_item *item = last_item(all, key, &where);
  if (!root || !item || !*item->text) return ERROR_NONE;
  char path[PATH_BYTES];
  int exists;
  TRY(config_catalog_path(root, kind, item->text, path, sizeof path, &exists));
  if (!exists) {
    if (!strcmp(kind, "method")) return ERROR_NONE; /* its option table alone is enough; unknown methods have been refused */
    config_catalog_refuse(root, kind, item->text);
    return locate(&where->document, item);
  }
  TRY(read_layer(all, index, path, kind));
  return check_choices(&all->layer[index], item->text);
}

/* The option table of the chosen method. */
static int find_method(const layers *all, method_table table, const option **own, int *own_count) {
  const layer *where;
  const config_item *item = last_item(all, "method.name", &where);
  *own = NULL;
  *own_count = 0;
  if (!table || !item || !*item->text) return ERROR_NONE;
  if (!table(item->text, own, own_count)) return ERROR_NONE;
  return locate(&where->document, item);
}

static int make_origin(arena *memory, const config_document *d, const config_item *item, const char **origin) {
  *origin = d->source;
  if (d->is_command_line) return ERROR_NONE;
  size_t bytes = strlen(d->source) + 16;
  char *text;
  TRY(arena_take(memory, bytes, 1, &text));
  snprintf(text, bytes, "%s:%d", d->source, item->key_line);
  *origin = text;
  return ERROR_NONE;
}

static int apply(config *c, const config_document *d) {
  for (int i = 0; i < d->count; i++) {
    const config_item *item = &d->item[i];
    const char *origin;
    if (item->kind == ITEM_SECTION) continue;
    config_entry *e = config_entries_find(c, item->key);
    if (!e) {
      char hint[512];
      config_entries_suggest(c, item->key, hint, sizeof hint);
      return refuse_key(d, item, hint, "unknown key ", "");
    }
    TRY(make_origin(c->entries->memory, d, item, &origin));
    int code = item->kind == ITEM_LIST && e->declared->type != OPTION_LIST ? FAIL(ERROR_USAGE, NULL, "a single value is expected, not a list")
                                                                           : config_entries_set(c, e, item->text, origin);
    if (code) return locate(d, item);
  }
  return ERROR_NONE;
}

/* From layers to a configuration, which takes their memory over. */
static int build(layers *all, method_table table, int stored, config **result) {
  const option *own;
  int own_count;
  int code = find_method(all, table, &own, &own_count);
  if (code) {
    arena_destroy(all->memory);
    return code;
  }
  TRY(config_entries_create(all->memory, own, own_count, stored, result));
  const layer *where;
  const config_item *chosen = last_item(all, "method.name", &where); /* first, so that hints about its keys can name the method */
  if (chosen) {
    code = config_entries_set(*result, config_entries_find(*result, "method.name"), chosen->text, "default");
    if (code) locate(&where->document, chosen);
  }
  for (int i = 0; i < all->count && !code; i++) code = apply(*result, &all->layer[i].document);
  if (code) {
    config_destroy(*result);
    *result = NULL;
  }
  return code;
}

static int read_all(layers *all, const config_request *request) {
  char path[PATH_BYTES];
  const option *own;
  int own_count, last = LAYER_FIRST_STUDY + request->file_count;
  TRY(arena_take(all->memory, (size_t)last + 1, sizeof *all->layer, &all->layer));
  all->count = last + 1;
  if (request->root) {
    TRY(text_format(path, sizeof path, "%s/base.yaml", request->root));
    TRY(read_layer(all, LAYER_BASE, path, "base"));
  }
  for (int i = 0; i < request->file_count; i++) TRY(read_layer(all, LAYER_FIRST_STUDY + i, request->files[i], NULL));
  TRY(config_document_assign(all->memory, request->assignments, request->assignment_count, &all->layer[last].document));
  TRY(normalise(all->memory, &all->layer[last].document));
  TRY(read_named(all, request->root, LAYER_PRESET, "preset", "preset"));
  TRY(find_method(all, request->method_options, &own, &own_count)); /* an unknown method is told before anything else about it */
  TRY(read_named(all, request->root, LAYER_MODEL, "model", "model.name"));
  TRY(read_named(all, request->root, LAYER_TASK, "task", "task.name"));
  return read_named(all, request->root, LAYER_METHOD, "method", "method.name");
}

int config_compose(const config_request *request, config **result) {
  layers all = {0};
  *result = NULL;
  TRY(arena_create(&all.memory));
  int code = read_all(&all, request);
  if (!code) return build(&all, request->method_options, 0, result);
  arena_destroy(all.memory);
  return code;
}

static int read_stored(layers *all, const char *text, const char *origin, const char *const *assignments, int assignment_count) {
  char *source;
  TRY(arena_take(all->memory, 2, sizeof *all->layer, &all->layer));
  all->count = 2;
  TRY(arena_copy_text(all->memory, origin, &source));
  TRY(config_document_parse(all->memory, source, text, strlen(text), &all->layer[0].document));
  TRY(normalise(all->memory, &all->layer[0].document));
  TRY(config_document_assign(all->memory, assignments, assignment_count, &all->layer[1].document));
  return normalise(all->memory, &all->layer[1].document);
}

int config_restore(const char *text, const char *origin, int (*method_options)(const char *, const option **, int *), const char *const *assignments,
                   int assignment_count, config **result) {
  layers all = {0};
  *result = NULL;
  TRY(arena_create(&all.memory));
  int code = read_stored(&all, text, origin, assignments, assignment_count);
  if (!code) return build(&all, method_options, 1, result);
  arena_destroy(all.memory);
  return code;
}
