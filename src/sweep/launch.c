#include "sweep/launch.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "store/file.h"
#include "sweep/ranks.h"

enum {
  PAUSE_NS = 100000000, /* between looks at the groups   */
  MAX_GROUPS = 1024,
  HOPELESS = 3 /* deaths in a row without anything done */
};
static const double look_s = 0.5; /* between looks at the results: a few system calls per run */

/* mpirun with its ranks. */
typedef struct group {
  pid_t pid; /* 0: none */
  int ranks, number;
  int core, cores; /* of launcher.core */
  int progress;    /* when it began    */
} group;

typedef struct launcher {
  const launch_request *request;
  plan *plan;
  group groups[MAX_GROUPS];
  int jobs, started;
  int core[RANKS_CORES], cores; /* those this process may use, one per physical core */
  uint8_t taken[RANKS_CORES];
  plan_state *shown; /* [plan->count] the state that was last told */
  int futile;        /* deaths in a row without anything begun or done */
  double looked_s;
  int told;         /* runs whose end was told, and those that had ended before */
  int told_to_stop; /* how often the groups were */
} launcher;

/* ---- signals ---- */

static volatile sig_atomic_t signals;

static void count_signal(int number) {
  (void)number;
  signals++;
}

static const int stop_signals[3] = {SIGINT, SIGTERM, SIGHUP};

/* One that is being ignored stays ignored: under nohup, in the background of a script. */
static void listen(struct sigaction before[3]) {
  struct sigaction action = {.sa_handler = count_signal};
  sigemptyset(&action.sa_mask);
  signals = 0;
  for (int i = 0; i < 3; i++) {
    sigaction(stop_signals[i], NULL, &before[i]);
    if (before[i].sa_handler != SIG_IGN) sigaction(stop_signals[i], &action, NULL);
  }
}

static void stop_listening(struct sigaction before[3]) {
  for (int i = 0; i < 3; i++) sigaction(stop_signals[i], &before[i], NULL);
}

/* ---- cores ---- */

/* A free row of cores; -1: none. */
static int find_row(const launcher *l, int wanted) {
  for (int first = 0; first + wanted <= l->cores; first++) {
    int free_cores = 0;
    while (free_cores < wanted && !l->taken[first + free_cores]) free_cores++;
    if (free_cores == wanted) return first;
  }
  return -1;
}

static int cores_of(const launcher *l, const plan_run *entry) {
  int64_t wanted = entry->asked->ranks * entry->threads;
  return wanted < l->cores ? (int)wanted : l->cores;
}

/* ---- starting a group ---- */

static int name_log(const launcher *l, int number, char path[PLAN_PATH_BYTES]) {
  return text_format(path, PLAN_PATH_BYTES, "%s/logs/group-%ld-%d.log", l->plan->results, (long)getpid(), number);
}

static int settled(const plan *p) { return p->counts[PLAN_DONE] + p->counts[PLAN_STALE] + p->counts[PLAN_FAILED]; }

/* Grows with every attempt that is begun, too: a run that kills its group is given up by itself (attempts.h), and does so a few times only. */
static int progress(const plan *p) {
  int sum = settled(p);
  for (int i = 0; i < p->count; i++) sum += p->runs[i].attempts;
  return sum;
}

static int make_command(const launcher *l, const group *g, command *c) {
  const launch_request *r = l->request;
  TRY(ranks_command(r->machine, g->ranks, g->cores, l->jobs == 1, c));
  TRY(command_line(c, "sweep work"));
  TRY(command_word(c, "%s", r->study_path));
  TRY(command_line(c, "--results"));
  TRY(command_word(c, "%s", l->plan->results));
  for (int i = 0; i < r->word_count; i++) TRY(command_word(c, "%s", r->words[i]));
  return ERROR_NONE;
}

static process_request request_of(const command *c, const int *cores, int core_count, const char *log) {
  return (process_request){.words = c->word,
                           .environment = c->variable,
                           .environment_count = c->variables,
                           .defaults = c->fallback,
                           .default_count = c->fallbacks,
                           .cores = cores,
                           .core_count = core_count,
                           .output = log,
                           .is_apart = 1};
}

