#include "sweep/submit.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/process.h"
#include "base/text.h"
#include "store/file.h"
#include "sweep/command.h"

enum { MAX_JOBS = 4096, ID_BYTES = 64, OUTPUT_BYTES = 1024, PACK_UNTIMED = 10, PACK_MOST = 50 };

typedef struct submission {
  const submit_request *request;
  FILE *out;
  char root[PATH_MAX];         /* the folder above the batch scripts, absolute: jobs begin in folders of their own */
  char id[MAX_JOBS][ID_BYTES]; /* of what was handed in */
  int ids;
  int *count; /* the caller's */
} submission;

/* A list of texts in one variable, with spaces between. A text with a space would be two. */
static int variable_list(command *c, const char *name, const char *const *text, int count) {
  char joined[8192];
  size_t used = 0;
  joined[0] = 0;
  for (int i = 0; i < count; i++) {
    if (strpbrk(text[i], " \t\n'\""))
      return FAIL(ERROR_USAGE, "put it into the study file", "'%s' cannot be handed to a job: it holds a space or a quote", text[i]);
    int length = snprintf(joined + used, sizeof joined - used, "%s%s", i ? " " : "", text[i]);
    if (length < 0 || used + (size_t)length >= sizeof joined) return FAIL(ERROR_USAGE, "put it into the study file", "%s is too long", name);
    used += (size_t)length;
  }
  return count ? command_variable(c, "%s=%s", name, joined) : ERROR_NONE;
}

static int find_root(submission *s) {
  char above[PATH_MAX];
  TRY(text_format(above, sizeof above, "%s/..", s->request->jobs));
  return realpath(above, s->root) ? ERROR_NONE : FAIL(ERROR_INPUT, "they come with the project", "there are no batch scripts in %s", s->request->jobs);
}

/* ---- running it ---- */

static int run_it(const command *c, char output[OUTPUT_BYTES]) {
  const process_request request = {.words = c->word, .environment = c->variable, .environment_count = c->variables};
  int status;
  TRY(process_run(&request, output, OUTPUT_BYTES, &status));
  if (status == 0) return ERROR_NONE;
  for (char *at = output; *at; at++)
    if (*at == '\n') *at = ' ';
  text_clean(output);
  return FAIL(ERROR_SYSTEM, NULL, "%s: %.800s", c->word[0], *output ? output : "failed without a word");
}

/* Hands a job in, and keeps its number. */
static int hand_in(submission *s, const command *c, const char *what) {
  char output[OUTPUT_BYTES] = "";
  if (s->ids == MAX_JOBS) return FAIL(ERROR_USAGE, "raise array_limit of the machine's file, or --pack", "more than %d jobs", MAX_JOBS);
  command_print(c, s->out);
  if (s->request->dry_run) {
    snprintf(output, sizeof output, "JOB%d", s->ids + 1); /* stands for the number that the scheduler would give */
  } else {
    int code = run_it(c, output);
    if (code && s->ids) error_prefix("after %d jobs were handed in (the last: %s): ", s->ids, s->id[s->ids - 1]);
    TRY(code);
    output[strcspn(output, ";\n")] = 0; /* sbatch --parsable: NUMBER[;CLUSTER] */
    fprintf(s->out, "  -> job %s: %s\n", output, what);
    ++*s->count;
  }
  snprintf(s->id[s->ids++], ID_BYTES, "%.*s", ID_BYTES - 1, output);
  return ERROR_NONE;
}

/* ---- the words of a job ---- */

static int is_slurm(const submission *s) { return s->request->machine->scheduler == SCHEDULER_SLURM; }

