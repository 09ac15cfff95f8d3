#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/study_private.h"

/* A part with its axes on wheels: grid axes first, each on its own, then those of zip. A combination is a place of every wheel. */
typedef struct odometer {
  const study_part *part;
  const study_axis *axis[2 * STUDY_AXIS_COUNT];
  int wheel[2 * STUDY_AXIS_COUNT]; /* of each axis */
  int size[2 * STUDY_AXIS_COUNT];  /* of each wheel */
  int axis_count, wheel_count;
  int *kept; /* [kept_count][wheel_count]: the combinations that remain */
  int kept_count;
} odometer;

typedef struct expander {
  struct study_reader *reader;
  study_run *run;
  int count, room;
  study_group *group;
  int group_count, group_room;
} expander;

static void take_axes(odometer *o, const study_axes *axes) {
  int first = o->wheel_count;
  for (int i = 0; i < axes->count; i++) {
    int wheel = first + axes->axis[i].wheel;
    o->axis[o->axis_count] = &axes->axis[i];
    o->wheel[o->axis_count++] = wheel;
    o->size[wheel] = axes->axis[i].count;
    if (wheel >= o->wheel_count) o->wheel_count = wheel + 1;
  }
}

static const study_choice *chosen(const odometer *o, const int *place, int axis) { return &o->axis[axis]->choice[place[o->wheel[axis]]]; }

/* The value of a key in a combination: of the axes, else of the base. */
static const char *value_of(const odometer *o, const int *place, const char *key) {
  for (int i = o->axis_count - 1; i >= 0; i--) {
    const char *value = study_find_setting(&chosen(o, place, i)->settings, key);
    if (value) return value;
  }
  return study_find_setting(&o->part->base, key);
}

static int matches_axes(const odometer *o, const int *place, const study_setting *pair) {
  for (int i = 0; i < o->axis_count; i++) {
    const study_choice *c = chosen(o, place, i);
    const char *value = study_find_setting(&c->settings, pair->key);
    if (value && study_value_among(value, pair->value)) return 1;
    if (!strcmp(o->axis[i]->name, pair->key) && study_value_among(c->text, pair->value)) return 1;
  }
  return 0;
}

/* Does a word of the command line choose this combination? */
static int matches_pick(const odometer *o, const int *place, const study_setting *pick) {
  if (!strcmp(pick->key, "stage")) return study_value_among(o->part->name, pick->value);
  if (!strcmp(pick->key, "seed") && o->part->seeds.count) return 1; /* asked of each run */
  if (matches_axes(o, place, pick)) return 1;
  const char *value = value_of(o, place, pick->key);
  char ranks[16];
  snprintf(ranks, sizeof ranks, "%d", o->part->ranks);
  if (!value && !strcmp(pick->key, "ranks")) value = ranks;
  return value && study_value_among(value, pick->value);
}

/* Is it left out, by the study or by the command line? Every exclude that fits is marked, whatever the command line says. */
static int is_left_out(const struct study_reader *r, const odometer *o, const int *place) {
  int out = 0;
  for (int i = 0; i < o->part->exclude_count; i++) {
    study_exclude *e = &o->part->exclude[i];
    int fits = 1;
    for (int k = 0; k < e->pairs.count && fits; k++) fits = matches_axes(o, place, &e->pairs.item[k]);
    if (fits) out = e->has_matched = 1;
  }
  for (int i = 0; i < r->picks.count && !out; i++) out = !matches_pick(o, place, &r->picks.item[i]);
  return out;
}

static int turn(struct study_reader *r, odometer *o) {
  int64_t total = 1;
  int place[2 * STUDY_AXIS_COUNT] = {0};
  for (int i = 0; i < o->wheel_count; i++)
    if ((total *= o->size[i]) > STUDY_RUN_COUNT)
      return FAIL(ERROR_USAGE, "split it into several studies", "%s: more than %d combinations", o->part->origin, STUDY_RUN_COUNT);
  TRY(arena_take(r->memory, (size_t)total * (size_t)o->wheel_count, sizeof *o->kept, &o->kept));
  for (int64_t n = 0; n < total; n++) {
    if (!is_left_out(r, o, place)) {
      if (o->wheel_count) memcpy(o->kept + (size_t)o->kept_count * (size_t)o->wheel_count, place, (size_t)o->wheel_count * sizeof *place);
      o->kept_count++;
    }
    for (int i = o->wheel_count - 1; i >= 0 && ++place[i] == o->size[i]; i--) place[i] = 0;
  }
  return ERROR_NONE;
}

/* ---- one run ---- */

/* What a run's assignments are made of, in order. */
typedef struct sources {
  const study_settings *list[2 * STUDY_AXIS_COUNT + 8];
  int count;
} sources;

