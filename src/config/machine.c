#include "config/machine.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "config/catalog.h"
#include "config/yaml.h"

/* WORD, FLAGS and the like are put into batch scripts and on command lines: what a shell would take for more than a word is refused. */
typedef enum key_type { KEY_CHOICE, KEY_WORD, KEY_WORDS, KEY_FLAGS, KEY_ENVIRONMENT, KEY_TIME, KEY_WHOLE } key_type;

typedef struct key {
  const char *name;
  key_type type;
  size_t offset, count_offset; /* of the field, of a list's length */
  int low, high;               /* KEY_WHOLE */
  const char *const *choices;
  const char *preset, *help;
} key;

enum { LIST_COUNT = 256, DAY_S = 86400, LONGEST_S = 366 * DAY_S };

static const char *const scheduler_words[] = {"none", "slurm", "pbs", NULL};
static const char *const launcher_words[] = {"mpirun", "srun", NULL};
static const char *const type_names[] = {"one of", "word", "list of words", "list of flags", "list of NAME=VALUE", "H:MM:SS or D-HH:MM:SS", "whole number"};

#define FIELD(member) offsetof(machine_settings, member)
static const key keys[] = {
    {"scheduler", KEY_CHOICE, FIELD(scheduler), 0, 0, 0, scheduler_words, "none", "batch system that takes the jobs"},
    {"launcher", KEY_CHOICE, FIELD(launcher), 0, 0, 0, launcher_words, "mpirun", "what starts the ranks"},
    {"launcher_flags", KEY_FLAGS, FIELD(launcher_flags), FIELD(launcher_flag_count), 0, 0, NULL, "", "words for the launcher, before its own -np or -n"},
    {"partition", KEY_WORD, FIELD(partition), 0, 0, 0, NULL, "", "partition or queue"},
    {"account", KEY_WORD, FIELD(account), 0, 0, 0, NULL, "", "account that is charged"},
    {"qos", KEY_WORD, FIELD(qos), 0, 0, 0, NULL, "", "quality of service"},
    {"time_limit", KEY_TIME, FIELD(time_limit), 0, 0, 0, NULL, "", "of a job; empty: the scheduler's own"},
    {"signal_s", KEY_WHOLE, FIELD(signal_s), 0, 1, DAY_S, NULL, "120", "seconds before the limit at which a job is told to save and end"},
    {"modules", KEY_WORDS, FIELD(modules), FIELD(module_count), 0, 0, NULL, "", "environment modules to load"},
    {"interface", KEY_WORD, FIELD(interface), 0, 0, 0, NULL, "", "network interface of TCP traffic; empty: MPI's choice"},
    {"cores_per_node", KEY_WHOLE, FIELD(cores_per_node), 0, 0, 65536, NULL, "0", "0: not known"},
    {"array_limit", KEY_WHOLE, FIELD(array_limit), 0, 1, 10000000, NULL, "1000", "largest index of an array + 1 that the scheduler takes"},
    {"max_running", KEY_WHOLE, FIELD(max_running), 0, 0, 1000000, NULL, "0", "tasks of an array that run at a time; 0: no cap"},
    {"environment", KEY_ENVIRONMENT, FIELD(environment), FIELD(environment_count), 0, 0, NULL, "", "variables to set"},
};

enum { KEY_COUNT = sizeof keys / sizeof *keys };