/* "afterany:1:2:3" of the jobs first .. s->ids - 1. */
static int add_dependency(const submission *s, command *c, int first, int last) {
  char ids[COMMAND_SPACE / 2];
  size_t used = 0;
  ids[0] = 0;
  for (int i = first; i < last; i++) {
    int length = snprintf(ids + used, sizeof ids - used, ":%s", s->id[i]);
    if (length < 0 || used + (size_t)length >= sizeof ids)
      return FAIL(ERROR_USAGE, "raise array_limit of the machine's file, or --pack", "too many jobs to wait for");
    used += (size_t)length;
  }
  if (!used) return ERROR_NONE;
  if (is_slurm(s)) return command_word(c, "--dependency=afterany%s", ids);
  TRY(command_word(c, "-W"));
  return command_word(c, "depend=afterany%s", ids);
}

static int add_account(const submission *s, command *c) {
  const machine_settings *m = s->request->machine;
  if (is_slurm(s)) {
    if (*m->partition) TRY(command_word(c, "--partition=%s", m->partition));
    if (*m->account) TRY(command_word(c, "--account=%s", m->account));
    if (*m->qos) TRY(command_word(c, "--qos=%s", m->qos));
    return ERROR_NONE;
  }
  if (*m->partition) {
    TRY(command_word(c, "-q"));
    TRY(command_word(c, "%s", m->partition));
  }
  if (*m->account) {
    TRY(command_word(c, "-A"));
    TRY(command_word(c, "%s", m->account));
  }
  return ERROR_NONE;
}

static int add_name(const submission *s, command *c, const char *suffix) {
  if (is_slurm(s)) return command_word(c, "--job-name=%s%s", s->request->plan->study->name, suffix);
  TRY(command_word(c, "-N"));
  return command_word(c, "%.200s%s", s->request->plan->study->name, suffix);
}

static int add_environment(const submission *s, command *c) {
  const submit_request *r = s->request;
  const machine_settings *m = r->machine;
  TRY(command_variable(c, "PEFTSCALE=%s", r->program));
  TRY(command_variable(c, "PEFTSCALE_ROOT=%s", s->root));
  TRY(variable_list(c, "PEFTSCALE_MODULES", m->modules, m->module_count));
  TRY(variable_list(c, "PEFTSCALE_ENVIRONMENT", m->environment, m->environment_count));
  TRY(command_variable(c, "PEFTSCALE_LAUNCHER=%s", m->launcher == LAUNCHER_SRUN ? "srun" : "mpirun"));
  TRY(variable_list(c, "PEFTSCALE_LAUNCHER_FLAGS", m->launcher_flags, m->launcher_flag_count));
  if (!is_slurm(s)) TRY(command_variable(c, "PEFTSCALE_SIGNAL_S=%d", m->signal_s)); /* qsub has no option for it */
  return *m->interface ? command_variable(c, "PEFTSCALE_INTERFACE=%s", m->interface) : ERROR_NONE;
}

/* The script that the words behind it are for. qsub takes them behind "--" with a program, so that its directives are not read: they are on our command line.
 */
static int add_script(const submission *s, command *c, const char *name) {
  if (is_slurm(s)) return command_word(c, "%s/jobs/%s.sbatch", s->root, name);
  TRY(command_word(c, "--"));
  return command_word(c, "%s/jobs/%s.pbs", s->root, name);
}

/* The words that every verb of sweep takes. */
static int add_study(const submission *s, command *c) {
  const submit_request *r = s->request;
  TRY(command_word(c, "%s", r->study_path));
  for (int i = 0; i < r->word_count; i++) TRY(command_word(c, "%s", r->words[i]));
  TRY(command_word(c, "--results"));
  return command_word(c, "%s", r->plan->results);
}

/* ---- arrays ---- */

/* Runs of one number of ranks and threads that can begin at the same time. */
typedef struct kind {
  int ranks, threads, runs;
  double seconds; /* of them all; NaN: not known */
} kind;

static int pack_of(const submission *s, const kind *k) {
  const machine_settings *m = s->request->machine;
  if (s->request->pack > 0) return s->request->pack;
  if (!isfinite(k->seconds) || k->seconds <= 0 || m->time_limit_s <= 0) return PACK_UNTIMED;
  double fit = 0.5 * m->time_limit_s / (k->seconds / k->runs);
  return fit < 1 ? 1 : fit > PACK_MOST ? PACK_MOST : (int)fit;
}