static void add_source(sources *s, const study_settings *settings) { s->list[s->count++] = settings; }

static int grow(expander *x) {
  if (x->count == STUDY_RUN_COUNT)
    return FAIL(ERROR_USAGE, "split it into several studies", "%s: more than %d runs, trials included", x->reader->yaml.source, STUDY_RUN_COUNT);
  if (x->count < x->room) return ERROR_NONE;
  int room = x->room ? 2 * x->room : 256;
  study_run *grown = realloc(x->run, (size_t)room * sizeof *grown);
  if (!grown) return FAIL(ERROR_MEMORY, NULL, "out of memory for %d runs", room);
  x->run = grown;
  x->room = room;
  return ERROR_NONE;
}

/* Words and origins of all sources, but for ranks. */
static int assign(expander *x, const sources *from, study_run *run) {
  const char **words;
  size_t count = 0;
  for (int i = 0; i < from->count; i++) count += (size_t)from->list[i]->count;
  TRY(arena_take(x->reader->memory, 2 * count, sizeof *words, &words));
  run->assignments = words;
  run->origins = words + count;
  for (int i = 0; i < from->count; i++)
    for (int k = 0; k < from->list[i]->count; k++) {
      const study_setting *s = &from->list[i]->item[k];
      if (!strcmp(s->key, "ranks")) {
        run->ranks = atoi(s->value);
        continue;
      }
      words[run->assignment_count] = s->word;
      words[count + (size_t)run->assignment_count++] = s->origin;
    }
  if (x->reader->ranks) run->ranks = x->reader->ranks;
  return ERROR_NONE;
}

