#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "cmd/sweep.h"
#include "config/machine.h"
#include "method/method.h"
#include "sweep/attempts.h"
#include "sweep/claim.h"
#include "sweep/count.h"
#include "sweep/launch.h"
#include "sweep/submit.h"
#include "sweep/tidy.h"
#include "sweep/work.h"

/* What all of them take. */
typedef struct common {
  arguments words;
  const char *results, *machine, *jobs;
  int json, all;
  char root[PATH_MAX];
} common;

static int whole_number(const char *flag_name, const char *text, int64_t least, int64_t most, int64_t *value) {
  if (!text_to_int(text, value) && *value >= least && *value <= most) return ERROR_NONE;
  return FAIL(ERROR_USAGE, NULL, "--%s %.40s is no whole number from %lld to %lld", flag_name, text, (long long)least, (long long)most);
}

/* Where the commands of our studies put data and weights, for who does not say otherwise. */
static int set_places(const char *root) {
  const char *cache = getenv("PEFTSCALE_CACHE"), *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char place[PATH_MAX + 32];
  TRY(text_format(place, sizeof place, "%s/../build/data", root));
  setenv("PEFTSCALE_DATA", place, 0);
  if (cache && *cache) TRY(text_format(place, sizeof place, "%s", cache));
  else if (caches && *caches) TRY(text_format(place, sizeof place, "%s/peftscale", caches));
  else if (home && *home) TRY(text_format(place, sizeof place, "%s/.cache/peftscale", home));
  else return ERROR_NONE;
  setenv("PEFTSCALE_ASSETS", place, 0);
  return ERROR_NONE;
}

static int parse(const char *name, int argc, char **argv, const flag *flags, int flag_count, common *c) {
  TRY(arguments_parse(name, argc, argv, flags, flag_count, &c->words));
  if (c->words.word_count != 1) {
    char hint[100];
    snprintf(hint, sizeof hint, "for example: peftscale %s experiments/quickstart/study.yaml", name);
    return FAIL(ERROR_USAGE, hint, c->words.word_count ? "one study at a time: '%s' and '%s'" : "which study?", c->words.word_count ? c->words.words[0] : "",
                c->words.word_count ? c->words.words[1] : "");
  }
  TRY(configs_root(c->root, sizeof c->root));
  return set_places(c->root);
}

static plan_request request_of(const common *c) {
  return (plan_request){.study = {.path = c->words.words[0],
                                  .root = c->root,
                                  .method_options = method_options,
                                  .assignments = c->words.assignments,
                                  .assignment_count = c->words.assignment_count},
                        .results = c->results};
}

static int make_plan(const common *c, plan **result) {
  const plan_request request = request_of(c);
  return plan_create(&request, result);
}

/* Whether every run of a part is a run of the whole: its words only chose among these. */
static int is_part_of(const plan *part, const plan *whole) {
  for (int i = 0; i < part->count; i++)
    if (*part->runs[i].id && plan_find(whole, part->runs[i].id) < 0) return 0;
  return 1;
}

/* Writes the index, of the whole study also where words chose a part of it: for who looks at the results it is one study. Of runs with other settings, which
 * the study does not have, it is written only if `always`: then they are what the results hold. */
static int save_index(const common *c, const plan *p, int always) {
  plan_request request = request_of(c);
  plan *whole;
  if (c->words.assignment_count == 0) return plan_save(p);
  request.study.assignment_count = 0;
  request.results = p->results;
  if (plan_create(&request, &whole)) return always ? plan_save(p) : ERROR_NONE;
  int code = is_part_of(p, whole) ? plan_save(whole) : always ? plan_save(p) : ERROR_NONE;
  plan_destroy(whole);
  return code;
}

/* ---- plan, status ---- */

/* Some steps of each kind of run whose rate is not known, one kind after another with the machine to itself. What cannot be measured is told and left open. */
static int measure(const common *c, plan *p, cost *costs) {
  machine_settings *machine;
  TRY(machine_settings_read(c->root, c->machine ? c->machine : "", &machine));
  const launch_request request = {.plan = p, .cost = costs, .machine = machine};
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->same_as >= 0 || entry->state == PLAN_DONE || entry->state == PLAN_STALE || cost_rate_is_known(costs, i)) continue;
    log_progress("measuring %s, %s, %d rank%s", *entry->model ? entry->model : "the model", entry->method, entry->asked->ranks,
                 entry->asked->ranks == 1 ? "" : "s");
    if (launch_probe(&request, i)) log_warning("%s", error_last()->text);
    cost_measure(costs);
  }
  log_progress("%s", "");
  machine_settings_destroy(machine);
  return ERROR_NONE;
}