static int add_shape(const submission *s, command *c, const kind *k) {
  const machine_settings *m = s->request->machine;
  int per_node = m->cores_per_node > 0 ? m->cores_per_node / k->threads : 0;
  if (m->cores_per_node > 0 && per_node == 0)
    return FAIL(ERROR_USAGE, "use fewer threads", "a rank of %d threads does not fit a node of %d cores", k->threads, m->cores_per_node);
  int nodes = per_node ? (k->ranks + per_node - 1) / per_node : 0;
  if (is_slurm(s)) {
    if (nodes) TRY(command_word(c, "--nodes=%d", nodes));
    TRY(command_word(c, "--ntasks=%d", k->ranks));
    TRY(command_word(c, "--cpus-per-task=%d", k->threads));
    if (*m->time_limit) TRY(command_word(c, "--time=%s", m->time_limit));
    return command_word(c, "--signal=B:USR1@%d", m->signal_s); /* to the script, which passes it on */
  }
  int on_node = nodes > 1 ? per_node : k->ranks;
  TRY(command_word(c, "-l"));
  if (nodes > 1 && k->ranks % on_node) /* the last node has fewer */
    TRY(command_word(c, "select=%d:ncpus=%d:mpiprocs=%d+1:ncpus=%d:mpiprocs=%d", nodes - 1, on_node * k->threads, on_node, k->ranks % on_node * k->threads,
                     k->ranks % on_node));
  else TRY(command_word(c, "select=%d:ncpus=%d:mpiprocs=%d", nodes > 1 ? nodes : 1, on_node * k->threads, on_node));
  if (!*m->time_limit) return ERROR_NONE;
  TRY(command_word(c, "-l"));
  return command_word(c, "walltime=%s", m->time_limit);
}

static int submit_array(submission *s, const kind *k, int tasks, int pack, int first_needed, int last_needed) {
  const submit_request *r = s->request;
  const machine_settings *m = r->machine;
  char cap[32] = "", what[128];
  command *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  if (m->max_running > 0 && m->max_running < tasks) snprintf(cap, sizeof cap, "%%%d", m->max_running);
  int code = add_environment(s, c);
  if (!code) code = is_slurm(s) ? command_word(c, "sbatch") : command_word(c, "qsub");
  if (!code && is_slurm(s)) code = command_word(c, "--parsable");
  if (!code) code = add_name(s, c, "");
  if (!code && is_slurm(s)) code = command_word(c, "--array=0-%d%s", tasks - 1, cap);
  if (!code && !is_slurm(s) && tasks > 1)
    code = command_word(c, "-J") ? error_last()->code : command_word(c, "0-%d%s", tasks - 1, cap); /* PBS has no array of one */
  if (!code) code = add_shape(s, c, k);
  if (!code) code = add_account(s, c);
  if (!code) code = add_dependency(s, c, first_needed, last_needed);
  if (!code && is_slurm(s)) code = command_word(c, "--output=%s/logs/%%x-%%A_%%a.log", r->plan->results);
  if (!code && is_slurm(s)) code = command_word(c, "--export=ALL");
  if (!code && !is_slurm(s)) code = command_word(c, "-V");
  if (!code) code = add_script(s, c, "sweep");
  if (!code) code = add_study(s, c);
  if (!code) code = command_word(c, "--most");
  if (!code) code = command_word(c, "%d", pack);
  if (!code) code = command_word(c, "--no-wait");
  snprintf(what, sizeof what, "%d task%s of up to %d run%s each, %d rank%s a run", tasks, tasks == 1 ? "" : "s", pack, pack == 1 ? "" : "s", k->ranks,
           k->ranks == 1 ? "" : "s");
  if (!code) code = hand_in(s, c, what);
  free(c);
  return code;
}

