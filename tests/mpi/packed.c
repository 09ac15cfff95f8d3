/* ranks: 1 2 3 */
/* Several trainings one after another in one process, as a sweep packs them: whatever came before (other methods, other ways of summing, runs that failed in
 * the middle or at the start), a run's file holds the same numbers, bytes of each purpose among them, as that of a process' first run; and a run leaves no
 * open file and no shared memory behind. */
#include <dirent.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/runfile.h"
#include "support/checks.h"
#include "support/tiny_data.h"
#include "train/internal.h"

enum { WORDS_MAX = 24, STEPS = 5, ROUNDS = 4 };

static char folder[64];

/* ---- a run ---- */

typedef struct watched {
  int64_t calls, last, steps;
} watched;

static void watch(void *context, int64_t done, int64_t steps) {
  watched *w = context;
  CHECK(done == w->last + 1);
  *w = (watched){w->calls + 1, done, steps};
}

/* Its run file is NAME.h5 in the folder. */
static int train(const char *name, const char *const *words) {
  char data[128], directory[128], name_word[128];
  const char *all[WORDS_MAX] = {"model.init=random",      "model.positions=128", "model.width=32", "shards=8", "train.batch=7", "train.steps=5",
                                "train.evaluate_every=2", "sample_every=2",      "check_every=3",  data,       directory,       name_word};
  int count = 12;
  snprintf(data, sizeof data, "task.data=%s/data.h5", folder);
  snprintf(directory, sizeof directory, "output.dir=%s", folder);
  snprintf(name_word, sizeof name_word, "output.name=%s", name);
  while (*words && count < WORDS_MAX) all[count++] = *words++;
  config_request request = {.assignments = all, .assignment_count = count, .method_options = method_options};
  config *c = NULL;
  run *r = NULL;
  watched seen = {0};
  TRY(comm_agree(world, config_compose(&request, &c)));
  TRY(run_create(world, c, 1, &r));
  run_observe(r, watch, &seen);
  int code = run_train(r);
  if (!code) CHECK(seen.calls == (comm_rank(world) ? 0 : STEPS) && (!seen.calls || seen.steps == STEPS));
  CHECK(r->start_s >= 0 && r->start_s + r->began_s <= clock_since_start_s());
  run_destroy(r);
  return code;
}

/* ---- what two files must have in common ---- */

typedef struct row {
  double loss, grad_norm;
  int64_t step, examples, tokens, theta_hash, payload_bytes, wire_bytes, sent_floats;
} row;

#define COLUMN(name, type) \
  { #name, "1", type, 1, offsetof(row, name) }
static const field columns[] = {COLUMN(loss, FIELD_DOUBLE),         COLUMN(grad_norm, FIELD_DOUBLE), COLUMN(step, FIELD_INT64),
                                COLUMN(examples, FIELD_INT64),      COLUMN(tokens, FIELD_INT64),     COLUMN(theta_hash, FIELD_INT64),
                                COLUMN(payload_bytes, FIELD_INT64), COLUMN(wire_bytes, FIELD_INT64), COLUMN(sent_floats, FIELD_INT64)};
static const table steps_table = {"series/steps", NULL, sizeof(row), columns, (int)(sizeof columns / sizeof *columns)};

static const char *const whole[] = {"steps",
                                    "tokens",
                                    "best_step",
                                    "gradient_payload_bytes",
                                    "evaluation_payload_bytes",
                                    "control_payload_bytes",
                                    "gradient_wire_bytes",
                                    "evaluation_wire_bytes"};
static const char *const real_ones[] = {"validation_metric", "test_metric"};
static const char *const texts[] = {"experiment_id", "run_id", "request_id"};

static void same_steps(const char *a, const char *b) {
  row *x = NULL, *y = NULL;
  int64_t count[2];
  uint8_t present[16];
  CHECK_DONE(runfile_read_table(a, &steps_table, (void **)&x, &count[0], present));
  CHECK_DONE(runfile_read_table(b, &steps_table, (void **)&y, &count[1], present));
  CHECK(count[0] == STEPS && count[1] == STEPS);
  CHECK(x && y && !memcmp(x, y, STEPS * sizeof *x));
  free(x);
  free(y);
}

static void same_files(const char *first, const char *later) {
  char a[200], b[200];
  if (comm_rank(world) != 0) return;
  snprintf(a, sizeof a, "%s/%s.h5", folder, first);
  snprintf(b, sizeof b, "%s/%s.h5", folder, later);
  same_steps(a, b);
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    int64_t x = 0, y = 1;
    CHECK_DONE(runfile_read_attribute_int(a, "result", whole[i], &x));
    CHECK_DONE(runfile_read_attribute_int(b, "result", whole[i], &y));
    if (x != y) fprintf(stderr, "%s and %s: %s is %lld and %lld\n", first, later, whole[i], (long long)x, (long long)y);
    CHECK(x == y);
  }
  for (size_t i = 0; i < sizeof real_ones / sizeof *real_ones; i++) {
    double x = 0, y = 1;
    CHECK_DONE(runfile_read_attribute_double(a, "result", real_ones[i], &x));
    CHECK_DONE(runfile_read_attribute_double(b, "result", real_ones[i], &y));
    CHECK(!memcmp(&x, &y, sizeof x));
  }
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char *x = NULL, *y = NULL;
    CHECK_DONE(runfile_read_attribute_text(a, "", texts[i], &x));
    CHECK_DONE(runfile_read_attribute_text(b, "", texts[i], &y));
    CHECK(x && y && !strcmp(x, y));
    free(x);
    free(y);
  }
}