static int act_plan(common *c, int argc, char **argv) {
  int measures = 0;
  plan *p;
  cost *costs;
  const flag flags[] = {
      {"results", &c->results, NULL}, {"machine", &c->machine, NULL}, {"json", NULL, &c->json}, {"all", NULL, &c->all}, {"measure", NULL, &measures}};
  TRY(parse("sweep plan", argc, argv, flags, 5, c));
  TRY(make_plan(c, &p));
  int code = cost_create(p, &costs);
  if (!code && measures) code = measure(c, p, costs);
  if (!code && c->json) code = sweep_print_json(p, costs);
  else if (!code) sweep_print_plan(p, costs, c->all);
  cost_destroy(costs);
  plan_destroy(p);
  return code;
}

static int act_status(common *c, int argc, char **argv) {
  const flag flags[] = {{"results", &c->results, NULL}, {"json", NULL, &c->json}, {"all", NULL, &c->all}};
  plan *p;
  TRY(parse("sweep status", argc, argv, flags, 3, c));
  TRY(make_plan(c, &p));
  int code = ERROR_NONE;
  if (c->json) code = sweep_print_json(p, NULL);
  else sweep_print_status(p, c->all);
  if (!code && access(p->results, W_OK) == 0) save_index(c, p, 0); /* the next look is faster, and others read it; who may not write has no use for it */
  plan_destroy(p);
  return code;
}

/* ---- retry ---- */

static int is_to_be_forgotten(const plan_run *entry, int is_stale) {
  return entry->state == PLAN_FAILED || (is_stale && entry->state == PLAN_STALE && !entry->archived);
}

/* A finished file that cannot be used (damaged, another's, of a newer version) stands in the way of the next attempt: it is put aside. Of other sources:
 * removed. */
static int clear_place(const char *path, int is_stale) {
  char aside[PLAN_PATH_BYTES];
  if (access(path, F_OK)) return ERROR_NONE;
  TRY(text_format(aside, sizeof aside, "%s.unusable", path));
  if (is_stale ? unlink(path) == 0 : rename(path, aside) == 0) return ERROR_NONE;
  return FAIL(ERROR_SYSTEM, NULL, "%s: cannot be %s: %s", path, is_stale ? "removed" : "put aside", strerror(errno));
}

/* Forgets how the runs ended that failed (with is_stale: removes the files of those that other sources made). */
static int forget(plan *p, plan_run *entry, int is_stale, int *count) {
  char path[PLAN_PATH_BYTES];
  claim *held;
  if (entry->same_as >= 0 || !*entry->name || !is_to_be_forgotten(entry, is_stale)) return ERROR_NONE;
  TRY(plan_path(p, entry, path));
  TRY(claim_take(path, &held));
  if (!held) return ERROR_NONE;
  plan_look_at(p, entry); /* another may have tried it again since we looked, and done it */
  if (!is_to_be_forgotten(entry, is_stale)) {
    claim_release(held);
    return ERROR_NONE;
  }
  attempts_clear(path);
  int code = clear_place(path, entry->state == PLAN_STALE);
  if (code) {
    claim_release(held);
    return code;
  }
  claim_release(held);
  ++*count;
  return ERROR_NONE;
}

static int act_retry(common *c, int argc, char **argv) {
  int stale = 0, count = 0, code = ERROR_NONE;
  plan *p;
  const flag flags[] = {{"results", &c->results, NULL}, {"stale", NULL, &stale}};
  TRY(parse("sweep retry", argc, argv, flags, 2, c));
  TRY(make_plan(c, &p));
  for (int i = 0; !code && p->study->action == STUDY_TRAIN && i < p->count; i++) code = forget(p, &p->runs[i], stale, &count);
  if (!code) code = plan_look(p);
  if (!code) code = save_index(c, p, 0);
  if (!code) printf("%d run%s will be tried again (peftscale sweep run %s)\n", count, count == 1 ? "" : "s", c->words.words[0]);
  plan_destroy(p);
  return code;
}

/* ---- run ---- */

/* The one that has the libraries; another may come first on PATH. */
static const char *python_of(void) {
  const char *named = getenv("PYTHON");
  return named && *named ? named : "/usr/bin/python3";
}

