/* ranks: 1 2 3 */
/* A training that is told to stop, and one that goes on from what it left: for every method the same bits of theta after every step as without, wherever it is
 * stopped, whichever rank was told, and however often. All runs in one process; what other processes find is tests/e2e/test_resume.py's. */
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/runfile.h"
#include "support/checks.h"
#include "support/tiny_data.h"
#include "train/check.h"
#include "train/internal.h"
#include "train/stop.h"

enum { WORDS_MAX = 32, STEPS = 7, RANKS_MAX = 8 };

static char folder[64];
static int64_t processes[RANKS_MAX];

static void path_of(const char *name, const char *ending, char path[200]) { snprintf(path, 200, "%s/%s.h5%s", folder, name, ending); }

static int exists(const char *name, const char *ending) {
  char path[200];
  path_of(name, ending, path);
  return access(path, F_OK) == 0;
}

/* ---- a run ---- */

/* What rank 0 does to a rank behind a step. */
typedef struct disturbance {
  int64_t step; /* 0: never */
  int rank, number;
  const char *block; /* instead: puts a directory where this run's checkpoint should go */
} disturbance;

static void disturb(void *context, int64_t done, int64_t steps) {
  const disturbance *d = context;
  (void)steps;
  if (done != d->step) return;
  if (d->number) CHECK(kill((pid_t)processes[d->rank], d->number) == 0);
  if (d->block) CHECK(mkdir(d->block, 0777) == 0);
}

static int train(const char *name, const char *const *words, disturbance d) {
  char data[128], directory[128], name_word[128];
  const char *all[WORDS_MAX] = {
      "model.init=random",      "model.positions=128", "model.width=32", "model.ffn=64",  "shards=8", "train.batch=7", "train.steps=7",
      "train.evaluate_every=2", "sample_every=2",      "check_every=1",  "train.lr=0.01", data,       directory,       name_word};
  int count = 14;
  snprintf(data, sizeof data, "task.data=%s/data.h5", folder);
  snprintf(directory, sizeof directory, "output.dir=%s", folder);
  snprintf(name_word, sizeof name_word, "output.name=%s", name);
  while (*words && count < WORDS_MAX) all[count++] = *words++;
  config_request request = {.assignments = all, .assignment_count = count, .method_options = method_options};
  config *c = NULL;
  run *r = NULL;
  TRY(comm_agree(world, config_compose(&request, &c)));
  CHECK_DONE(stop_listen());
  int code = run_create(world, c, 1, &r);
  if (!code) {
    run_observe(r, disturb, &d);
    code = run_train(r);
    run_destroy(r);
  }
  comm_wait(world); /* a signal that is on its way arrives while somebody listens */
  usleep(2000);
  stop_end();
  return code;
}

static const disturbance undisturbed = {0};

/* ---- what the two files must have in common ---- */

typedef struct row {
  double loss;
  int64_t step, theta_hash, tokens;
} row;