static int start(launcher *l, const plan_run *entry, int first_core) {
  char log[PLAN_PATH_BYTES], directory[PLAN_PATH_BYTES];
  group *g = l->groups;
  while (g->pid) g++;
  *g = (group){.ranks = entry->asked->ranks, .number = ++l->started, .core = first_core, .cores = cores_of(l, entry), .progress = progress(l->plan)};
  TRY(text_format(directory, sizeof directory, "%s/logs", l->plan->results));
  TRY(file_make_directory(directory));
  TRY(file_check_writable(directory)); /* else each group would say it, in its own words, to nobody's log */
  TRY(name_log(l, g->number, log));
  command *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  int code = make_command(l, g, c);
  const process_request request = request_of(c, l->core + g->core, g->cores, log);
  if (!code) code = process_start(&request, &g->pid);
  free(c);
  if (!code) memset(l->taken + g->core, 1, (size_t)g->cores);
  return code;
}

static int running_groups(const launcher *l, int ranks) {
  int count = 0;
  for (int i = 0; i < MAX_GROUPS; i++) count += l->groups[i].pid && (ranks == 0 || l->groups[i].ranks == ranks);
  return count;
}

/* As many groups as there are open runs of their size and cores for, in the study's order. */
static int start_groups(launcher *l) {
  plan *p = l->plan;
  for (int i = 0; i < p->count && running_groups(l, 0) < l->jobs; i++) {
    const plan_run *entry = &p->runs[i];
    int open = 0;
    if (!plan_is_open(entry)) continue;
    for (int k = 0; k < p->count; k++) open += plan_is_open(&p->runs[k]) && p->runs[k].asked->ranks == entry->asked->ranks;
    while (running_groups(l, entry->asked->ranks) < open && running_groups(l, 0) < l->jobs) {
      int row = find_row(l, cores_of(l, entry));
      if (row < 0) return ERROR_NONE; /* the next in order is not to be starved by smaller ones behind it */
      TRY(start(l, entry, row));
    }
    while (i + 1 < p->count && (p->runs[i + 1].asked->ranks == entry->asked->ranks || !plan_is_open(&p->runs[i + 1]))) i++;
  }
  return ERROR_NONE;
}

/* ---- the end of a group ---- */

static int bury(launcher *l, group *g, int status) {
  char reason[RANKS_REASON_BYTES], log[PLAN_PATH_BYTES] = "";
  memset(l->taken + g->core, 0, (size_t)g->cores);
  g->pid = 0;
  int code = process_status(status);
  if (code == 0 || (code == 75 && l->told_to_stop)) return ERROR_NONE;
  TRY(plan_look(l->plan));
  l->futile = progress(l->plan) > g->progress ? 0 : l->futile + 1;
  name_log(l, g->number, log);
  if (l->told_to_stop) return ERROR_NONE;
  if (l->futile < HOPELESS) {
    log_warning("a group of %d rank%s ended with status %d; its run is tried again (%s)", g->ranks, g->ranks == 1 ? "" : "s", code, log);
    return ERROR_NONE;
  }
  ranks_reason(log, reason);
  return FAIL(ERROR_SYSTEM, "the same command goes on when the reason is gone", "groups of ranks end (status %d) without getting a run done; %s says: %s", code,
              log, reason);
}

/* What is known of the runs is older than what a group did last. */
static int reap(launcher *l) {
  int status, ended = 0;
  for (int i = 0; i < MAX_GROUPS; i++) {
    group *g = &l->groups[i];
    if (!g->pid || waitpid(g->pid, &status, WNOHANG) != g->pid) continue;
    TRY(bury(l, g, status));
    ended = 1;
  }
  if (ended) l->looked_s = -look_s;
  return ERROR_NONE;
}

/* Once: to the next checkpoint, which is a step away (mpirun hands SIGUSR1 on to all ranks; SIGTERM would give them a second). Twice: at once. */
static void pass_on_signals(launcher *l) {
  while (l->told_to_stop < signals) {
    l->told_to_stop++;
    if (l->told_to_stop == 1) log_info("stopping at the next step; once more to end at once");
    for (int i = 0; i < MAX_GROUPS; i++)
      if (l->groups[i].pid)
        kill(l->told_to_stop > 2 ? -l->groups[i].pid : l->groups[i].pid, l->told_to_stop == 1 ? SIGUSR1 : l->told_to_stop == 2 ? SIGTERM : SIGKILL);
  }
}