/* The table is Python's, with the project's folder among the places of its modules. */
static int print_table(const common *c, const plan *p) {
  const char *python = python_of(), *before = getenv("PYTHONPATH");
  const char *const words[] = {python, "-m", "analysis", "table", "--study", p->results, NULL};
  char path[2 * PATH_MAX];
  const char *const environment[] = {path};
  const process_request request = {.words = words, .environment = environment, .environment_count = 1};
  int status;
  TRY(text_format(path, sizeof path, "PYTHONPATH=%s/..%s%s", c->root, before && *before ? ":" : "", before ? before : ""));
  TRY(process_run(&request, NULL, 0, &status));
  if (status) log_warning("no table: %s -m analysis table --study %s failed", python, p->results);
  return ERROR_NONE;
}

/* What the runs read and is not there is made by the commands of the study file, in the project's folder. */
static int prepare(const common *c, const plan *p, cost **costs, int allowed) {
  const char *missing, *python = python_of(), *slash = strrchr(python, '/'), *others = getenv("PATH");
  char path[2 * PATH_MAX];
  int before = -1;
  TRY(text_format(path, sizeof path, "PATH=%.*s%s%s", (int)(slash ? slash - python : 0), python, slash ? ":" : "", others ? others : "/usr/bin:/bin"));
  TRY(cost_create(p, costs));
  while ((missing = cost_missing_input(*costs))) {
    int place = study_find_data(p->study, missing), status;
    char name[256], command[4096], hint[4200];
    const char *const words[] = {"sh", "-c", command, c->root, NULL}, *const environment[] = {path};
    const process_request request = {.words = words, .environment = environment, .environment_count = 1};
    if (place < 0) return ERROR_NONE; /* the runs that need it say where they looked */
    TRY(text_format(command, sizeof command, "cd \"$0/..\" && %s", p->study->data[place].command));
    snprintf(hint, sizeof hint, "prepare it: %.4000s", p->study->data[place].command);
    if (!allowed) return FAIL(ERROR_INPUT, hint, "'%s' is not there", missing);
    if (place == before) return FAIL(ERROR_INPUT, hint, "'%s' is still not there after it was made", missing);
    snprintf(name, sizeof name, "%s", missing);
    log_info("making %s: %s", name, p->study->data[place].command);
    TRY(process_run(&request, NULL, 0, &status));
    if (status) return FAIL(ERROR_INPUT, hint, "'%s' is not there, and the command that makes it failed", name);
    cost_destroy(*costs);
    *costs = NULL;
    before = place;
    TRY(cost_create(p, costs));
  }
  return ERROR_NONE;
}

static int conclude(const plan *p, const launch_result *result) {
  int unfinished = p->distinct - p->counts[PLAN_DONE] - p->counts[PLAN_STALE];
  if (result->stopped && unfinished) return FAIL(ERROR_STOPPED, "the same command goes on", "stopped with %d of %d runs to do", unfinished, p->distinct);
  if (!unfinished) return ERROR_NONE;
  return FAIL(ERROR_INPUT, "peftscale sweep status tells why; sweep retry lets failed ones be tried again", "%d of %d runs have no result (%d failed)",
              unfinished, p->distinct, p->counts[PLAN_FAILED]);
}

static int sweep(const common *c, plan *p, int jobs, int prepares, int table) {
  launch_result result = {0};
  machine_settings *machine;
  cost *costs = NULL;
  TRY(machine_settings_read(c->root, c->machine ? c->machine : "", &machine));
  int code = prepare(c, p, &costs, prepares);
  const launch_request request = {.plan = p,
                                  .cost = costs,
                                  .machine = machine,
                                  .study_path = c->words.words[0],
                                  .words = c->words.assignments,
                                  .word_count = c->words.assignment_count,
                                  .jobs = jobs};
  if (!code) log_info("%s: %d of %d runs are done", p->study->name, p->counts[PLAN_DONE] + p->counts[PLAN_STALE], p->distinct);
  if (!code) save_index(c, p, 1); /* for who watches (analysis watch): what is planned. Results that cannot be written to are refused by what follows */
  if (!code) code = launch(&request, &result);
  const error kept = *error_last();
  int saved = save_index(c, p, 1);
  tidy(p);
  cost_destroy(costs);
  machine_settings_destroy(machine);
  if (code) return error_restore(&kept);
  TRY(saved);
  if (table) TRY(print_table(c, p));
  return conclude(p, &result);
}

static int count(const plan *p) {
  int failed;
  TRY(count_study(p, stdout, &failed));
  return failed ? FAIL(ERROR_INPUT, NULL, "%d of %d runs cannot be counted", failed, p->distinct) : ERROR_NONE;
}