#define COLUMN(name, type) \
  { #name, "1", type, 1, offsetof(row, name) }
static const field columns[] = {COLUMN(loss, FIELD_DOUBLE), COLUMN(step, FIELD_INT64), COLUMN(theta_hash, FIELD_INT64), COLUMN(tokens, FIELD_INT64)};
static const table steps_table = {"series/steps", NULL, sizeof(row), columns, 4};

static int64_t result_int(const char *path, const char *name) {
  int64_t value = -1;
  CHECK_DONE(runfile_read_attribute_int(path, "result", name, &value));
  return value;
}

static void same_steps(const char *a, const char *b) {
  row *x = NULL, *y = NULL;
  int64_t count[2];
  uint8_t present[4];
  CHECK_DONE(runfile_read_table(a, &steps_table, (void **)&x, &count[0], present));
  CHECK_DONE(runfile_read_table(b, &steps_table, (void **)&y, &count[1], present));
  CHECK(count[0] == STEPS && count[1] == STEPS);
  CHECK(x && y && !memcmp(x, y, STEPS * sizeof *x));
  for (int i = 0; x && i < STEPS; i++) CHECK(x[i].step == i + 1 && x[i].theta_hash != 0);
  free(x);
  free(y);
}

/* Each VALID, and AGREE. */
static void certify(const char *a, const char *b) {
  const char *paths[] = {a, b};
  check_report *report = NULL;
  CHECK_DONE(check_files(paths, 2, CHECK_TOLERANCE, &report));
  if (!report) return;
  for (int i = 0; i < 2; i++)
    for (const check_line *line = report->runs[i].reasons.first; line; line = line->next) fprintf(stderr, "%s: %s\n", paths[i], line->text);
  for (const check_line *line = report->pairs[0].differences.first; line; line = line->next) fprintf(stderr, "%s and %s: %s\n", a, b, line->text);
  CHECK(report->invalid == 0 && report->pair_count == 1 && report->pairs[0].relation == CHECK_AGREE);
  check_destroy(report);
}

static void compare(const char *whole, const char *stopped, int attempts) {
  static const char *const names[] = {"tokens", "steps", "best_step", "gradient_payload_bytes"};
  char a[200], b[200];
  void *rows = NULL;
  int64_t count = 0;
  uint8_t present[16];
  if (comm_rank(world) != 0) return;
  path_of(whole, "", a);
  path_of(stopped, "", b);
  same_steps(a, b);
  certify(a, b);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) CHECK(result_int(a, names[i]) == result_int(b, names[i]));
  CHECK(result_int(b, "checkpoints") >= attempts - 1);
  CHECK_DONE(runfile_read_table(b, &attempt_table, &rows, &count, present));
  CHECK(count == attempts);
  const attempt_row *attempt = rows;
  for (int64_t i = 0; i < count; i++) CHECK(attempt[i].attempt == i + 1 && !strcmp(attempt[i].ended, i + 1 < count ? "stopped" : ""));
  for (int64_t i = 1; i < count; i++) CHECK(attempt[i].first_step == attempt[i - 1].last_step && attempt[i].first_step > 0);
  free(rows);
  CHECK(!exists(stopped, ".checkpoint") && !exists(stopped, ".partial") && !exists(stopped, ".partial.lock"));
}

/* ---- the methods ---- */

typedef struct variant {
  const char *name, *words[12];
} variant;

#define DROPOUTS "model.dropout_embedding=0.1", "model.dropout_attention=0.1", "model.dropout_hidden=0.1", "model.dropout_adapter=0.1", "model.dropout_head=0.1"

static const variant variants[] = {
    {"glora-random", {"method=glora", "method.path=random", "method.modules=all", "reduce=exact", DROPOUTS}},
    {"tied-square", {"method=tied", "method.tie=square", "reduce=exact", DROPOUTS}},
    {"masked", {"method=full", "task.objective=mlm", "task.metric=loss", "reduce=exact"}},
    {"factors", {"method=lora", "head_reduce=factors", "model.head=tanh", "reduce=exact", "threads=2", DROPOUTS}},
    {"last", {"method=bitfit", "train.keep=last", "reduce=exact", "payload=dense", "threads=2", "train.clip=0.1"}},
    {"node", {"method=full", "node_reduce=on", "reduce=exact"}},
    {"floats", {"method=lora", DROPOUTS}},
    {"floats-packed", {"method=full", "head_reduce=factors", "threads=2", DROPOUTS}},
    {"floats-drawn", {"method=glora", "method.path=random", "output.test=false"}},
    {"untested", {"method=red", "reduce=exact", "output.test=false", "output.predictions=false", "output.theta=false"}},
};

/* Behind step `at` rank `told` hears of it; twice where there is a second place. Steps are counted on. */
static void stop_at(const char *whole, const char *const *words, int64_t at, int64_t second, int told, int number) {
  char name[96];
  int attempts = 1;
  snprintf(name, sizeof name, "%s-%lld-%lld-%d", whole, (long long)at, (long long)second, told);
  int code = train(name, words, (disturbance){.step = at, .rank = told, .number = number});
  /* Rank 0 hears at once; another one may by then have asked for the first sum behind. */
  if (told == 0 || at < STEPS - 1) CHECK(code == ERROR_STOPPED);
  if (code == ERROR_STOPPED) {
    CHECK(strstr(error_last()->text, "the same command goes on") != NULL);
    if (comm_rank(world) == 0) CHECK(exists(name, ".checkpoint") && exists(name, ".partial") && !exists(name, "") && !exists(name, ".partial.lock"));
    attempts++;
    code = train(name, words, second ? (disturbance){.step = second, .rank = told, .number = number} : undisturbed);
  }
  if (code == ERROR_STOPPED && second) {
    attempts++;
    code = train(name, words, undisturbed);
  }
  CHECK_DONE(code);
  compare(whole, name, attempts);
}

