#include "train/supernet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "data/order.h"
#include "train/internal.h"

typedef struct searching {
  run *r;
  const method_paths *paths;
  const search_options *options;
  split part[SUPERNET_PARTS];
  supernet_part at;     /* what score looks at          */
  int64_t *counts;      /* [ranks] bytes of a gather    */
  search_value *mine;   /* [capacity] of this rank      */
  const char *activity; /* for the progress line        */
  int generation;       /* the one at hand              */
  double began_s;
} searching;

/* ---- data ---- */

/* Rows of a split as a split of its own. */
static int take_rows(const split *s, const int64_t *row, int64_t count, arena *memory, split *part) {
  int64_t tokens = 0;
  size_t n = (size_t)count;
  *part = (split){.count = count};
  for (int64_t i = 0; i < count; i++) tokens += s->offset[row[i] + 1] - s->offset[row[i]];
  TRY(arena_take(memory, n + 1, sizeof *part->offset, &part->offset));
  TRY(arena_take(memory, (size_t)tokens, sizeof *part->token, &part->token));
  TRY(arena_take(memory, n, sizeof *part->segment_start, &part->segment_start));
  TRY(arena_take(memory, n, sizeof *part->target_start, &part->target_start));
  TRY(arena_take(memory, n, sizeof *part->label, &part->label));
  TRY(arena_take(memory, n, sizeof *part->example, &part->example));
  for (int64_t i = 0; i < count; i++) {
    int64_t from = row[i], length = s->offset[from + 1] - s->offset[from];
    part->offset[i + 1] = part->offset[i] + length;
    memcpy(part->token + part->offset[i], s->token + s->offset[from], (size_t)length * sizeof *part->token);
    part->segment_start[i] = s->segment_start[from];
    part->target_start[i] = s->target_start[from];
    part->label[i] = s->label[from];
    part->example[i] = s->example[from];
  }
  return ERROR_NONE;
}

/* Which half an example is in follows from its id alone. */
static int is_searched(int64_t example) {
  char text[HASH_TEXT_BYTES];
  hash_bytes(&example, sizeof example, text);
  return text[0] < '8'; /* the first of its hexadecimal digits */
}

/* A fixed choice of at most `examples` of the rows. */
static int choose_rows(int64_t *row, int64_t *count, int64_t examples, arena *memory) {
  int64_t *order, *kept;
  if (examples <= 0 || examples >= *count) return ERROR_NONE;
  TRY(arena_take(memory, (size_t)*count, sizeof *order, &order));
  TRY(arena_take(memory, (size_t)examples, sizeof *kept, &kept));
  order_epoch(0, INT64_MAX, *count, order);
  for (int64_t i = 0; i < examples; i++) kept[i] = row[order[i]];
  memcpy(row, kept, (size_t)examples * sizeof *row);
  *count = examples;
  return ERROR_NONE;
}

static int cut_data(searching *s, int64_t examples, arena *memory) {
  const dataset *data = s->r->data;
  const split *validation = &data->splits[SPLIT_VALIDATION];
  int64_t *row[2], count[2] = {0, 0};
  for (int half = 0; half < 2; half++) TRY(arena_take(memory, (size_t)validation->count, sizeof *row[half], &row[half]));
  for (int64_t i = 0; i < validation->count; i++) {
    int half = is_searched(validation->example[i]) ? SUPERNET_SEARCH : SUPERNET_UNSEEN;
    row[half][count[half]++] = i;
  }
  if (!count[0] || !count[1])
    return FAIL(ERROR_INPUT, "prepare the data with a larger validation split", "%s: its %lld validation examples cannot be cut into two halves", data->path,
                (long long)validation->count);
  TRY(choose_rows(row[SUPERNET_SEARCH], &count[SUPERNET_SEARCH], examples, memory));
  for (int half = 0; half < 2; half++) TRY(take_rows(validation, row[half], count[half], memory, &s->part[half]));
  s->part[SUPERNET_TEST] = data->splits[SPLIT_TEST];
  for (int p = 0; p < SUPERNET_PARTS; p++) TRY(run_fit(s->r, &s->part[p]));
  return ERROR_NONE;
}

/* ---- evaluating paths ---- */

int supernet_paths(const run *r, const method_paths **paths) {
  const method *m = model_adapter(r->model)->method;
  *paths = m->paths;
  if (*paths) return (*paths)->follow(model_adapter(r->model), NULL);
  return FAIL(ERROR_USAGE, "train a super-network: method=glora method.path=random", "method %s trains no super-network: there are no paths to search",
              m->name);
}

int supernet_follow(run *r, const int32_t *path) {
  const method_paths *paths;
  TRY(supernet_paths(r, &paths));
  TRY(paths->follow(model_adapter(r->model), path));
  return model_choose(r->model, METHOD_EVALUATION);
}

static int score_mine(searching *s, int64_t begin, int64_t end, const int32_t *const *paths) {
  run *r = s->r;
  for (int64_t i = begin; i < end; i++) {
    evaluation e;
    TRY(s->paths->follow(model_adapter(r->model), paths[i]));
    TRY(evaluate_alone(r, r->chosen, &s->part[s->at], &e));
    s->mine[i - begin] = (search_value){e.metrics.value[r->metric], e.loss};
    if (log_is_terminal())
      log_progress("%s %d: path %lld of %lld on this rank", s->activity, s->generation, (long long)(i - begin + 1), (long long)(end - begin));
  }
  return ERROR_NONE;
}

