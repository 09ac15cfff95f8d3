#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/sweep.h"
#include "store/provenance.h"

enum { REASONS = 20, STAGES = 64 };

static const char *role_of(const plan_run *entry) { return entry->asked->role == STUDY_TRIAL ? "trial" : "run"; }

static const char *duration(double seconds, char text[32]) {
  int64_t s = llround(seconds);
  if (s < 60) snprintf(text, 32, "%.1f s", seconds);
  else if (s < 3600) snprintf(text, 32, "%lld:%02lld min", (long long)(s / 60), (long long)(s % 60));
  else snprintf(text, 32, "%lld:%02lld h", (long long)(s / 3600), (long long)(s / 60 % 60));
  return text;
}

/* "3 runs", "1 run" */
static const char *plural(int count) { return count == 1 ? "" : "s"; }

static void print_title(const plan *p) {
  int repeated = p->count - p->distinct;
  printf("%s: %d run%s, results in %s\n", p->study->name, p->distinct, plural(p->distinct), p->results);
  if (strcmp(p->study->title, p->study->name)) printf("  %s\n", p->study->title);
  if (repeated) printf("  %d more are the same as others and count once\n", repeated);
}

/* ---- counts ---- */

/* One line per stage and role, one column per state that occurs. */
static void print_counts(const plan *p) {
  const char *stage[STAGES];
  int role[STAGES], count[STAGES][PLAN_STATES] = {{0}}, rows = 0;
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->same_as >= 0) continue;
    int row = 0;
    while (row < rows && (strcmp(stage[row], entry->asked->stage) || role[row] != (int)entry->asked->role)) row++;
    if (row == STAGES) row = STAGES - 1; /* so many stages stand together */
    if (row == rows) {
      stage[rows] = entry->asked->stage;
      role[rows++] = (int)entry->asked->role;
    }
    count[row][entry->state]++;
  }
  printf("\n  %-24s", "");
  for (int s = 0; s < PLAN_STATES; s++)
    if (p->counts[s]) printf(" %*s", (int)strlen(plan_state_names[s]), plan_state_names[s]);
  printf("\n");
  for (int row = 0; row < rows; row++) {
    char label[64];
    snprintf(label, sizeof label, "%s%s%s", stage[row], *stage[row] ? ", " : "", role[row] == STUDY_TRIAL ? "trials" : "runs");
    printf("  %-24s", label);
    for (int s = 0; s < PLAN_STATES; s++)
      if (p->counts[s]) printf(" %*d", (int)strlen(plan_state_names[s]), count[row][s]);
    printf("\n");
  }
}

/* ---- plan ---- */

static void print_run_cost(const plan *p, const cost *c, int i) {
  const plan_run *entry = &p->runs[i];
  char tokens[32] = "?", seconds[32] = "?";
  if (cost_tokens(c, i) >= 0) text_thousands(cost_tokens(c, i), tokens);
  if (isfinite(cost_seconds(c, i))) duration(cost_seconds(c, i), seconds);
  printf("  %-11s %-8.8s %-5s %2d rank%-1s %12s %9s  %s\n", plan_state_names[entry->state], *entry->id ? entry->id : "-", role_of(entry), entry->asked->ranks,
         plural(entry->asked->ranks), tokens, seconds, entry->asked->label);
}

static void print_cost(const plan *p, const cost *c) {
  int64_t tokens = 0;
  double seconds = 0, core_seconds = 0;
  int untimed = 0, left = 0;
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->same_as >= 0 || entry->state == PLAN_DONE || entry->state == PLAN_STALE || entry->state == PLAN_FAILED) continue;
    left++;
    if (cost_tokens(c, i) > 0) tokens += cost_tokens(c, i);
    if (!isfinite(cost_seconds(c, i))) {
      untimed++;
      continue;
    }
    seconds += cost_seconds(c, i);
    core_seconds += cost_seconds(c, i) * (double)(entry->asked->ranks * entry->threads);
  }
  char number[32], time[32], cores[32];
  printf("\n%d run%s to do", left, plural(left));
  if (left) printf(": %s training tokens", text_thousands(tokens, number));
  if (left > untimed) printf(", about %s one after another (%s of a core)", duration(seconds, time), duration(core_seconds, cores));
  printf("\n");
  if (left && untimed && untimed < left) printf("  without the %d run%s whose rate is not known yet\n", untimed, plural(untimed));
  else if (left && untimed) printf("  how long: sweep plan --measure makes some steps of each kind; or after the first runs, whose rates are measured\n");
  const char *missing = cost_missing_input(c);
  int place = missing ? study_find_data(p->study, missing) : -1;
  if (missing) printf("  '%s' is not there%s%s\n", missing, place >= 0 ? "; it is made by: " : "", place >= 0 ? p->study->data[place].command : "");
}

