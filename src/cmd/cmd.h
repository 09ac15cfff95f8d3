/* The verbs of the program: each reads its arguments, calls the library and prints. Nothing here is worth calling from a test but the program itself.
 *
 * Results go to standard output, everything else to standard error (base/log.h).
 */
#ifndef PEFTSCALE_CMD_H
#define PEFTSCALE_CMD_H

#include "comm/comm.h"
#include "config/config.h"

typedef struct verb {
  const char *name; /* one word, or two with a space between ("sweep work") */
  const char *summary, *help;
  int uses_mpi; /* runs under mpirun; `c` is NULL for the others */
  int (*act)(comm *c, int argc, char **argv);
} verb;

extern const verb verb_train, verb_evaluate, verb_predict, verb_search, verb_export, verb_import, verb_merge, verb_check, verb_count, verb_comm, verb_config,
    verb_sweep, verb_sweep_work, verb_list, verb_info;

/* Not collective, before MPI starts: what `comm` has to tell it. */
void verb_comm_prepare(int argc, char **argv);

/* ---- arguments (arguments.c) ---- */

/* A flag: --name (present: *set = 1) or, with value not NULL, --name VALUE. */
typedef struct flag {
  const char *name;
  const char **value;
  int *set;
} flag;

enum { ARGUMENTS_MAX = 256 };

/* Everything that is no flag: words with '=' are assignments, the others positional. */
typedef struct arguments {
  const char *words[ARGUMENTS_MAX], *assignments[ARGUMENTS_MAX];
  int word_count, assignment_count;
} arguments;

/* Errors: ERROR_USAGE with the nearest flag. */
int arguments_parse(const char *verb_name, int argc, char **argv, const flag *flags, int flag_count, arguments *result);

/* Collective. Errors: ERROR_USAGE where the ranks were started with different words: they would wait for each other for ever. */
int arguments_agree(comm *c, int argc, char **argv);

/* Prints a cJSON object with a line end on standard output and deletes it. */
struct cJSON;
void print_json_object(struct cJSON *object);

/* Adds a number with all its digits, of which cJSON's own drops the last ones; null if it is not finite. */
void add_json_number(struct cJSON *object, const char *name, double value);

/* A verb's closing line: the path of what was written, or with json {KIND: PATH}. */
void print_written(const char *kind, const char *path, int json);

/* Where configs/ is: PEFTSCALE_CONFIGS, ./configs, beside the program's build folder, or PREFIX/share/peftscale/configs. Errors: ERROR_INPUT. */
int configs_root(char *path, size_t bytes);

/* The configuration of positional study files and assignments. */
int compose_arguments(const arguments *a, config **result);

/* The stored configuration of a run file, with assignments over it. */
int restore_arguments(const char *run_path, const arguments *a, config **result);

#endif
