#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/study_private.h"

/* All that an element sets, as one text: "method=lora method.rank=8". */
static int describe(struct study_reader *r, const study_settings *s, const char **text) {
  size_t bytes = 1;
  char key[2 * YAML_KEY_BYTES], *joined;
  for (int i = 0; i < s->count; i++) bytes += strlen(s->item[i].word) + 1;
  TRY(arena_take(r->memory, bytes, 1, &joined));
  for (int i = 0, used = 0; i < s->count; i++)
    used += snprintf(joined + used, bytes - (size_t)used, "%s%s=%s", i ? " " : "", study_short_key(s->item[i].key, key), s->item[i].value);
  *text = joined;
  return ERROR_NONE;
}

static int refuse_axis(struct study_reader *r, const yaml_node_t *node, const char *name) {
  static const char *const short_names[] = {"task", "method", "model", "preset", "seed", "ranks", "shards", "threads"};
  char hint[512];
  int near = text_nearest(name, short_names, sizeof short_names / sizeof *short_names);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", short_names[near]);
  else config_entries_suggest(r->scratch, name, hint, sizeof hint);
  return config_yaml_refuse(&r->yaml, node, hint, "'%s' is no setting: an axis of plain values is one; elements of any other are mappings of settings", name);
}

static int read_choice(struct study_reader *r, const yaml_node_t *key_node, const yaml_node_t *node, const study_axis *axis, study_choice *choice) {
  char *text;
  const char *origin;
  int is_key = study_is_key(axis->name);
  if (node->type == YAML_MAPPING_NODE) {
    const char *label = NULL;
    TRY(study_read_settings(r, node, &label, &choice->settings));
    if (!choice->settings.count) return config_yaml_refuse(&r->yaml, node, NULL, "%s: an element sets nothing", axis->name);
    const char *value = is_key ? study_find_setting(&choice->settings, axis->name) : "";
    if (!value)
      return config_yaml_refuse(&r->yaml, node, "name the axis by any other word if it is not about this setting",
                                "an element of the axis '%s' does not set it", axis->name);
    choice->text = label ? label : value;
    choice->has_label = label != NULL;
    return ERROR_NONE;
  }
  if (!is_key) return refuse_axis(r, key_node, axis->name);
  if (node->type == YAML_SEQUENCE_NODE && (strncmp(axis->name, "method.", 7) || !strcmp(axis->name, "method.name")))
    return config_yaml_refuse(&r->yaml, node, NULL, "%s: a single value is expected, not a list", axis->name);
  TRY(config_yaml_value(r->memory, &r->yaml, node, axis->name, &text));
  TRY(study_origin(r, node, &origin));
  if (study_check_value(r, axis->name, text)) return error_prefix("%s: %s: ", origin, axis->name);
  choice->text = text;
  choice->settings.count = 1;
  TRY(arena_take(r->memory, 1, sizeof *choice->settings.item, &choice->settings.item));
  return study_make_setting(r, axis->name, text, origin, choice->settings.item);
}

/* What tells the elements apart: their text where no two have the same, else all that they set. Two that set the same are refused. */
static int show_choices(struct study_reader *r, const yaml_node_t *list, study_axis *axis) {
  const yaml_node_item_t *items = list->data.sequence.items.start;
  const char **all;
  char key[2 * YAML_KEY_BYTES], shown[CONFIG_VALUE_BYTES];
  TRY(arena_take(r->memory, (size_t)axis->count, sizeof *all, &all));
  for (int i = 0; i < axis->count; i++) {
    study_choice *c = &axis->choice[i];
    int is_alone = *c->text != 0;
    TRY(describe(r, &c->settings, &all[i]));
    for (int k = 0; k < axis->count; k++) {
      const study_choice *other = &axis->choice[k];
      int is_same = k != i && study_value_equals(c->text, other->text);
      if (k < i && (!strcmp(all[i], all[k]) || (is_same && (c->has_label || (c->settings.count == 1 && other->settings.count == 1)))))
        return config_yaml_refuse(&r->yaml, config_yaml_node(&r->yaml, items[i]), "keep one of the two", "the axis '%s' has '%.100s' twice", axis->name,
                                  *c->text ? c->text : all[i]);
      if (is_same) is_alone = 0;
    }
    snprintf(shown, sizeof shown, "%s=%s", study_short_key(axis->name, key), c->text);
    if (is_alone) TRY(arena_copy_text(r->memory, shown, (char **)&c->shown));
    else c->shown = all[i];
  }
  return ERROR_NONE;
}