/* After an error of ours. */
static void end_groups(launcher *l) {
  const struct timespec pause = {.tv_nsec = PAUSE_NS};
  for (int patience = 0; running_groups(l, 0) && patience < 100; patience++) {
    for (int i = 0; i < MAX_GROUPS; i++) {
      group *g = &l->groups[i];
      if (!g->pid) continue;
      if (patience == 0) kill(g->pid, SIGTERM);
      if (patience == 99) kill(-g->pid, SIGKILL);
      if (waitpid(g->pid, NULL, patience == 99 ? 0 : WNOHANG) == g->pid) g->pid = 0;
    }
    nanosleep(&pause, NULL);
  }
}

/* ---- what people see ---- */

static const char *duration(double seconds, char text[32]) {
  int64_t s = llround(seconds);
  if (s < 3600) snprintf(text, 32, "%lld:%02lld", (long long)(s / 60), (long long)(s % 60));
  else snprintf(text, 32, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60), (long long)(s % 60));
  return text;
}

static void tell_news(launcher *l) {
  plan *p = l->plan;
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->state == l->shown[i] || entry->same_as >= 0) continue;
    if (entry->state == PLAN_DONE) {
      log_info("[%d/%d] %s: %s %.4f on validation, %.1f s", ++l->told, p->distinct, entry->asked->label, entry->outcome.metric, entry->outcome.validation,
               entry->outcome.train_s);
    } else if (entry->state == PLAN_FAILED) {
      log_info("[%d/%d] %s: failed: %s", ++l->told, p->distinct, entry->asked->label, entry->reason);
    }
    l->shown[i] = entry->state;
  }
}

/* Seconds until all is done, if every group goes on at the rates seen; NaN: not known. */
static double time_left(const launcher *l) {
  const plan *p = l->plan;
  double sum = 0;
  int groups = running_groups(l, 0);
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->same_as >= 0 || entry->state == PLAN_DONE || entry->state == PLAN_STALE || entry->state == PLAN_FAILED) continue;
    double seconds = cost_seconds(l->request->cost, i), left = entry->steps > 0 ? 1 - (double)entry->done / (double)entry->steps : 1;
    sum += seconds * left;
  }
  return sum / (groups ? groups : 1);
}

static void show_progress(launcher *l) {
  const plan *p = l->plan;
  char now[160] = "", left[32], eta[48] = "", failed[48] = "";
  size_t used = 0;
  if (!log_is_terminal()) return;
  for (int i = 0; i < p->count && used < sizeof now - 1; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->state != PLAN_RUNNING || entry->same_as >= 0) continue;
    used += (size_t)snprintf(now + used, sizeof now - used, "%s%s", used ? "; " : "", entry->asked->label);
    if (entry->steps > 0 && used < sizeof now - 1)
      used += (size_t)snprintf(now + used, sizeof now - used, " %lld/%lld", (long long)entry->done, (long long)entry->steps);
  }
  double seconds = time_left(l);
  if (isfinite(seconds)) snprintf(eta, sizeof eta, "  ETA %s", duration(seconds, left));
  if (p->counts[PLAN_FAILED]) snprintf(failed, sizeof failed, ", %d failed", p->counts[PLAN_FAILED]);
  log_progress("%d of %d done%s%s  %s", p->counts[PLAN_DONE] + p->counts[PLAN_STALE], p->distinct, failed, eta, now);
}

static int look(launcher *l) {
  double now = clock_wall_s();
  if (now - l->looked_s < look_s) return ERROR_NONE;
  TRY(plan_look(l->plan));
  cost_measure(l->request->cost);
  l->looked_s = clock_wall_s();
  tell_news(l);
  show_progress(l);
  return ERROR_NONE;
}

/* ---- measuring a rate ---- */

static int add_probe(command *c, const plan_run *entry, const char *path) {
  const char *slash = strrchr(path, '/');
  TRY(command_word(c, "train"));
  for (int i = 0; i < entry->asked->assignment_count; i++) TRY(command_word(c, "%s", entry->asked->assignments[i]));
  TRY(command_line(c, "train.steps=8 train.keep=last train.evaluate_every=0 output.test=false output.theta=false output.predictions=false --quiet"));
  TRY(command_word(c, "output.dir=%.*s", (int)(slash - path), path));
  return command_word(c, "output.name=%.*s", (int)strlen(slash + 1) - 3, slash + 1);
}

