/* A training's profile as a table, and as JSON. */
#include <cjson/cJSON.h>
#include <stdio.h>

#include "cmd/profile_print.h"

typedef struct line {
  const char *name;
  model_profile_row forward, backward; /* seconds of the forward pass also hold what has no direction */
  double peak;
} line;

/* Of a part that a step is made of beside the model's. */
typedef struct rest {
  const char *name;
  double seconds;
} rest;
enum { RESTS = 6 };

static double per_step(const run_profile *p, double sum) { return p->steps > 0 ? sum / (double)p->steps : 0; }

static int is_map(model_part part) { return part == PART_QKV || part == PART_O || part == PART_UP || part == PART_DOWN; }

static line line_of(const run *r, model_part part) {
  return (line){model_part_names[part], run_profile_row(r, part, 0), run_profile_row(r, part, 1), is_map(part) ? r->profile->peak : r->profile->f32_peak};
}

/* What is left of the step is said, too: batches, threads that wait for the slowest, noise. */
static void rests_of(const run *r, rest rests[RESTS]) {
  const run_profile *p = r->profile;
  const double sums[] = {p->expand_s, p->gather_s, p->wait_s, p->communication_s, p->optimizer_s};
  static const char *const names[RESTS] = {"expand", "gather", "wait (sampled steps)", "sum over ranks", "update", "other"};
  double left = per_step(p, p->step_s);
  for (int i = 0; i < RESTS - 1; i++) {
    rests[i] = (rest){names[i], per_step(p, sums[i])};
    left -= rests[i].seconds;
  }
  for (int part = 0; part < MODEL_PARTS; part++) left -= run_profile_row(r, (model_part)part, 0).seconds + run_profile_row(r, (model_part)part, 1).seconds;
  rests[RESTS - 1] = (rest){names[RESTS - 1], left > 0 ? left : 0};
}

static void print_rate(double flop, double seconds) {
  if (flop > 0 && seconds > 0) printf(" %9.1f", flop / seconds / 1e9);
  else printf(" %9s", "-");
}

static void print_line(const line *l, double step_s) {
  double seconds = l->forward.seconds + l->backward.seconds, flop = l->forward.flop + l->backward.flop;
  printf("%-22s %9.3f ", l->name, l->forward.seconds * 1e3);
  if (l->backward.seconds > 0) printf("%9.3f", l->backward.seconds * 1e3);
  else printf("%9s", "-");
  printf(" %7.1f%%", step_s > 0 ? 100 * seconds / step_s : 0);
  print_rate(l->forward.flop, l->forward.seconds);
  print_rate(l->backward.flop, l->backward.seconds);
  if (flop > 0 && seconds > 0 && l->peak > 0) printf(" %6.1f%%\n", 100 * flop / seconds / l->peak);
  else printf(" %7s\n", "-");
}

void profile_print(const run *r) {
  const run_profile *p = r->profile;
  rest rests[RESTS];
  double step_s = per_step(p, p->step_s);
  line all = {.name = "step", .peak = p->peak};
  if (p->steps <= 0) {
    printf("profile: a training of one step has none, since the first does not count\n");
    return;
  }
  printf("profile of rank 0: %lld steps, in the mean %.0f tokens and %.2f ms; a thread's peak %.1f GFLOP/s", (long long)p->steps, per_step(p, p->tokens),
         step_s * 1e3, p->peak / 1e9);
  if (p->peak != p->f32_peak) printf(" in bf16, %.1f in f32", p->f32_peak / 1e9);
  printf("\n\n%-22s %9s %9s %8s %9s %9s %7s\n%-22s %9s %9s %8s %9s %9s %7s\n", "", "forward", "backward", "share", "forward", "backward", "share", "part", "ms",
         "ms", "of step", "GFLOP/s", "GFLOP/s", "of peak");
  for (int part = 0; part < MODEL_PARTS; part++) {
    line l = line_of(r, (model_part)part);
    all.forward.flop += l.forward.flop;
    all.backward.flop += l.backward.flop;
    if (l.forward.seconds + l.backward.seconds > 0) print_line(&l, step_s);
  }
  rests_of(r, rests);
  for (int i = 0; i < RESTS; i++)
    printf("%-22s %9.3f %9s %7.1f%%\n", rests[i].name, rests[i].seconds * 1e3, "", step_s > 0 ? 100 * rests[i].seconds / step_s : 0);
  printf("%-22s %9.3f %9s %8s %9s %9s", all.name, step_s * 1e3, "", "", "", "");
  if (p->peak > 0 && step_s > 0) printf(" %6.1f%%", 100 * (all.forward.flop + all.backward.flop) / step_s / p->peak);
  printf("\n\nFLOP of maps and attention alone, on real tokens; the head's time is forward and backward together; threads: mean\n");
}

static void add_row(cJSON *list, const line *l) {
  cJSON *row = cJSON_CreateObject();
  const char *name = l->name;
  while (*name == ' ') name++;
  cJSON_AddStringToObject(row, "part", name);
  add_json_number(row, "forward_s", l->forward.seconds);
  add_json_number(row, "backward_s", l->backward.seconds);
  add_json_number(row, "forward_flop", l->forward.flop);
  add_json_number(row, "backward_flop", l->backward.flop);
  cJSON_AddItemToArray(list, row);
}

struct cJSON *profile_json(const run *r) {
  const run_profile *p = r->profile;
  rest rests[RESTS];
  cJSON *o = cJSON_CreateObject(), *list = cJSON_CreateArray();
  add_json_number(o, "steps", (double)(p->steps > 0 ? p->steps : 0));
  add_json_number(o, "tokens", per_step(p, p->tokens));
  add_json_number(o, "step_s", per_step(p, p->step_s));
  add_json_number(o, "peak_flop_s", p->peak);
  add_json_number(o, "f32_peak_flop_s", p->f32_peak);
  for (int part = 0; part < MODEL_PARTS; part++) {
    line l = line_of(r, (model_part)part);
    add_row(list, &l);
  }
  rests_of(r, rests);
  for (int i = 0; i < RESTS; i++) add_row(list, &(line){.name = rests[i].name, .forward.seconds = rests[i].seconds});
  cJSON_AddItemToObject(o, "parts", list);
  return o;
}