/* -j N and -jN, as make has it, in place. */
static int take_jobs(char **argv, int argc) {
  static char joined[ARGUMENTS_MAX][32];
  for (int i = 0; i < argc && i < ARGUMENTS_MAX; i++) {
    if (strncmp(argv[i], "-j", 2)) continue;
    TRY(text_format(joined[i], sizeof joined[i], "--jobs%s%s", argv[i][2] ? "=" : "", argv[i] + 2));
    argv[i] = joined[i];
  }
  return ERROR_NONE;
}

static int act_run(common *c, int argc, char **argv) {
  int64_t jobs = 0;
  int no_table = 0, no_prepare = 0;
  plan *p;
  TRY(take_jobs(argv, argc));
  const flag flags[] = {{"results", &c->results, NULL},
                        {"machine", &c->machine, NULL},
                        {"jobs", &c->jobs, NULL},
                        {"no-table", NULL, &no_table},
                        {"no-prepare", NULL, &no_prepare}};
  TRY(parse("sweep run", argc, argv, flags, 5, c));
  if (c->jobs) TRY(whole_number("jobs", c->jobs, 1, 1024, &jobs));
  TRY(make_plan(c, &p));
  int code = p->study->action == STUDY_COUNT ? count(p) : sweep(c, p, (int)jobs, !no_prepare, !no_table);
  plan_destroy(p);
  return code;
}

/* ---- submit ---- */

static int hand_in(const common *c, plan *p, int64_t pack, int dry_run) {
  char jobs[PATH_MAX + 16], program[PATH_MAX];
  machine_settings *machine;
  cost *costs;
  int count = 0;
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  program[length > 0 ? length : 0] = 0;
  TRY(text_format(jobs, sizeof jobs, "%s/../jobs", c->root));
  TRY(machine_settings_read(c->root, c->machine ? c->machine : "", &machine));
  int code = cost_create(p, &costs);
  const submit_request request = {.plan = p,
                                  .cost = costs,
                                  .machine = machine,
                                  .study_path = c->words.words[0],
                                  .words = c->words.assignments,
                                  .word_count = c->words.assignment_count,
                                  .jobs = jobs,
                                  .program = program,
                                  .pack = (int)pack,
                                  .dry_run = dry_run};
  if (!code) code = submit(&request, stdout, &count);
  cost_destroy(costs);
  machine_settings_destroy(machine);
  TRY(code);
  if (dry_run) printf("nothing was submitted (--dry-run)\n");
  else if (count) printf("%d job%s submitted; what becomes of them: peftscale sweep status %s\n", count, count == 1 ? "" : "s", c->words.words[0]);
  else printf("nothing to submit: no run is open\n");
  return ERROR_NONE;
}

static int act_submit(common *c, int argc, char **argv) {
  const char *pack_text = NULL;
  int64_t pack = 0;
  int dry_run = 0;
  plan *p;
  const flag flags[] = {{"results", &c->results, NULL}, {"machine", &c->machine, NULL}, {"pack", &pack_text, NULL}, {"dry-run", NULL, &dry_run}};
  TRY(parse("sweep submit", argc, argv, flags, 4, c));
  if (pack_text) TRY(whole_number("pack", pack_text, 1, 100000, &pack));
  TRY(make_plan(c, &p));
  int code = hand_in(c, p, pack, dry_run);
  plan_destroy(p);
  return code;
}

/* ---- the verb ---- */

static int act(comm *none, int argc, char **argv) {
  static const struct {
    const char *name;
    int (*act)(common *, int, char **);
  } parts[] = {{"plan", act_plan}, {"run", act_run}, {"status", act_status}, {"submit", act_submit}, {"retry", act_retry}};
  enum { PARTS = sizeof parts / sizeof *parts };
  const char *names[PARTS];
  common c = {0};
  char hint[100] = "plan, run, status, retry, submit, work; see: peftscale sweep --help";
  (void)none;
  log_setup(1, LOG_NORMAL);
  for (int i = 0; i < PARTS; i++) {
    names[i] = parts[i].name;
    if (argc > 0 && !strcmp(argv[0], parts[i].name)) return parts[i].act(&c, argc - 1, argv + 1);
  }
  if (argc == 0) return FAIL(ERROR_USAGE, hint, "sweep: what is to be done?");
  int near = text_nearest(argv[0], names, PARTS);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean 'sweep %s'? See: peftscale sweep --help", names[near]);
  return FAIL(ERROR_USAGE, hint, "there is no 'sweep %s'", argv[0]);
}

