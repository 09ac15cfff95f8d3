/* ranks: 1 2 3 4 */
/* Bytes on the wire over TCP on one machine: what the ranks' own sockets sent is at least the payload an algorithm cannot do without, at most a few headers
 * more, in the purpose it belongs to. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/checks.h"

static int64_t metered(comm_purpose purpose) { return comm_meter_read(world, purpose).wire_bytes; }

static double over_ranks(int64_t mine) {
  double sum = (double)mine;
  CHECK_DONE(comm_sum_doubles(world, COMM_CONTROL, &sum, 1));
  return sum;
}

/* An all-reduce of S bytes makes n ranks send 2 (n - 1) S in all at the least; recursive doubling, n log2 n S, and its folding of odd ranks send more. */
static void a_sum(int64_t count) {
  enum { HEADERS = 100000 };
  int n = comm_size(world);
  float *vector = calloc((size_t)count, sizeof *vector);
  if (!vector) exit(1);
  int64_t before[] = {metered(COMM_GRADIENT), metered(COMM_EVALUATION), metered(COMM_CONTROL)};
  CHECK_DONE(comm_sum_begin(world, vector, count));
  CHECK_DONE(comm_sum_end(world));
  int64_t after[] = {metered(COMM_GRADIENT), metered(COMM_EVALUATION), metered(COMM_CONTROL)};
  double sent = over_ranks(after[0] - before[0]), least = 2.0 * (n - 1) * (double)count * sizeof *vector;
  CHECK(sent >= (n > 1 ? least : 0));
  CHECK(sent <= 1.02 * (n == 3 ? 1.2 : 1) * least + HEADERS * (n > 1));
  CHECK(after[1] == before[1] && after[2] == before[2]);
  free(vector);
}

/* Buckets that left early, and are back before the ranks wait for each other, are the gradient's all the same. */
static void an_early_part(void) {
  enum { COUNT = 3 << 20, EARLY = 2 << 20, DRIVES = 2000, HEADERS = 20000 };
  const struct timespec pause = {.tv_nsec = 100000};
  float *vector = calloc(COUNT, sizeof *vector);
  if (!vector) exit(1);
  int64_t control = metered(COMM_CONTROL), gradient = metered(COMM_GRADIENT);
  CHECK_DONE(comm_sum_begin(world, vector, COUNT));
  for (int i = 0; i < DRIVES; i++) {
    CHECK_DONE(comm_sum_ready(world, EARLY));
    nanosleep(&pause, NULL);
  }
  CHECK(comm_wait(world) >= 0);
  CHECK(metered(COMM_CONTROL) - control < HEADERS);
  CHECK(comm_size(world) == 1 || metered(COMM_GRADIENT) - gradient >= (int64_t)(EARLY * sizeof *vector));
  CHECK_DONE(comm_sum_end(world));
  free(vector);
}

static void the_purposes(void) {
  enum { COUNT = 1 << 16 };
  double *values = calloc(COUNT, sizeof *values);
  if (!values) exit(1);
  int64_t before = metered(COMM_EVALUATION), control = metered(COMM_CONTROL), gradient = metered(COMM_GRADIENT);
  CHECK_DONE(comm_sum_doubles(world, COMM_EVALUATION, values, COUNT));
  CHECK(metered(COMM_GRADIENT) == gradient && metered(COMM_CONTROL) == control);
  CHECK(comm_size(world) == 1 || metered(COMM_EVALUATION) - before >= (int64_t)(COUNT * sizeof *values / 2));
  CHECK(comm_wait(world) >= 0);
  CHECK(metered(COMM_GRADIENT) == gradient);
  free(values);
}

/* The purposes together are all that was sent. */
static void the_whole(void) {
  int64_t sum = 0;
  for (int p = 0; p < COMM_PURPOSES; p++) sum += metered(p);
  CHECK(sum <= comm_wire_bytes(world));
  CHECK(comm_wire_bytes(world) - sum < 10000);
}

int main(int argc, char **argv) {
  checks_over_tcp();
  if (checks_begin(&argc, &argv)) return 1;
  CHECK(!strcmp(comm_wire_name(world), comm_size(world) > 1 ? "tcp" : "shared memory"));
  int on_node;
  CHECK_DONE(comm_sum_setup(world, COMM_BUCKET_BYTES, 0, &on_node)); /* else the first sum makes what it needs, which is control */
  CHECK(metered(COMM_CONTROL) >= 0 && comm_wire_bytes(world) >= 0);
  for (int64_t count = 1 << 18; count <= 1 << 22; count *= 4) a_sum(count + 3);
  an_early_part();
  the_purposes();
  the_whole();
  return checks_end();
}