/* Collective. Whole candidates per rank; a NULL path is the widest. */
static int score(void *context, int count, const int32_t *const *paths, search_value *values) {
  searching *s = context;
  comm *c = s->r->comm;
  int64_t begin, end;
  void *all = NULL;
  order_share(count, comm_size(c), comm_rank(c), &begin, &end);
  int code = comm_agree(c, score_mine(s, begin, end, paths));
  if (!code) code = comm_gather(c, COMM_EVALUATION, s->mine, (end - begin) * (int64_t)sizeof *values, s->counts, &all);
  if (!code && all) memcpy(values, all, (size_t)count * sizeof *values);
  free(all);
  TRY(comm_agree(c, code));
  return comm_broadcast(c, COMM_EVALUATION, 0, values, (size_t)count * sizeof *values);
}

static int agree(void *context, int code) { return comm_agree(((searching *)context)->r->comm, code); }

static void tell(void *context, int generation, const search_generation *g) {
  searching *s = context;
  double spent = clock_wall_s() - s->began_s;
  int64_t left = (int64_t)(spent / (generation + 1) * (s->options->generations - generation) + 0.5);
  log_progress("generation %d/%d  %d new paths  best %s %.4f  mean %.4f  ETA %lld:%02lld", generation, s->options->generations, g->evaluated,
               metric_names[s->r->metric], g->best, g->mean, (long long)(left / 60), (long long)(left % 60));
  s->generation = generation + 1;
}

/* ---- the report ---- */

static void summarise(const search_result *e, metric_kind metric, const double *value, int chosen, supernet_random *result) {
  double mean = 0, squares = 0;
  *result = (supernet_random){.best = value[0], .chosen = value[chosen]};
  for (int i = 0; i < e->random_count; i++) {
    mean += value[i] / e->random_count;
    if (metrics_better(metric, value[i], result->best)) result->best = value[i];
  }
  for (int i = 0; i < e->random_count; i++) squares += (value[i] - mean) * (value[i] - mean);
  result->mean = mean;
  result->deviation = e->random_count > 1 ? sqrt(squares / (e->random_count - 1)) : NAN;
}

/* Which of the random paths is best on the search half. */
static int choose_random(const search_result *e, const search_options *o) {
  int best = 0;
  for (int i = 1; i < e->random_count; i++)
    if (search_better(o, &e->candidates[e->randoms[i]].value, &e->candidates[e->randoms[best]].value)) best = i;
  return best;
}

/* The found path, the widest and the random ones on every part; on the search half all but the widest have their values. */
static int compare(searching *s, arena *memory, supernet_report *report) {
  const search_result *e = &report->evolution;
  int count = 2 + e->random_count, chosen = choose_random(e, s->options);
  const int32_t **path;
  search_value *value;
  double *random;
  TRY(comm_agree(s->r->comm, arena_take(memory, (size_t)count, sizeof *path, &path)));
  TRY(comm_agree(s->r->comm, arena_take(memory, (size_t)count, sizeof *value, &value)));
  TRY(comm_agree(s->r->comm, arena_take(memory, (size_t)count, sizeof *random, &random)));
  path[1] = e->candidates[e->best].path; /* path[0] NULL: the widest */
  for (int i = 0; i < e->random_count; i++) path[2 + i] = e->candidates[e->randoms[i]].path;
  for (int p = 0; p < SUPERNET_PARTS; p++) {
    report->examples[p] = s->part[p].count;
    s->at = (supernet_part)p;
    for (int i = 0; i < count; i++) value[i] = (search_value){NAN, NAN};
    if (p == SUPERNET_SEARCH) {
      TRY(score(s, 1, path, value));
      value[1] = e->candidates[e->best].value;
      for (int i = 0; i < e->random_count; i++) value[2 + i] = e->candidates[e->randoms[i]].value;
    } else if (s->part[p].count > 0) {
      TRY(score(s, count, path, value));
    }
    report->widest[p] = value[0].value;
    report->found[p] = value[1].value;
    report->found_loss[p] = value[1].loss;
    for (int i = 0; i < e->random_count; i++) {
      random[i] = value[2 + i].value;
      report->random_loss[p] += value[2 + i].loss / e->random_count;
    }
    summarise(e, s->r->metric, random, chosen, &report->random[p]);
  }
  for (int i = 0; i < e->random_count; i++) report->random_size += (double)e->candidates[e->randoms[i]].size / e->random_count;
  report->chosen_size = e->candidates[e->randoms[chosen]].size;
  for (int i = 0; i < e->places; i++) report->widest_size += s->paths->size(model_adapter(s->r->model), i, 0);
  return ERROR_NONE;
}

static int prepare(searching *s, int64_t examples, arena *memory) {
  const search_options *o = s->options;
  int most = o->population > o->randoms ? o->population : o->randoms;
  TRY(supernet_paths(s->r, &s->paths));
  TRY(cut_data(s, examples, memory));
  TRY(arena_take(memory, (size_t)(most < 0 ? 0 : most) + 2, sizeof *s->mine, &s->mine));
  return arena_take(memory, (size_t)comm_size(s->r->comm), sizeof *s->counts, &s->counts);
}

int supernet_search(run *r, const search_options *options, int64_t examples, arena *memory, supernet_report *report) {
  search_options settled = *options;
  searching s = {.r = r, .options = &settled, .at = SUPERNET_SEARCH, .activity = "generation", .began_s = clock_wall_s()};
  settled.metric = r->metric;
  const search_judge judge = {.score = score, .agree = agree, .tell = tell, .context = &s};
  *report = (supernet_report){0};
  TRY(comm_agree(r->comm, prepare(&s, examples, memory)));
  TRY(search_evolve(s.paths, model_adapter(r->model), &settled, &judge, memory, &report->evolution));
  s.activity = "comparison after generation";
  s.generation = options->generations;
  int code = compare(&s, memory, report);
  if (log_is_terminal()) log_progress("%s", "");
  return code;
}