static int is_word(const char *text) { return !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:@,/+-=")] && *text != '-'; }

/* Visible characters and spaces of one line. */
static int is_line(const char *text) {
  for (const unsigned char *place = (const unsigned char *)text; *place; place++)
    if (*place < 0x20 || *place == 0x7f) return 0;
  return 1;
}

static int is_assignment(const char *text) {
  size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
  return length && text[length] == '=' && !(*text >= '0' && *text <= '9') && is_line(text);
}

/* The seconds of "1:30:00" or "2-01:30:00"; -1 if it is none. */
static int seconds_of(const char *text) {
  int days = 0, hours, minutes, seconds, used = 0;
  const char *dash = strchr(text, '-');
  if (text[strspn(text, "0123456789:-")] || strlen(text) > 16) return -1;
  if (dash && (sscanf(text, "%4d-%n", &days, &used) != 1 || text + used != dash + 1)) return -1;
  text = dash ? dash + 1 : text;
  used = 0;
  if (sscanf(text, "%5d:%2d:%2d%n", &hours, &minutes, &seconds, &used) != 3 || text[used] || hours < 0 || minutes < 0 || seconds < 0) return -1;
  int64_t total = (int64_t)days * DAY_S + (int64_t)hours * 3600 + minutes * 60 + seconds;
  return minutes < 60 && seconds < 60 && (!dash || hours < 24) && total > 0 && total <= LONGEST_S ? (int)total : -1;
}

static int refuse_choice(const config_yaml *y, const yaml_node_t *node, const key *k, const char *text) {
  char hint[128] = "one of:";
  size_t used = strlen(hint);
  int count = 0;
  for (; k->choices[count]; count++) used += (size_t)snprintf(hint + used, sizeof hint - used, "%s %s", count ? "," : "", k->choices[count]);
  int near = text_nearest(text, k->choices, count);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", k->choices[near]);
  return config_yaml_refuse(y, node, hint, "%s: there is no '%.100s'", k->name, text);
}

static int read_choice(const config_yaml *y, const yaml_node_t *node, const key *k, const char *text, void *field) {
  for (int i = 0; k->choices[i]; i++)
    if (!strcmp(k->choices[i], text)) {
      if (k->choices == scheduler_words) *(machine_scheduler *)field = (machine_scheduler)i;
      else *(machine_launcher *)field = (machine_launcher)i;
      return ERROR_NONE;
    }
  return refuse_choice(y, node, k, text);
}

static int read_whole(const config_yaml *y, const yaml_node_t *node, const key *k, const char *text, int *value) {
  int64_t whole;
  if (text_to_int(text, &whole)) return config_yaml_refuse(y, node, NULL, "%s: '%.100s' is not a whole number", k->name, text);
  if (whole < k->low || whole > k->high)
    return config_yaml_refuse(y, node, NULL, "%s: %lld is out of range: it must be from %d to %d", k->name, (long long)whole, k->low, k->high);
  *value = (int)whole;
  return ERROR_NONE;
}

static int read_list(arena *memory, const config_yaml *y, const yaml_node_t *node, const key *k, const char *const **list, int *count) {
  const char **texts;
  if (node->type != YAML_SEQUENCE_NODE) return config_yaml_refuse(y, node, "write [one, two]", "%s: a list is expected", k->name);
  size_t room = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
  if (room > LIST_COUNT) return config_yaml_refuse(y, node, NULL, "%s: more than %d elements", k->name, LIST_COUNT);
  TRY(arena_take(memory, room, sizeof *texts, &texts));
  for (size_t i = 0; i < room; i++) {
    const yaml_node_t *element = config_yaml_node(y, node->data.sequence.items.start[i]);
    char *text;
    if (element->type != YAML_SCALAR_NODE) return config_yaml_refuse(y, element, NULL, "%s: an element is a single value", k->name);
    TRY(config_yaml_value(memory, y, element, k->name, &text));
    int fits = k->type == KEY_WORDS ? is_word(text) && *text : k->type == KEY_FLAGS ? is_line(text) && *text : is_assignment(text);
    if (!fits) return config_yaml_refuse(y, element, NULL, "%s: '%.100s' is no element of a %s", k->name, text, type_names[k->type]);
    texts[i] = text;
  }
  *list = texts;
  *count = (int)room;
  return ERROR_NONE;
}

static int read_key(arena *memory, const config_yaml *y, const yaml_node_t *node, const key *k, machine_settings *m) {
  char *text;
  void *field = (char *)m + k->offset;
  if (k->type == KEY_WORDS || k->type == KEY_FLAGS || k->type == KEY_ENVIRONMENT)
    return read_list(memory, y, node, k, field, (int *)((char *)m + k->count_offset));
  if (node->type == YAML_SEQUENCE_NODE) return config_yaml_refuse(y, node, NULL, "%s: a single value is expected, not a list", k->name);
  TRY(config_yaml_value(memory, y, node, k->name, &text));
  if (k->type == KEY_CHOICE) return read_choice(y, node, k, text, field);
  if (k->type == KEY_WHOLE) return read_whole(y, node, k, text, field);
  if (k->type == KEY_TIME && *text) {
    m->time_limit_s = seconds_of(text);
    if (m->time_limit_s < 0)
      return config_yaml_refuse(y, node, "hours, minutes and seconds, also with days: 1-12:00:00", "%s: '%.100s' is not of the form H:MM:SS", k->name, text);
  }
  if (k->type == KEY_WORD && !is_word(text)) return config_yaml_refuse(y, node, NULL, "%s: '%.100s' is not a plain word", k->name, text);
  *(const char **)field = text;
  return ERROR_NONE;
}

/* Keys that hold against each other. */
static int check_together(const machine_settings *m) {
  if (m->launcher == LAUNCHER_SRUN && m->scheduler != SCHEDULER_SLURM)
    return FAIL(ERROR_USAGE, "write 'scheduler: slurm', or 'launcher: mpirun'", "%s: srun starts ranks under SLURM only", m->path);
  if (m->time_limit_s && m->signal_s >= m->time_limit_s)
    return FAIL(ERROR_USAGE, "a job needs time to train before it is told to save", "%s: signal_s is %d, the whole time_limit %s", m->path, m->signal_s,
                m->time_limit);
  return ERROR_NONE;
}

static int read_root(arena *memory, const config_yaml *y, machine_settings *m) {
  const char *names[KEY_COUNT];
  const yaml_node_t *root = config_yaml_root(y), *part[KEY_COUNT] = {0};
  for (int i = 0; i < KEY_COUNT; i++) names[i] = keys[i].name;
  if (root) TRY(config_yaml_parts(memory, y, root, "a machine file", names, KEY_COUNT, part));
  for (int i = 0; i < KEY_COUNT; i++)
    if (part[i]) TRY(read_key(memory, y, part[i], &keys[i], m));
  return check_together(m);
}

/* The path of a name, and the name of a path. */
static int find_file(arena *memory, const char *root, const char *name, machine_settings *m) {
  char path[PATH_MAX], *copy;
  size_t length = strlen(name);
  int exists, is_path = strchr(name, '/') || (length > 5 && !strcmp(name + length - 5, ".yaml"));
  if (is_path) {
    TRY(text_format(path, sizeof path, "%s", name));
    name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
  } else {
    if (!root) return FAIL(ERROR_USAGE, "give the path of its file", "there is no directory of configurations to find the machine '%.100s' in", name);
    TRY(config_catalog_path(root, "machine", name, path, sizeof path, &exists));
    if (!exists) return config_catalog_refuse(root, "machine", name);
  }
  TRY(arena_copy_text(memory, path, &copy));
  m->path = copy;
  TRY(arena_copy_text(memory, name, &copy));
  length = strlen(copy);
  if (is_path && length > 5 && !strcmp(copy + length - 5, ".yaml")) copy[length - 5] = 0;
  m->name = copy;
  return ERROR_NONE;
}

static int read_machine(arena *memory, const char *root, const char *name, machine_settings *m) {
  config_yaml y;
  if (!*name) return ERROR_NONE;
  TRY(find_file(memory, root, name, m));
  TRY(config_yaml_read(m->path, &y));
  int code = read_root(memory, &y, m);
  config_yaml_close(&y);
  return code;
}

int machine_settings_read(const char *root, const char *name, machine_settings **result) {
  arena *memory;
  machine_settings *m;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *m, &m);
  if (!code) {
    *m = (machine_settings){.name = "", .path = "", .partition = "", .account = "", .qos = "", .time_limit = "", .interface = "", .memory = memory};
    m->signal_s = 120;
    m->array_limit = 1000;
    code = read_machine(memory, root, name, m);
  }
  if (code) arena_destroy(memory);
  else *result = m;
  return code;
}

void machine_settings_destroy(machine_settings *m) {
  if (m) arena_destroy(m->memory);
}

void machine_settings_print_keys(FILE *file) {
  fprintf(file, "%-16s  %-8s  %-40s  %s\n", "key", "default", "value", "meaning");
  for (int i = 0; i < KEY_COUNT; i++) {
    char value[128];
    size_t used = (size_t)snprintf(value, sizeof value, "%s", type_names[keys[i].type]);
    if (keys[i].type == KEY_WHOLE) snprintf(value + used, sizeof value - used, " %d..%d", keys[i].low, keys[i].high);
    for (int k = 0; keys[i].choices && keys[i].choices[k]; k++)
      used += (size_t)snprintf(value + used, sizeof value - used, "%s %s", k ? "," : "", keys[i].choices[k]);
    fprintf(file, "%-16s  %-8s  %-40s  %s\n", keys[i].name, *keys[i].preset ? keys[i].preset : "\"\"", value, keys[i].help);
  }
}