/* In pieces that the scheduler takes. */
static int submit_kind(submission *s, const kind *k, int first_needed, int last_needed) {
  int pack = pack_of(s, k), tasks = (k->runs + pack - 1) / pack, limit = s->request->machine->array_limit;
  if (limit < 1) limit = 1;
  while (tasks > 0) {
    int now = tasks < limit ? tasks : limit;
    TRY(submit_array(s, k, now, pack, first_needed, last_needed));
    tasks -= now;
  }
  return ERROR_NONE;
}

/* Kinds of the runs that are open now (level 0) or wait for trials (level 1), in the study's order. */
static int find_kinds(const submission *s, int level, kind *kinds, int most) {
  const plan *p = s->request->plan;
  int count = 0;
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (level == 0 ? !plan_is_open(entry) : entry->same_as >= 0 || entry->state != PLAN_WAITING) continue;
    int k = 0;
    while (k < count && (kinds[k].ranks != entry->asked->ranks || kinds[k].threads != (int)entry->threads)) k++;
    if (k == most) k--;
    if (k == count) kinds[count++] = (kind){.ranks = entry->asked->ranks, .threads = (int)entry->threads};
    kinds[k].runs++;
    kinds[k].seconds += cost_seconds(s->request->cost, i);
  }
  return count;
}

static int submit_table(submission *s) {
  const submit_request *r = s->request;
  command *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  int code = add_environment(s, c);
  if (!code) code = is_slurm(s) ? command_word(c, "sbatch") : command_word(c, "qsub");
  if (!code && is_slurm(s)) code = command_word(c, "--parsable");
  if (!code) code = add_name(s, c, "-table");
  if (!code) code = add_account(s, c);
  if (!code) code = add_dependency(s, c, 0, s->ids);
  if (!code && is_slurm(s)) code = command_word(c, "--output=%s/logs/%%x-%%j.log", r->plan->results);
  if (!code && is_slurm(s)) code = command_word(c, "--export=ALL");
  if (!code && !is_slurm(s)) code = command_word(c, "-V");
  if (!code) code = add_script(s, c, "analysis");
  if (!code) code = add_study(s, c); /* for `sweep status`: its index is what the table is made of */
  if (!code) code = command_word(c, "--");
  if (!code) code = command_word(c, "--study");
  if (!code) code = command_word(c, "%s", r->plan->results);
  if (!code) code = hand_in(s, c, "the table, when all of them have ended");
  free(c);
  return code;
}

static int submit_all(submission *s) {
  enum { KINDS = 64 };
  kind kinds[KINDS];
  char logs[PLAN_PATH_BYTES];
  int count = find_kinds(s, 0, kinds, KINDS);
  TRY(text_format(logs, sizeof logs, "%s/logs", s->request->plan->results)); /* SLURM makes no folder for a job's output */
  if (!s->request->dry_run) TRY(file_make_directory(logs));
  for (int k = 0; k < count; k++) TRY(submit_kind(s, &kinds[k], 0, 0));
  int trials = s->ids;
  count = find_kinds(s, 1, kinds, KINDS);
  for (int k = 0; k < count; k++) TRY(submit_kind(s, &kinds[k], 0, trials));
  return s->ids ? submit_table(s) : ERROR_NONE;
}

int submit(const submit_request *request, FILE *out, int *jobs) {
  *jobs = 0;
  if (request->machine->scheduler == SCHEDULER_NONE)
    return FAIL(ERROR_USAGE, "name a machine that has one, --machine NAME of configs/machine; on this machine: peftscale sweep run",
                "machine '%s' has no scheduler", *request->machine->name ? request->machine->name : "(none)");
  if (request->plan->study->action == STUDY_COUNT)
    return FAIL(ERROR_USAGE, "peftscale sweep run counts them", "%s: its runs are counts, there is nothing to submit", request->plan->study->path);
  submission *s = calloc(1, sizeof *s);
  if (!s) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  s->request = request;
  s->out = out;
  s->count = jobs;
  int code = find_root(s);
  if (!code) code = submit_all(s);
  free(s);
  return code;
}