/* ---- what a run must not leave behind ---- */

static int count_open_files(void) {
  int count = 0;
  DIR *directory = opendir("/proc/self/fd");
  while (directory && readdir(directory)) count++;
  if (directory) closedir(directory);
  return count;
}

/* Shared memory of MPI's windows, wherever the library keeps it. */
static int count_shared_maps(void) {
  char line[4200];
  int count = 0;
  FILE *file = fopen("/proc/self/maps", "r");
  while (file && fgets(line, sizeof line, file)) count += strstr(line, " rw-s ") != NULL;
  if (file) fclose(file);
  return count;
}

/* ---- the runs ---- */

static const char *const lora[] = {"method=lora", "reduce=exact", NULL};
static const char *const plain[] = {"method=vblora", "output.test=false", NULL};
/* Several buckets, which go round the ring; with the sum on the node first; and without, which must not be as the one before left it. */
static const char *const on_node[] = {"method=full", "model.layers=2", "model.width=256", "model.ffn=1024", "node_reduce=on", NULL};
static const char *const bucketed[] = {"method=full", "model.layers=2", "model.width=256", "model.ffn=1024", "head_reduce=factors", NULL};
static const char *const diverging[] = {"method=lora", "train.lr=1000", "train.decay=100", "train.warmup=0", "train.schedule=constant", NULL};
static const char *const dataless[] = {"method=lora", "task.data=nowhere.h5", NULL};

static const struct {
  const char *name;
  const char *const *words;
} good[] = {{"lora", lora}, {"plain", plain}, {"node", on_node}, {"buckets", bucketed}};
enum { GOOD = sizeof good / sizeof *good };

static void round_of(int round) {
  for (int i = 0; i < GOOD; i++) {
    /* The order changes, and every run stands behind every other and behind both kinds of failure. */
    const int which = (i * (round % 2 ? 1 : 3) + round) % GOOD;
    char name[64];
    snprintf(name, sizeof name, "%s-%d", good[which].name, round);
    CHECK_DONE(train(name, good[which].words));
    char first[64];
    snprintf(first, sizeof first, "%s-0", good[which].name);
    if (round) same_files(first, name);
    if ((i + round) % 3 == 0) CHECK(train("dataless", dataless) == ERROR_INPUT);
    if ((i + round) % 3 == 1) CHECK(train("diverging", diverging) == ERROR_DIVERGED);
  }
}

int main(int argc, char **argv) {
  if (checks_begin(&argc, &argv)) return 1;
  log_setup(0, LOG_QUIET);
  snprintf(folder, sizeof folder, "/tmp/peftscale-packed-XXXXXX");
  if (comm_rank(world) == 0) CHECK(mkdtemp(folder) != NULL);
  CHECK_DONE(comm_broadcast(world, COMM_CONTROL, 0, folder, sizeof folder));
  char path[128], command[128];
  snprintf(path, sizeof path, "%s/data.h5", folder);
  if (comm_rank(world) == 0) tiny_data_write(path);
  if (!comm_agree(world, checks_failed ? FAIL(ERROR_SYSTEM, NULL, "%s cannot be written", path) : 0)) {
    int files = 0, maps = 0;
    for (int round = 0; round < ROUNDS; round++) {
      round_of(round);
      if (round == 1) { /* what MPI and the libraries take once is there */
        files = count_open_files();
        maps = count_shared_maps();
      }
    }
    CHECK(count_open_files() == files);
    CHECK(count_shared_maps() == maps);
  }
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (comm_rank(world) == 0) CHECK(system(command) == 0);
  return checks_end();
}
