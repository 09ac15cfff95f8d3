#define _GNU_SOURCE /* sched_getaffinity */
#include "sweep/launch.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
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

enum {
  PAUSE_NS = 100000000, /* between looks at the groups   */
  MAX_CORES = CPU_SETSIZE,
  MAX_WORDS = 512,
  MAX_GROUPS = 1024,
  HOPELESS = 3, /* deaths in a row without anything begun or done */
  REASON_BYTES = 600
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
  launch_result *result;
  plan *plan;
  group groups[MAX_GROUPS];
  int jobs, started;
  int core[MAX_CORES], cores; /* those this process may use, one per physical core */
  uint8_t taken[MAX_CORES];
  plan_state *shown; /* [plan->count] the state that was last told */
  int futile;        /* deaths in a row without anything begun or done */
  double looked_s;
  int told;          /* runs whose end was told, and those that had ended before */
  int told_to_stop;  /* how often the groups were */
} launcher;

/* ---- signals ---- */

static volatile sig_atomic_t signals;

static void count_signal(int number) {
  (void)number;
  signals++;
}

/* One that is being ignored stays ignored: under nohup, in the background of a script. */
static void listen(struct sigaction before[3]) {
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction action = {.sa_handler = count_signal};
  sigemptyset(&action.sa_mask);
  signals = 0;
  for (int i = 0; i < 3; i++) {
    sigaction(numbers[i], NULL, &before[i]);
    if (before[i].sa_handler != SIG_IGN) sigaction(numbers[i], &action, NULL);
  }
}

static void stop_listening(struct sigaction before[3]) {
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  for (int i = 0; i < 3; i++) sigaction(numbers[i], &before[i], NULL);
}

/* ---- cores ---- */

/* Whether a core is the first of its hardware threads. */
static int is_first_thread(int number) {
  char path[128];
  int first = number;
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", number);
  FILE *file = fopen(path, "r");
  if (file && fscanf(file, "%d", &first) != 1) first = number;
  if (file) fclose(file);
  return first == number;
}

static void find_cores(launcher *l) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
  for (int pass = 0; pass < 2 && l->cores == 0; pass++) /* only second threads allowed: take these */
    for (int i = 0; i < CPU_SETSIZE; i++)
      if (CPU_ISSET(i, &allowed) && (pass || is_first_thread(i))) l->core[l->cores++] = i;
  if (l->cores == 0) l->core[l->cores++] = 0;
}

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

typedef struct words {
  const char *word[MAX_WORDS];
  int count;
  char space[16384];
  size_t used;
} words;

static int add(words *w, const char *word) {
  if (w->count >= MAX_WORDS - 1) return FAIL(ERROR_USAGE, NULL, "more than %d words to start a group of ranks with", MAX_WORDS - 1);
  w->word[w->count++] = word;
  w->word[w->count] = NULL;
  return ERROR_NONE;
}

/* The words of a shell's kind of line, without its quotes. */
static int add_line(words *w, const char *line) {
  size_t length = strlen(line) + 1;
  if (w->used + length > sizeof w->space) return FAIL(ERROR_USAGE, NULL, "PEFTSCALE_MPIRUN is too long");
  char *copy = memcpy(w->space + w->used, line, length), *rest;
  w->used += length;
  for (char *word = strtok_r(copy, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest)) TRY(add(w, word));
  return ERROR_NONE;
}

static int add_number(words *w, int value) {
  char text[16];
  snprintf(text, sizeof text, "%d", value);
  return add_line(w, text);
}

/* mpirun with the user's flags, or those that suit this machine. A group that shares the machine with others has its cores from us. */
static int add_launcher(const launcher *l, words *w, int ranks) {
  const machine_settings *m = l->request->machine;
  const char *own = getenv("PEFTSCALE_MPIRUN");
  if (own && *own) {
    TRY(add_line(w, own));
  } else if (m->launcher == LAUNCHER_SRUN) {
    TRY(add_line(w, "srun --mpi=pmix"));
    for (int i = 0; i < m->launcher_flag_count; i++) TRY(add(w, m->launcher_flags[i]));
    TRY(add(w, "-n"));
    return add_number(w, ranks);
  } else {
    TRY(add(w, "mpirun"));
    for (int i = 0; i < m->launcher_flag_count; i++) TRY(add(w, m->launcher_flags[i]));
    if (!m->launcher_flag_count) TRY(add_line(w, l->jobs == 1 && ranks > 1 && ranks <= l->cores ? "--bind-to core" : "--oversubscribe --bind-to none"));
  }
  TRY(add(w, "-np"));
  return add_number(w, ranks);
}

static int make_command(const launcher *l, words *w, const char *program, int ranks) {
  const launch_request *r = l->request;
  TRY(add_launcher(l, w, ranks));
  TRY(add(w, program));
  TRY(add_line(w, "sweep work"));
  TRY(add(w, r->study_path));
  TRY(add(w, "--results"));
  TRY(add(w, l->plan->results));
  for (int i = 0; i < r->word_count; i++) TRY(add(w, r->words[i]));
  return ERROR_NONE;
}