void sweep_print_plan(const plan *p, const cost *c, int all) {
  print_title(p);
  print_counts(p);
  enum { SHOWN = 40 };
  int shown = 0, left = 0;
  printf("\n");
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    int is_done = entry->state == PLAN_DONE || entry->state == PLAN_STALE;
    if (entry->same_as >= 0 || (is_done && !all)) continue;
    if (!all && shown == SHOWN) left++;
    else print_run_cost(p, c, i), shown++;
  }
  if (left) printf("  ... and %d more (--all lists them)\n", left);
  print_cost(p, c);
}

/* ---- status ---- */

static void print_states(const plan *p, plan_state state, const char *title, int all) {
  int shown = 0, left = 0;
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->same_as >= 0 || entry->state != state) continue;
    if (shown == 0) printf("\n%s\n", title);
    if (!all && shown == REASONS) {
      left++;
      continue;
    }
    shown++;
    printf("  %-8.8s %s %s", *entry->id ? entry->id : "-", role_of(entry), entry->asked->label);
    if (entry->steps > 0) printf("  step %lld of %lld", (long long)entry->done, (long long)entry->steps);
    if (*entry->reason) printf("\n             %s", entry->reason);
    if (entry->attempts > 1) printf(" (%d attempts)", entry->attempts);
    printf("\n");
  }
  if (left) printf("  ... and %d more (--all lists them)\n", left);
}

void sweep_print_status(const plan *p, int all) {
  print_title(p);
  print_counts(p);
  print_states(p, PLAN_RUNNING, "running", all);
  print_states(p, PLAN_STOPPED, "stopped at a checkpoint, to be continued", all);
  print_states(p, PLAN_KILLED, "interrupted, to be tried again", all);
  print_states(p, PLAN_FAILED, "failed (peftscale sweep retry lets them be tried again)", all);
  if (p->counts[PLAN_STALE])
    printf("\nstale: %d run%s of other sources than this program's (%s); they are kept and count, sweep retry --stale does them again\n", p->counts[PLAN_STALE],
           plural(p->counts[PLAN_STALE]), provenance_source_hash());
  if (all) {
    print_states(p, PLAN_WAITING, "waiting", all);
    print_states(p, PLAN_MISSING, "missing", all);
    print_states(p, PLAN_STALE, "stale", all);
    print_states(p, PLAN_DONE, "done", all);
  }
}

/* ---- JSON ---- */

static cJSON *run_to_json(const plan *p, const cost *c, int i) {
  const plan_run *entry = &p->runs[i];
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "request_id", entry->id);
  cJSON_AddStringToObject(o, "name", entry->name);
  cJSON_AddStringToObject(o, "stage", entry->asked->stage);
  cJSON_AddStringToObject(o, "role", role_of(entry));
  cJSON_AddStringToObject(o, "state", plan_state_names[entry->state]);
  cJSON_AddStringToObject(o, "label", entry->asked->label);
  cJSON_AddStringToObject(o, "task", entry->task);
  cJSON_AddStringToObject(o, "method", entry->method);
  cJSON_AddNumberToObject(o, "seed", (double)entry->seed);
  cJSON_AddNumberToObject(o, "ranks", entry->asked->ranks);
  cJSON_AddStringToObject(o, "tuned_key", entry->asked->tuned_key);
  cJSON_AddStringToObject(o, "tuned_value", entry->asked->role == STUDY_TRIAL ? entry->asked->tuned_value : entry->tuned_value);
  cJSON_AddNumberToObject(o, "attempts", entry->attempts);
  cJSON_AddStringToObject(o, "reason", entry->reason);
  if (entry->steps > 0) {
    cJSON_AddNumberToObject(o, "step", (double)entry->done);
    cJSON_AddNumberToObject(o, "steps", (double)entry->steps);
  }
  if (entry->state == PLAN_DONE || entry->state == PLAN_STALE) {
    cJSON_AddStringToObject(o, "metric", entry->outcome.metric);
    add_json_number(o, "validation", entry->outcome.validation);
    add_json_number(o, "test", entry->outcome.test);
    add_json_number(o, "train_s", entry->outcome.train_s);
  }
  if (c) {
    add_json_number(o, "tokens", cost_tokens(c, i) < 0 ? NAN : (double)cost_tokens(c, i));
    add_json_number(o, "estimate_s", cost_seconds(c, i));
  }
  return o;
}

int sweep_print_json(const plan *p, const cost *c) {
  cJSON *o = cJSON_CreateObject(), *counts = cJSON_AddObjectToObject(o, "counts"), *runs = NULL;
  cJSON_AddStringToObject(o, "study", p->study->name);
  cJSON_AddStringToObject(o, "results", p->results);
  cJSON_AddStringToObject(o, "source_hash", provenance_source_hash());
  for (int s = 0; s < PLAN_STATES; s++) cJSON_AddNumberToObject(counts, plan_state_names[s], p->counts[s]);
  runs = cJSON_AddArrayToObject(o, "runs");
  if (!runs) {
    cJSON_Delete(o);
    return FAIL(ERROR_MEMORY, NULL, "out of memory");
  }
  for (int i = 0; i < p->count; i++)
    if (p->runs[i].same_as < 0) cJSON_AddItemToArray(runs, run_to_json(p, c, i));
  print_json_object(o);
  return ERROR_NONE;
}