static int read_axis(struct study_reader *r, const yaml_node_t *key_node, const yaml_node_t *list, int wheel, study_axis *axis) {
  char *name;
  TRY(config_yaml_key(r->memory, &r->yaml, key_node, &name));
  TRY(config_keys_full(r->memory, name, &axis->name));
  TRY(study_origin(r, key_node, &axis->origin));
  axis->wheel = wheel;
  if (list->type != YAML_SEQUENCE_NODE)
    return config_yaml_refuse(&r->yaml, list, "write [value, value]; what does not vary stands below 'base:'", "%s: an axis is a list", axis->name);
  for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++) axis->count++;
  if (!axis->count) return config_yaml_refuse(&r->yaml, list, NULL, "%s: an axis needs at least one element", axis->name);
  if (axis->count > STUDY_LIST_COUNT) return config_yaml_refuse(&r->yaml, list, NULL, "%s: more than %d elements", axis->name, STUDY_LIST_COUNT);
  TRY(arena_take(r->memory, (size_t)axis->count, sizeof *axis->choice, &axis->choice));
  for (int i = 0; i < axis->count; i++) TRY(read_choice(r, key_node, config_yaml_node(&r->yaml, list->data.sequence.items.start[i]), axis, &axis->choice[i]));
  return show_choices(r, list, axis);
}

/* The axes of one mapping go behind those of `result`, each with a wheel of its own, or all with one. */
static int read_axes(struct study_reader *r, const yaml_node_t *node, const char *what, int is_zip, int wheel, study_axes *result) {
  int first = result->count, room = STUDY_AXIS_COUNT;
  if (node->type != YAML_MAPPING_NODE)
    return config_yaml_refuse(&r->yaml, node, "write 'method: [lora, red]' below it, indented", "%s is a mapping of settings to lists", what);
  if (!result->axis) TRY(arena_take(r->memory, (size_t)room, sizeof *result->axis, &result->axis));
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *key_node = config_yaml_node(&r->yaml, pair->key), *list = config_yaml_node(&r->yaml, pair->value);
    if (result->count == room) return config_yaml_refuse(&r->yaml, key_node, NULL, "more than %d axes", room);
    study_axis *axis = &result->axis[result->count];
    TRY(read_axis(r, key_node, list, is_zip ? wheel : wheel + result->count, axis));
    for (int i = 0; i < result->count; i++)
      if (!strcmp(result->axis[i].name, axis->name))
        return config_yaml_refuse(&r->yaml, key_node, "keep one of the two", "the axis '%s' is there twice", axis->name);
    if (is_zip && result->count > first && axis->count != result->axis[first].count)
      return config_yaml_refuse(&r->yaml, key_node, "lists of one zip go together, element by element: make them equally long",
                                "'%s' has %d elements, '%s' has %d", axis->name, axis->count, result->axis[first].name, result->axis[first].count);
    result->count++;
  }
  return ERROR_NONE;
}

int study_read_grid(struct study_reader *r, const yaml_node_t *node, study_axes *result) {
  *result = (study_axes){0};
  return read_axes(r, node, "grid", 0, 0, result);
}

int study_read_zip(struct study_reader *r, const yaml_node_t *node, study_axes *result) {
  *result = (study_axes){0};
  if (node->type != YAML_SEQUENCE_NODE) return read_axes(r, node, "zip", 1, 0, result);
  int wheel = 0;
  for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
    const yaml_node_t *lists = config_yaml_node(&r->yaml, *i);
    int before = result->count;
    TRY(read_axes(r, lists, "an element of zip", 1, wheel++, result));
    if (result->count == before) return config_yaml_refuse(&r->yaml, lists, NULL, "an element of zip has no lists");
  }
  return ERROR_NONE;
}