static void stop_everywhere(const char *name, const char *const *words, int turn) {
  int last = comm_size(world) - 1;
  CHECK_DONE(train(name, words, undisturbed));
  switch (turn % 4) { /* every place for some methods, some places for every method */
    case 0: stop_at(name, words, 1, 4, 0, SIGUSR1); break;
    case 1: stop_at(name, words, 2, 0, last, SIGTERM); break; /* behind a validation's step */
    case 2: stop_at(name, words, 3, 5, last, SIGUSR1); break;
    default: stop_at(name, words, 4, 0, 0, SIGINT);
  }
  stop_at(name, words, STEPS - 1, 0, turn % 2 ? last : 0, SIGUSR1); /* in the last step */
  stop_at(name, words, STEPS, 0, 0, SIGTERM);                       /* in the last validation, before it is done */
  if (turn % 3 == 0)
    for (int64_t at = 1; at < STEPS - 1; at++) stop_at(name, words, at, at + 1, 0, SIGUSR1); /* again, right behind */
}

static void every_method(void) {
  int turn = 0;
  for (int m = 0; method_list[m]; m++) {
    char method_word[64];
    snprintf(method_word, sizeof method_word, "method=%s", method_list[m]->name);
    const char *const words[] = {method_word, "reduce=exact", DROPOUTS, NULL};
    stop_everywhere(method_list[m]->name, words, turn++);
  }
  for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) stop_everywhere(variants[i].name, variants[i].words, turn++);
}

/* ---- checkpoints by time ---- */

/* One after every step changes nothing, and the last one goes. */
static void by_time(void) {
  static const char *const words[] = {"method=lora", "reduce=exact", "output.checkpoint_s=1e-9", NULL};
  char path[200];
  CHECK_DONE(train("lora-timed", words, undisturbed));
  path_of("lora-timed", "", path);
  if (comm_rank(world) == 0) {
    CHECK(result_int(path, "checkpoints") == STEPS);
    CHECK(!exists("lora-timed", ".checkpoint"));
  }
  stop_at("lora-timed", words, 3, 4, 0, SIGUSR1);
}

/* A checkpoint that cannot be written: by time a warning, at a stop an error. */
static void in_the_way(const char *name, int number, int wanted) {
  const char *const words[] = {"method=lora", "reduce=exact", number ? "output.checkpoint_s=0" : "output.checkpoint_s=1e-9", NULL};
  char path[200];
  path_of(name, ".checkpoint", path);
  CHECK(train(name, words, (disturbance){.step = 1, .number = number, .block = path}) == wanted);
  if (wanted) CHECK(strstr(error_last()->text, "a directory") != NULL);
  if (comm_rank(world) != 0) return;
  CHECK(exists(name, "") == !wanted);
  CHECK(rmdir(path) == 0);
}

int main(int argc, char **argv) {
  if (checks_begin(&argc, &argv)) return 1;
  log_setup(0, LOG_QUIET);
  snprintf(folder, sizeof folder, "/tmp/peftscale-resume-XXXXXX");
  if (comm_rank(world) == 0) CHECK(mkdtemp(folder) != NULL);
  CHECK_DONE(comm_broadcast(world, COMM_CONTROL, 0, folder, sizeof folder));
  for (int i = 0; i < comm_size(world) && i < RANKS_MAX; i++) {
    processes[i] = getpid();
    CHECK_DONE(comm_broadcast(world, COMM_CONTROL, i, &processes[i], sizeof processes[i]));
  }
  char path[200], command[128];
  snprintf(path, sizeof path, "%s/data.h5", folder);
  if (comm_rank(world) == 0) tiny_data_write(path);
  if (!comm_agree(world, checks_failed ? FAIL(ERROR_SYSTEM, NULL, "%s cannot be written", path) : 0)) {
    every_method();
    by_time();
    in_the_way("blocked", 0, ERROR_NONE);
    in_the_way("blocked-stop", SIGUSR1, ERROR_SYSTEM);
  }
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (comm_rank(world) == 0) CHECK(system(command) == 0);
  return checks_end();
}
