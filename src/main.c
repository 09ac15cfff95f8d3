/* The program: finds the verb, starts MPI where the verb wants it, prints an error once, and turns it into an exit status. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "linalg/linalg.h"

static const verb *const verbs[] = {&verb_train, &verb_evaluate, &verb_predict, &verb_search, &verb_export, &verb_import, &verb_merge,
                                    &verb_check, &verb_count,    &verb_comm,    &verb_config, &verb_sweep,  &verb_list,   &verb_info};
enum { VERBS = sizeof verbs / sizeof *verbs };
/* A verb's word that is an MPI program of its own. */
static const verb *const second_verbs[] = {&verb_sweep_work};
enum { SECOND_VERBS = sizeof second_verbs / sizeof *second_verbs };

static void print_help(FILE *file) {
  fprintf(file,
          "peftscale: parameter-efficient fine-tuning methods compared under identical distributed runs\n"
          "\n"
          "usage: peftscale VERB [arguments]        (peftscale VERB --help explains each, with an example)\n"
          "\n");
  for (int i = 0; i < VERBS; i++) fprintf(file, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
  fprintf(file, "\nexit status: 0 done, 1 failed, 2 wrong usage, 75 stopped at a checkpoint\n");
}

/* *words: how many of the arguments name it. */
static int find_verb(char **argv, int count, const verb **result, int *words) {
  const char *name = argv[0], *names[VERBS];
  char hint[128] = "see: peftscale --help", two[128];
  snprintf(two, sizeof two, "%.60s %.60s", name, count > 1 ? argv[1] : "");
  *words = 2;
  for (int i = 0; i < SECOND_VERBS; i++)
    if (!strcmp(second_verbs[i]->name, two)) {
      *result = second_verbs[i];
      return ERROR_NONE;
    }
  *words = 1;
  for (int i = 0; i < VERBS; i++) {
    names[i] = verbs[i]->name;
    if (strcmp(names[i], name)) continue;
    *result = verbs[i];
    return ERROR_NONE;
  }
  int near = text_nearest(name, names, VERBS);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'? See: peftscale --help", names[near]);
  return FAIL(ERROR_USAGE, hint, "there is no verb '%s'", name);
}

static int wants_help(int argc, char **argv) {
  for (int i = 0; i < argc; i++)
    if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return 1;
  return 0;
}

static int check_output(void) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return ERROR_NONE;
  return FAIL(ERROR_SYSTEM, NULL, "standard output: %s", strerror(errno));
}

static int fail(void) {
  log_error(error_last());
  return error_exit_status(error_last()->code);
}

int main(int argc, char **argv) {
  comm *c = NULL;
  signal(SIGPIPE, SIG_DFL);
  signal(SIGXFSZ, SIG_IGN); /* a file that grows beyond a limit is an error with a message, not a death */
  if (argc < 2) {
    print_help(stderr);
    return 2;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    print_help(stdout);
    return 0;
  }
  const verb *v = NULL;
  int words, code = find_verb(argv + 1, argc - 1, &v, &words), own = argc - 1 - words;
  if (v && wants_help(own, argv + 1 + words)) {
    fputs(v->help, stdout);
    return 0;
  }
  if (v == &verb_comm) verb_comm_prepare(own, argv + 1 + words);
  if (v ? v->uses_mpi : comm_is_launched()) { /* a wrong verb of several processes is reported by one of them */
    if (comm_initialize(&argc, &argv, &c)) return fail();
    int speaks = comm_rank(c) == 0, alone = comm_check_launcher(c, &speaks);
    log_setup(speaks, LOG_NORMAL);
    code = comm_agree(c, alone ? alone : code ? code : linalg_setup());
  }
  if (!code) code = v->act(c, own, argv + 1 + words);
  if (!code) code = check_output();
  int status = code ? fail() : 0;
  comm_finalize(c);
  /* After any error, also one that a sweep has got over: no handlers at exit. HDF5's crashes where a file could not be closed (a full disk), and would hide the
   * status. */
  if (status || error_last()->code) {
    fflush(NULL);
    _exit(status);
  }
  return 0;
}