/* What tells the run from the others of its part. */
static int make_label(expander *x, const odometer *o, const int *place, const char *seed, const char *tuned, const char **label) {
  char text[8192], *copy;
  size_t used = 0;
  *text = 0;
  for (int all = 0; all < 2 && !used; all++) /* a single combination is told by what it is made of */
    for (int i = 0; i < o->axis_count && used < sizeof text; i++)
      if (all || o->axis[i]->count > 1) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", chosen(o, place, i)->shown);
  if (seed && used < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", seed);
  if (tuned && used < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s trial", used ? " " : "", tuned);
  TRY(arena_copy_text(x->reader->memory, used ? text : x->reader->out->name, &copy));
  *label = copy;
  return ERROR_NONE;
}

/* base, method's settings, axes, seed, settings of trials, tuned value, command line. `set` and `tuned` are a trial's, else NULL. */
static int add_run(expander *x, const odometer *o, const int *place, int group, const char *tuned_key, const study_setting *seed, const study_settings *set,
                   study_setting *tuned) {
  const study_part *p = o->part;
  sources from = {0};
  study_settings joined = {0}, seeds = {(study_setting *)seed, seed != NULL}, value = {tuned, tuned != NULL};
  const char *method = value_of(o, place, "method.name");
  TRY(grow(x));
  study_run *run = &x->run[x->count];
  *run = (study_run){.stage = p->name,
                     .role = tuned ? STUDY_TRIAL : STUDY_RUN,
                     .group = group,
                     .ranks = p->ranks,
                     .tuned_key = tuned_key,
                     .tuned_value = tuned ? tuned->value : ""};
  for (int i = 0; i < p->method_count && method; i++)
    if (!strcmp(p->methods[i].name, method)) TRY(study_join_settings(x->reader->memory, &joined, &p->methods[i].settings, &joined));
  add_source(&from, &p->base);
  add_source(&from, &joined);
  for (int i = 0; i < o->axis_count; i++) add_source(&from, &chosen(o, place, i)->settings);
  add_source(&from, &seeds);
  if (set) add_source(&from, set);
  add_source(&from, &value);
  add_source(&from, &x->reader->words);
  TRY(assign(x, &from, run));
  TRY(make_label(x, o, place, !tuned && p->seeds.count > 1 ? seed->word : NULL, tuned ? tuned->word : NULL, &run->label));
  x->count++;
  return ERROR_NONE;
}

/* ---- tuning groups ---- */

static int check_tuned_key(const struct study_reader *r, const study_part *p, const char *key) {
  if (study_find_setting(&r->words, key)) return FAIL(ERROR_USAGE, "leave it out", "command line: '%s' is tuned by the study", key);
  if (study_part_varies(p, key)) return FAIL(ERROR_USAGE, "keep one of the two", "%s: '%s' is tuned, and an axis", p->tune->origin, key);
  return ERROR_NONE;
}

/* Every method has as many trials: where a second list of another length turns up, both are told. */
static int check_budget(const study_tuned_values *first, const char *first_method, const study_tuned_values *v, const char *method) {
  if (!first || first->count == v->count) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "every method of a stage gets as many trials", "%s: '%s' has %d values to try, '%s' has %d", v->origin, method, v->count,
              first_method, first->count);
}

static int new_group(expander *x, int trial_count) {
  if (x->group_count == x->group_room) {
    int room = x->group_room ? 2 * x->group_room : 64;
    study_group *grown = realloc(x->group, (size_t)room * sizeof *grown);
    if (!grown) return FAIL(ERROR_MEMORY, NULL, "out of memory for %d tuning groups", room);
    x->group = grown;
    x->group_room = room;
  }
  x->group[x->group_count++] = (study_group){.first_trial = x->count, .trial_count = trial_count};
  return ERROR_NONE;
}

/* The trials of all kept combinations; keys[i] is what combination i tunes. */
static int add_trials(expander *x, const odometer *o, const char **keys) {
  const study_part *p = o->part;
  const study_tuned_values *first = NULL;
  const char *first_method = NULL;
  const study_settings rest = {p->tune->set.item + 1, p->tune->set.count - 1}; /* without the seed, which comes first */
  for (int i = 0; i < o->kept_count; i++) {
    const int *place = o->kept + (size_t)i * (size_t)o->wheel_count;
    const char *task = value_of(o, place, "task.name"), *method = value_of(o, place, "method.name");
    study_tuned_values *v;
    TRY(study_find_tuned(x->reader, p, task ? task : "", method ? method : "", &keys[i], &v));
    TRY(check_tuned_key(x->reader, p, keys[i]));
    TRY(check_budget(first, first_method, v, method ? method : ""));
    first = v;
    first_method = method ? method : "";
    TRY(new_group(x, v->count));
    for (int k = 0; k < v->count; k++) {
      study_setting tuned;
      TRY(study_make_setting(x->reader, keys[i], v->value[k].value, v->value[k].origin, &tuned));
      TRY(add_run(x, o, place, x->group_count - 1, keys[i], p->tune->set.item, &rest, &tuned));
    }
  }
  return ERROR_NONE;
}

/* ---- a part ---- */

/* What an axis sets: one setting of each key. */
typedef struct axis_keys {
  const study_setting *item[STUDY_KEY_COUNT];
  int count;
} axis_keys;

static int collect_keys(const study_axis *axis, axis_keys *keys) {
  keys->count = 0;
  for (int c = 0; c < axis->count; c++)
    for (int k = 0; k < axis->choice[c].settings.count; k++) {
      const study_setting *s = &axis->choice[c].settings.item[k];
      int i = 0;
      while (i < keys->count && strcmp(keys->item[i]->key, s->key)) i++;
      if (i < keys->count) continue;
      if (i == STUDY_KEY_COUNT) return FAIL(ERROR_USAGE, NULL, "%s: the axis '%s' sets more than %d keys", s->origin, axis->name, STUDY_KEY_COUNT);
      keys->item[keys->count++] = s;
    }
  return ERROR_NONE;
}

static int sets(const study_axis *axis, const char *key) {
  for (int c = 0; c < axis->count; c++)
    if (study_find_setting(&axis->choice[c].settings, key)) return 1;
  return 0;
}

/* Axes are independent of each other, of the seeds and of what trials set: else two runs would be the same, or a value without effect. */
static int check_axes(const odometer *o) {
  const study_part *p = o->part;
  axis_keys keys;
  for (int i = 0; i < o->axis_count; i++) {
    for (int other = 0; other < i; other++)
      if (!strcmp(o->axis[other]->name, o->axis[i]->name))
        return FAIL(ERROR_USAGE, "keep one of the two", "%s: the axis '%s' is there twice", o->axis[i]->origin, o->axis[i]->name);
    TRY(collect_keys(o->axis[i], &keys));
    for (int k = 0; k < keys.count; k++) {
      const char *key = keys.item[k]->key, *origin = keys.item[k]->origin;
      for (int other = 0; other < i; other++)
        if (sets(o->axis[other], key))
          return FAIL(ERROR_USAGE, "one axis can hold mappings of several settings", "%s: '%s' is set by the axes '%s' and '%s'", origin, key,
                      o->axis[other]->name, o->axis[i]->name);
      if (!strcmp(key, "seed") && (p->seeds.count || p->tune))
        return FAIL(ERROR_USAGE, "write them below 'seeds:' alone", "%s: 'seed' is set by an axis of a study with seeds or tuning", origin);
    }
    if (p->tune && study_find_setting(&p->tune->set, o->axis[i]->name))
      return FAIL(ERROR_USAGE, "keep one of the two", "%s: '%s' is an axis, and set by tune.set", o->axis[i]->origin, o->axis[i]->name);
  }
  return ERROR_NONE;
}

static int is_seed_picked(const struct study_reader *r, const study_setting *seed) {
  for (int i = 0; i < r->picks.count; i++)
    if (!strcmp(r->picks.item[i].key, "seed") && !study_value_among(seed->value, r->picks.item[i].value)) return 0;
  return 1;
}

static int expand_part(expander *x, const study_part *p) {
  odometer o = {.part = p};
  const char **keys;
  int first_group = x->group_count, seeds = 0;
  take_axes(&o, &p->grid);
  take_axes(&o, &p->zip);
  TRY(turn(x->reader, &o));
  TRY(check_axes(&o));
  for (int i = 0; i < p->seeds.count; i++) seeds += is_seed_picked(x->reader, &p->seeds.item[i]);
  if (p->seeds.count && !seeds) return ERROR_NONE;
  TRY(arena_take(x->reader->memory, (size_t)o.kept_count, sizeof *keys, &keys));
  if (p->tune) TRY(add_trials(x, &o, keys));
  for (int i = 0; i < o.kept_count; i++) {
    const int *place = o.kept + (size_t)i * (size_t)o.wheel_count;
    int group = p->tune ? first_group + i : -1;
    const char *key = p->tune ? keys[i] : "";
    if (!p->seeds.count) TRY(add_run(x, &o, place, group, key, NULL, NULL, NULL));
    for (int k = 0; k < p->seeds.count; k++)
      if (is_seed_picked(x->reader, &p->seeds.item[k])) TRY(add_run(x, &o, place, group, key, &p->seeds.item[k], NULL, NULL));
  }
  return ERROR_NONE;
}

/* ---- what must have had an effect ---- */

static int check_excludes(const struct study_reader *r, const study_part *p) {
  for (int i = 0; i < p->exclude_count; i++) {
    const study_exclude *e = &p->exclude[i];
    if (e->has_matched) continue;
    for (int k = 0; k < e->pairs.count; k++) {
      const study_setting *s = &e->pairs.item[k];
      int is_axis = 0;
      for (int j = 0; j < r->part_count; j++) is_axis |= study_part_varies(&r->part[j], s->key) && strcmp(s->key, "seed");
      if (!is_axis) return FAIL(ERROR_USAGE, "pairs of an exclude name axes, or what an axis sets", "%s: no axis sets '%s'", s->origin, s->key);
    }
    return FAIL(ERROR_USAGE, "a value may be misspelt", "%s: this exclude leaves nothing out", e->origin);
  }
  return ERROR_NONE;
}

static int check_tunes(const study_part *p) {
  for (int i = 0; p->tune && i < p->tune->values_count; i++) {
    const study_tuned_values *v = &p->tune->values[i];
    if (*v->task && !v->has_matched) return FAIL(ERROR_USAGE, "a name may be misspelt", "%s: no run has the task '%s'", v->name_origin, v->task);
  }
  return ERROR_NONE;
}

static int refuse_nothing(const struct study_reader *r) {
  char words[512] = "";
  size_t used = 0;
  if (!r->picks.count) return FAIL(ERROR_USAGE, NULL, "%s: no run is left: exclude leaves all of them out", r->yaml.source);
  for (int i = 0; i < r->picks.count && used < sizeof words; i++)
    used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", i ? " " : "", r->picks.item[i].word);
  return FAIL(ERROR_USAGE, "an axis's name on the command line chooses among its values: see 'sweep plan' without it",
              "command line: the study has no run with %s", words);
}

int study_expand(struct study_reader *r) {
  expander x = {.reader = r};
  int code = ERROR_NONE;
  for (int i = 0; i < r->part_count && !code; i++) code = expand_part(&x, &r->part[i]);
  for (int i = 0; i < r->part_count && !code; i++) code = check_excludes(r, &r->part[i]);
  for (int i = 0; i < r->part_count && !code && !r->picks.count; i++) code = check_tunes(&r->part[i]);
  if (!code && !x.count) code = refuse_nothing(r);
  if (!code) code = arena_take(r->memory, (size_t)x.count, sizeof *x.run, &r->out->runs);
  study_group *groups = NULL;
  if (!code) code = arena_take(r->memory, (size_t)x.group_count, sizeof *groups, &groups);
  if (!code) {
    memcpy(r->out->runs, x.run, (size_t)x.count * sizeof *x.run);
    if (x.group_count) memcpy(groups, x.group, (size_t)x.group_count * sizeof *groups);
    r->out->groups = groups;
    r->out->run_count = x.count;
    r->out->group_count = x.group_count;
  }
  free(x.run);
  free(x.group);
  return code;
}