const verb verb_sweep = {
    "sweep", "run a whole study: plan, run, submit, status, retry",
    "usage: peftscale sweep plan|run|submit|status|retry STUDY [key=value ...] [flags]\n"
    "\n"
    "STUDY is a study.yaml or its folder (experiments/README.md has the language). Its runs are named by hashes of their configurations and\n"
    "lie in results/STUDY/runs: what is done is not done again, whoever did it and wherever; what failed, was killed or never begun is seen.\n"
    "\n"
    "  plan     what would run, its tokens, and how long from the rates of finished runs\n"
    "  run      do it here: groups of ranks side by side, each taking run after run; then the table. Ctrl-C stops at a checkpoint\n"
    "  submit   the same as jobs of SLURM or PBS (--machine NAME)\n"
    "  status   what is done, running, stopped, failed (with the reason), missing\n"
    "  retry    let failed runs be tried again by the next `run` or job\n"
    "\n"
    "key=value of an axis of the study chooses (method=lora,red  seed=1  stage=NAME); any other is set in every run.\n"
    "\n"
    "  --results DIR    instead of results/STUDY\n"
    "  --json, --all    plan, status: as one object; every run\n"
    "  -j N, --jobs N   run: groups at a time (as many as there are cores for)\n"
    "  --machine NAME   plan, run, submit: settings of configs/machine/NAME.yaml, or a file\n"
    "  --pack K         submit: runs per task of an array (from the time limit and measured rates, else 10)\n"
    "  --dry-run        submit: only print what would be submitted\n"
    "  --measure        plan: makes some steps of each kind of run to know its rate\n"
    "  --no-prepare     run: refuse where data is missing, instead of making it by the study's commands\n"
    "  --no-table       run: without the table in the end\n"
    "  --stale          retry: also finished runs that other sources of the program made; their files are removed\n"
    "\n"
    "environment: PEFTSCALE_MPIRUN (mpirun with its flags), PEFTSCALE_DATA, PEFTSCALE_ASSETS (else PEFTSCALE_CACHE, ~/.cache/peftscale),\n  PYTHON\n"
    "exit status: 0 all runs have a result, 1 some have none, 75 stopped, to be continued\n"
    "\n"
    "examples:\n"
    "  peftscale sweep run experiments/quickstart/study.yaml\n"
    "  peftscale sweep status experiments/minilm-glue/study.yaml stage=stage-1\n",
    0, act};

static int act_work(comm *mpi, int argc, char **argv) {
  common c = {0};
  const char *most = NULL, *until = NULL;
  int no_wait = 0;
  const flag flags[] = {{"results", &c.results, NULL}, {"most", &most, NULL}, {"until", &until, NULL}, {"no-wait", NULL, &no_wait}};
  work_request request = {0};
  work_counts counts;
  int code = parse("sweep work", argc, argv, flags, 4, &c);
  int64_t until_s = 0;
  if (!code && most) code = whole_number("most", most, 1, 1000000, &request.most);
  if (!code && until) code = whole_number("until", until, 1, 1000000000, &until_s);
  TRY(comm_agree(mpi, code));
  TRY(arguments_agree(mpi, argc, argv));
  request.plan = request_of(&c);
  request.until_s = (double)until_s;
  request.waits = !no_wait;
  code = work(mpi, &request, &counts);
  if (comm_rank(mpi) == 0 && !code) log_info("%d runs done, %d failed", counts.done, counts.failed);
  return code;
}

const verb verb_sweep_work = {
    "sweep work", "take run after run of a study with these ranks",
    "usage: mpirun -np N peftscale sweep work STUDY [key=value ...] [--results DIR] [--most K] [--until S] [--no-wait]\n"
    "\n"
    "Takes the open runs of a study that want N ranks, one after another, in these processes; any number of such groups may work on one\n"
    "study, on one machine or many. `peftscale sweep run` and the batch scripts of jobs/ start it.\n"
    "\n"
    "  --most K     at most K runs\n"
    "  --until S    begin no further run after S seconds\n"
    "  --no-wait    end, too, where runs only wait for trials that others work on\n"
    "\n"
    "SIGUSR1 or SIGTERM: the run in work goes to a checkpoint, exit status 75; the same command goes on\n"
    "\n"
    "example:\n"
    "  srun --mpi=pmix -n 4 peftscale sweep work experiments/minilm-glue/study.yaml --most 10\n",
    1, act_work};