/* What a group's environment lacks. Texts live in `w`. */
static int add_defaults(const launcher *l, const group *g, words *w) {
  const machine_settings *m = l->request->machine;
  char text[512];
  TRY(add(w, "OMP_NUM_THREADS=1"));
  if (*m->interface) {
    TRY(text_format(text, sizeof text, "OMPI_MCA_btl_tcp_if_include=%s OMPI_MCA_oob_tcp_if_include=%s", m->interface, m->interface));
    TRY(add_line(w, text));
  }
  if (g->ranks > g->cores) TRY(add(w, "OMPI_MCA_mpi_yield_when_idle=1"));
  if (geteuid() != 0) return ERROR_NONE;
  return add_line(w, "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"); /* who sweeps as root has decided so */
}

static int name_log(const launcher *l, int number, char path[PLAN_PATH_BYTES]) {
  return text_format(path, PLAN_PATH_BYTES, "%s/logs/group-%d.log", l->plan->results, number);
}

static int settled(const plan *p) { return p->counts[PLAN_DONE] + p->counts[PLAN_STALE] + p->counts[PLAN_FAILED]; }

/* Grows with every attempt that is begun, too: a run that kills its group is given up by itself (attempts.h), and does so a few times only. */
static int progress(const plan *p) {
  int sum = settled(p);
  for (int i = 0; i < p->count; i++) sum += p->runs[i].attempts;
  return sum;
}

static int start(launcher *l, const plan_run *entry, int first_core) {
  char program[PLAN_PATH_BYTES], log[PLAN_PATH_BYTES], directory[PLAN_PATH_BYTES];
  words command = {.count = 0}, defaults = {.count = 0};
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length <= 0) return FAIL(ERROR_SYSTEM, NULL, "cannot find out where this program is: %s", strerror(errno));
  program[length] = 0;
  group *g = l->groups;
  while (g->pid) g++;
  *g = (group){.ranks = entry->asked->ranks, .number = ++l->started, .core = first_core, .cores = cores_of(l, entry), .progress = progress(l->plan)};
  TRY(text_format(directory, sizeof directory, "%s/logs", l->plan->results));
  TRY(file_make_directory(directory));
  TRY(file_check_writable(directory)); /* else each group would say it, in its own words, to nobody's log */
  TRY(name_log(l, g->number, log));
  TRY(make_command(l, &command, program, g->ranks));
  TRY(add_defaults(l, g, &defaults));
  const process_request request = {.words = command.word,
                                   .environment = l->request->machine->environment,
                                   .environment_count = l->request->machine->environment_count,
                                   .defaults = defaults.word,
                                   .default_count = defaults.count,
                                   .cores = l->core + g->core,
                                   .core_count = g->cores,
                                   .output = log,
                                   .is_apart = 1};
  TRY(process_start(&request, &g->pid));
  memset(l->taken + g->core, 1, (size_t)g->cores);
  return ERROR_NONE;
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

/* What a group's log says of its end: the program's last error, or else the last line. */
static void read_reason(const launcher *l, const group *g, char text[REASON_BYTES]) {
  char path[PLAN_PATH_BYTES], line[REASON_BYTES];
  int is_ours = 0;
  snprintf(text, REASON_BYTES, "nothing");
  FILE *file = name_log(l, g->number, path) ? NULL : fopen(path, "r");
  while (file && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    int ours = !strncmp(line, "peftscale: error: ", 18);
    if (!*line || (is_ours && !ours)) continue;
    is_ours = ours;
    snprintf(text, REASON_BYTES, "%s", line + (ours ? 18 : 0));
  }
  if (file) fclose(file);
  text_clean(text);
}

static int bury(launcher *l, group *g, int status) {
  char reason[REASON_BYTES], log[PLAN_PATH_BYTES] = "";
  memset(l->taken + g->core, 0, (size_t)g->cores);
  g->pid = 0;
  int code = process_status(status);
  if (code == 0 || (code == 75 && l->told_to_stop)) return ERROR_NONE;
  l->result->deaths++;
  TRY(plan_look(l->plan));
  l->futile = progress(l->plan) > g->progress ? 0 : l->futile + 1;
  name_log(l, g->number, log);
  if (l->told_to_stop) return ERROR_NONE;
  if (l->futile < HOPELESS) {
    log_warning("a group of %d rank%s ended with status %d; its run is tried again (%s)", g->ranks, g->ranks == 1 ? "" : "s", code, log);
    return ERROR_NONE;
  }
  read_reason(l, g, reason);
  return FAIL(ERROR_SYSTEM, "the same command goes on when the reason is gone", "groups of ranks end (status %d) without getting a run done; %s says: %s", code, log,
              reason);
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
      if (l->groups[i].pid) kill(l->told_to_stop > 2 ? -l->groups[i].pid : l->groups[i].pid, l->told_to_stop == 1 ? SIGUSR1 : l->told_to_stop == 2 ? SIGTERM : SIGKILL);
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
    if (entry->steps > 0 && used < sizeof now - 1) used += (size_t)snprintf(now + used, sizeof now - used, " %lld/%lld", (long long)entry->done, (long long)entry->steps);
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
        if (!any_open(l->plan) && !told_waiting++) log_info("%d runs are worked on by others; waiting for them (Ctrl-C does not stop those)", l->plan->counts[PLAN_RUNNING]);
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
  l->result = result;
  l->plan = request->plan;
  l->shown = shown;
  for (int i = 0; i < l->plan->count; i++) shown[i] = l->plan->runs[i].state;
  find_cores(l);
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
