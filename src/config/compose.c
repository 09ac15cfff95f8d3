#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/cache.h"
#include "config/catalog.h"
#include "config/keys.h"

enum { PATH_BYTES = 4096 };

/* One source of settings. Later layers win. */
typedef struct layer {
  config_document document;
  const char *kind; /* "model", "task", "method": such a file may not choose the others; "preset", "base" or NULL (study, command line) */
} layer;

typedef struct layers {
  arena *memory;
  config_cache *cache; /* NULL: none */
  layer *layer;        /* base, model, task, method, preset, study files, command line */
  int count;
} layers;

enum { LAYER_BASE, LAYER_MODEL, LAYER_TASK, LAYER_METHOD, LAYER_PRESET, LAYER_FIRST_STUDY };

typedef int (*method_table)(const char *, const option **, int *);

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
      return config_keys_refuse(&l->document, item, "base.yaml, presets, study files and the command line choose model, task and method", "", after);
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
  return config_cache_read(all->cache, all->memory, path, &l->document);
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
    return config_keys_locate(&where->document, item);
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
  return config_keys_locate(&where->document, item);
}

static int make_origin(arena *memory, const config_document *d, const config_item *item, const char **origin) {
  *origin = d->source;
  if (item->origin) return arena_copy_text(memory, item->origin, (char **)origin);
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
      return config_keys_refuse(d, item, hint, "unknown key ", "");
    }
    TRY(make_origin(c->entries->memory, d, item, &origin));
    int code = item->kind == ITEM_LIST && e->declared->type != OPTION_LIST ? FAIL(ERROR_USAGE, NULL, "a single value is expected, not a list")
                                                                           : config_entries_set(c, e, item->text, origin);
    if (code) return config_keys_locate(d, item);
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
    if (code) config_keys_locate(&where->document, chosen);
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
  TRY(config_document_assign(all->memory, request->assignments, request->origins, request->assignment_count, &all->layer[last].document));
  TRY(config_keys_normalise(all->memory, &all->layer[last].document));
  TRY(read_named(all, request->root, LAYER_PRESET, "preset", "preset"));
  TRY(find_method(all, request->method_options, &own, &own_count)); /* an unknown method is told before anything else about it */
  TRY(read_named(all, request->root, LAYER_MODEL, "model", "model.name"));
  TRY(read_named(all, request->root, LAYER_TASK, "task", "task.name"));
  return read_named(all, request->root, LAYER_METHOD, "method", "method.name");
}

int config_compose(const config_request *request, config **result) {
  layers all = {.cache = request->cache};
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
  TRY(config_keys_normalise(all->memory, &all->layer[0].document));
  TRY(config_document_assign(all->memory, assignments, NULL, assignment_count, &all->layer[1].document));
  return config_keys_normalise(all->memory, &all->layer[1].document);
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