static int probe(const launcher *l, const plan_run *entry, const char *path) {
  char log[PLAN_PATH_BYTES], directory[PLAN_PATH_BYTES], reason[RANKS_REASON_BYTES];
  int status = 0, cores = cores_of(l, entry);
  TRY(text_format(directory, sizeof directory, "%s/rates", l->plan->results));
  TRY(text_format(log, sizeof log, "%s.log", path));
  TRY(file_make_directory(directory));
  command *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  int code = ranks_command(l->request->machine, entry->asked->ranks, cores, 1, c);
  if (!code) code = add_probe(c, entry, path);
  const process_request request = request_of(c, l->core, cores, log);
  if (!code) code = process_run(&request, NULL, 0, &status);
  free(c);
  TRY(code);
  if (status) {
    ranks_reason(log, reason);
    return FAIL(ERROR_SYSTEM, NULL, "some steps of %s cannot be made: %s", entry->asked->label, reason);
  }
  unlink(log);
  return ERROR_NONE;
}

int launch_probe(const launch_request *request, int index) {
  char path[PLAN_PATH_BYTES];
  TRY(cost_probe_path(request->cost, index, path));
  if (access(path, F_OK) == 0) return ERROR_NONE;
  launcher *l = calloc(1, sizeof *l);
  if (!l) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  l->request = request;
  l->plan = request->plan;
  l->jobs = 1;
  l->cores = ranks_cores(l->core);
  int code = probe(l, &request->plan->runs[index], path);
  free(l);
  return code;
}

/* ---- the whole ---- */

static int any_open(const plan *p) {
  for (int i = 0; i < p->count; i++)
    if (plan_is_open(&p->runs[i])) return 1;
  return 0;
}

static int loop(launcher *l) {
  const struct timespec pause = {.tv_nsec = PAUSE_NS};
  int told_waiting = 0;
  for (;;) {
    pass_on_signals(l);
    TRY(reap(l));
    TRY(look(l));
    int groups = running_groups(l, 0);
    if (l->told_to_stop && !groups) return ERROR_NONE;
    if (!l->told_to_stop) {
      TRY(start_groups(l));
      groups = running_groups(l, 0);
      if (!groups) {
        TRY(plan_look(l->plan)); /* what changed since, perhaps by the group that ended last */
        if (!any_open(l->plan) && !l->plan->counts[PLAN_RUNNING]) return ERROR_NONE;
        if (!any_open(l->plan) && !told_waiting++)
          log_info("%d runs are worked on by others; waiting for them (Ctrl-C does not stop those)", l->plan->counts[PLAN_RUNNING]);
      }
    }
    nanosleep(&pause, NULL);
  }
}

int launch(const launch_request *request, launch_result *result) {
  struct sigaction before[3];
  *result = (launch_result){0};
  launcher *l = calloc(1, sizeof *l);
  plan_state *shown = malloc((size_t)(request->plan->count + 1) * sizeof *shown);
  if (!l || !shown) {
    free(l);
    free(shown);
    return FAIL(ERROR_MEMORY, NULL, "out of memory");
  }
  l->request = request;
  l->plan = request->plan;
  l->shown = shown;
  for (int i = 0; i < l->plan->count; i++) shown[i] = l->plan->runs[i].state;
  l->cores = ranks_cores(l->core);
  l->jobs = request->jobs > 0 ? request->jobs : l->cores;
  if (l->jobs > MAX_GROUPS) l->jobs = MAX_GROUPS;
  l->told = settled(l->plan);
  l->looked_s = clock_wall_s();
  listen(before);
  int code = loop(l);
  if (code) {
    const error kept = *error_last();
    end_groups(l);
    error_restore(&kept);
  }
  result->stopped = l->told_to_stop > 0;
  log_progress("%s", "");
  stop_listening(before);
  if (!code) code = plan_look(l->plan);
  if (!code) tell_news(l);
  free(shown);
  free(l);
  return code;
}
