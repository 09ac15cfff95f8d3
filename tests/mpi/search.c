/* ranks: 1 2 3 */
/* The search on a super-network: one rank's evaluation against that of all ranks, the same result on every rank, and trouble of one rank, told to all. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "support/checks.h"
#include "support/tiny_data.h"
#include "train/internal.h"
#include "train/supernet.h"

static int make_run(const char *path, run **r) {
  char data[4200];
  const char *words[] = {"model.init=random", "model.positions=128", "model.width=32", "model.ffn=64", "method=glora", "method.path=random", "threads=2", data};
  snprintf(data, sizeof data, "task.data=%s", path);
  config_request request = {.assignments = words, .assignment_count = sizeof words / sizeof *words, .method_options = method_options};
  config *c = NULL;
  TRY(comm_agree(world, config_compose(&request, &c)));
  TRY(run_create(world, c, 0, r));
  random_key key = random_key_make(5, RANDOM_TEST, 0);
  for (int64_t i = 0; i < (*r)->theta_count; i++) (*r)->chosen[i] = (*r)->theta[i] + (real)(0.1 * random_normal(key, 0, (uint64_t)i));
  return ERROR_NONE;
}

static const search_options options = {
    .seed = 1, .population = 7, .generations = 3, .parents = 3, .mutations = 3, .crossovers = 3, .randoms = 9, .mutate_share = 0.2, .limit = -1};

/* Bit for bit: a rank alone and all ranks together. */
static void alone(run *r) {
  for (int s = 0; s < SPLIT_COUNT; s++) {
    evaluation together, one;
    CHECK_DONE(run_evaluate(r, r->chosen, (split_name)s, &together, NULL));
    CHECK_DONE(evaluate_alone(r, r->chosen, &r->data->splits[s], &one));
    CHECK(one.loss == together.loss && one.count == together.count);
    CHECK(one.metrics.value[METRICS_ACCURACY] == together.metrics.value[METRICS_ACCURACY]);
  }
}

/* Every rank holds the same report. */
static void same(const supernet_report *report) {
  const search_result *e = &report->evolution;
  char text[HASH_TEXT_BYTES];
  hash *h;
  int is_same = 0;
  CHECK_DONE(hash_create(&h));
  for (int64_t i = 0; i < e->count; i++) {
    hash_add(h, &e->candidates[i].value, sizeof e->candidates[i].value);
    hash_add(h, e->candidates[i].path, (size_t)e->places * sizeof(int32_t));
  }
  hash_add(h, report->found, sizeof report->found);
  hash_add(h, report->widest, sizeof report->widest);
  hash_add(h, report->random, sizeof report->random);
  hash_finish(h, text);
  CHECK_DONE(comm_same_text(world, text, &is_same));
  CHECK(is_same);
}

static void whole(run *r) {
  arena *memory;
  supernet_report report;
  evaluation e;
  CHECK_DONE(arena_create(&memory));
  CHECK_DONE(supernet_search(r, &options, 0, memory, &report));
  same(&report);
  CHECK(report.examples[0] + report.examples[1] == TINY_ROWS && report.examples[2] == TINY_ROWS);
  CHECK_DONE(supernet_follow(r, report.evolution.candidates[report.evolution.best].path));
  CHECK_DONE(run_evaluate(r, r->chosen, SPLIT_TEST, &e, NULL));
  CHECK(e.metrics.value[r->metric] == report.found[SUPERNET_TEST]);
  CHECK_DONE(supernet_follow(r, NULL));
  arena_destroy(memory);
}

/* ---- trouble of the last rank alone ---- */

static int follows_left;
static const method_paths *true_paths;

static int tired_follow(adapter *a, const int32_t *path) {
  if (follows_left-- == 0) return FAIL(ERROR_SYSTEM, NULL, "out of breath");
  return true_paths->follow(a, path);
}

/* The path with this number cannot be evaluated: in the first generation, in a later one, and in the comparison at the end. */
static void trouble(run *r) {
  adapter *a = model_adapter(r->model);
  const method *whole_method = a->method;
  method tired = *whole_method;
  method_paths paths = *whole_method->paths;
  const int is_last = comm_rank(world) == comm_size(world) - 1, numbers[] = {0, 1, 2, 12 / comm_size(world), 40 / comm_size(world)};
  true_paths = whole_method->paths;
  paths.follow = tired_follow;
  tired.paths = &paths;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    arena *memory;
    supernet_report report;
    CHECK_DONE(arena_create(&memory));
    follows_left = numbers[i];
    if (is_last) a->method = &tired;
    CHECK(supernet_search(r, &options, 0, memory, &report) == ERROR_SYSTEM);
    CHECK(!strcmp(error_last()->text, "out of breath"));
    a->method = whole_method;
    arena_destroy(memory);
  }
}

/* A rank whose validation split is empty. */
static void no_data(run *r) {
  arena *memory;
  supernet_report report;
  split *validation = &r->data->splits[SPLIT_VALIDATION];
  int64_t count = validation->count;
  CHECK_DONE(arena_create(&memory));
  if (comm_rank(world) == comm_size(world) - 1) validation->count = 0;
  CHECK(supernet_search(r, &options, 0, memory, &report) == ERROR_INPUT);
  validation->count = count;
  arena_destroy(memory);
}

int main(int argc, char **argv) {
  char path[64];
  run *r = NULL;
  if (checks_begin(&argc, &argv)) return 1;
  log_setup(0, LOG_QUIET);
  snprintf(path, sizeof path, "/tmp/peftscale-search-%ld.h5", (long)getpid());
  CHECK_DONE(comm_broadcast(world, COMM_CONTROL, 0, path, sizeof path));
  if (comm_rank(world) == 0) tiny_data_write(path);
  if (!comm_agree(world, checks_failed ? FAIL(ERROR_SYSTEM, NULL, "%s cannot be written", path) : 0)) {
    CHECK_DONE(make_run(path, &r));
    if (r) {
      alone(r);
      whole(r);
      trouble(r);
      no_data(r);
      whole(r);
      run_destroy(r);
    }
  }
  CHECK_DONE(comm_agree(world, 0));
  if (comm_rank(world) == 0) unlink(path);
  return checks_end();
}
