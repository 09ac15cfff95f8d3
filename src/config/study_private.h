/* A study as it is written, before it becomes a list of runs: read by study_parse.c, turned into runs by study_expand.c.
 *
 * Private to src/config. Not collective, not thread-safe. All of it lives in the arena of the reader.
 */
#ifndef PEFTSCALE_CONFIG_STUDY_PRIVATE_H
#define PEFTSCALE_CONFIG_STUDY_PRIVATE_H

#include "base/arena.h"
#include "config/config.h"
#include "config/study.h"
#include "config/yaml.h"

enum {
  STUDY_STAGE_COUNT = 64,
  STUDY_AXIS_COUNT = 64,
  STUDY_LIST_COUNT = 1000,
  STUDY_KEY_COUNT = 256,
  STUDY_NAME_BYTES = 65,
  STUDY_PLACE_BYTES = 4096 + 32
}; /* limits */

/* "train.lr=1e-3" and where it is written. The key "ranks" is none of a configuration's: it sets the number of ranks. */
typedef struct study_setting {
  const char *key, *value, *word, *origin;
} study_setting;

typedef struct study_settings {
  study_setting *item;
  int count;
} study_settings;

/* An element of an axis: all that it sets, and what a label or a pair of an exclude calls it. */
typedef struct study_choice {
  const char *text;  /* "lora" of the axis method.name; a written label; "" of a mapping without one where the axis is no key */
  const char *shown; /* in the labels of runs: "method=lora" */
  int has_label;
  study_settings settings;
} study_choice;

typedef struct study_axis {
  const char *name; /* a key ("method.name", "train.lr", "ranks") or, if all its elements are mappings, any word */
  const char *origin;
  int wheel; /* axes of one number turn together (zip)                                     */
  study_choice *choice;
  int count;
} study_axis;

typedef struct study_axes {
  study_axis *axis;
  int count;
} study_axes;

typedef struct study_exclude {
  study_settings pairs; /* key and value; a value may list several: "lora,red" */
  const char *origin;
  int has_matched;
} study_exclude;

typedef struct study_method {
  const char *name;
  study_settings settings;
} study_method;

/* tune.key and tune.values for a method, for a task and method, or for all the others. */
typedef struct study_tuned_key {
  const char *method; /* "default": all that are not named */
  const char *key, *origin;
} study_tuned_key;

typedef struct study_tuned_values {
  const char *task, *method; /* task "": any; method "default": all that are not named */
  const char *name_origin, *origin;
  study_setting *value; /* key and word are left out: the key depends on the method */
  int count;
  int has_matched;
} study_tuned_values;

typedef struct study_tune {
  study_tuned_key *key;
  int key_count;
  study_tuned_values *values;
  int values_count;
  study_settings set; /* of trials: tune.set, tune.seed, output.test=false */
  const char *origin;
} study_tune;

/* What a stage takes over from the study, or says itself. */
typedef struct study_part {
  const char *name, *origin;
  study_settings base;
  int ranks;
  study_axes grid, zip;
  study_exclude *exclude; /* of the study: shared by all stages that take them over */
  int exclude_count;
  study_method *methods; /* several may have one name: a stage's follow the study's */
  int method_count;
  study_settings seeds;
  study_tune *tune; /* NULL: nothing is tuned */
} study_part;

struct study_reader {
  arena *memory;
  study_request request; /* its path and words are the caller's and gone after study_read */
  config_cache *cache;
  config *scratch; /* defaults of every key but the methods' own: to check values and to suggest names */
  config_yaml yaml;
  study *out;
  study_part *part; /* the stages; one without a name where the study has none */
  int part_count;
  study_settings words; /* of the command line, those that set                         */
  study_settings picks; /* of the command line, those that choose: "stage", axes, seed */
  int ranks;            /* of the command line; 0: not said                            */
};

/* ---- study_parse.c ---- */

/* Fills in out's texts and the parts from reader->yaml. */
int study_parse(struct study_reader *r);
/* Letters, digits and - _ . that name a study or a stage. */
int study_is_name(const char *text);

/* ---- study_settings.c ---- */

/* A mapping of settings; with `label` not NULL it may have a label, too. Errors: ERROR_USAGE with the place. */
int study_read_settings(struct study_reader *r, const yaml_node_t *node, const char **label, study_settings *result);
/* A mapping of which neither keys nor values are checked. */
int study_read_pairs(struct study_reader *r, const yaml_node_t *node, study_settings *result);
/* "FILE:LINE:COLUMN" of a node. */
int study_origin(struct study_reader *r, const yaml_node_t *node, const char **origin);
int study_make_setting(struct study_reader *r, const char *key, const char *value, const char *origin, study_setting *result);
/* Checks a value of any key but a method's own. Errors: ERROR_USAGE without place. */
int study_check_value(struct study_reader *r, const char *key, const char *value);
/* Is it a key that a study may set: "ranks", one that a configuration has, or one that a method may have ("method.xyz")? */
int study_is_key(const char *key);
/* One list after the other; `result` may be one of the two. */
int study_join_settings(arena *memory, const study_settings *a, const study_settings *b, study_settings *result);
/* The value of the last setting of a key; NULL where there is none. */
const char *study_find_setting(const study_settings *s, const char *key);
/* Are two values one (also as numbers)? Is a value `wanted`, or among its words, "lora,red"? */
int study_value_equals(const char *a, const char *b);
int study_value_among(const char *value, const char *wanted);
/* "method.name" is shown as "method". Returns `buffer`. */
const char *study_short_key(const char *key, char buffer[2 * YAML_KEY_BYTES]);

/* ---- study_axes.c ---- */

/* Axes that vary by themselves, and lists that go together (one mapping of them, or a list of such mappings). */
int study_read_grid(struct study_reader *r, const yaml_node_t *node, study_axes *result);
int study_read_zip(struct study_reader *r, const yaml_node_t *node, study_axes *result);

/* ---- study_tune.c ---- */

int study_read_tune(struct study_reader *r, const yaml_node_t *node, study_tune **result);
/* What a run of a task and a method tunes. Errors: ERROR_USAGE where the study does not say, or a value does not fit the key. */
int study_find_tuned(struct study_reader *r, const study_part *p, const char *task, const char *method, const char **key, study_tuned_values **values);

/* ---- study_words.c ---- */

/* Sorts the words of the command line into words, picks and ranks. */
int study_read_words(struct study_reader *r);
/* Is there an axis of this name or one that sets the key, or are there seeds? */
int study_part_varies(const study_part *p, const char *key);

/* ---- study_expand.c ---- */

/* The runs of all parts. */
int study_expand(struct study_reader *r);

/* ---- study_verify.c ---- */

/* Composes as few runs as show that all of them can be. */
int study_verify(struct study_reader *r);

#endif
