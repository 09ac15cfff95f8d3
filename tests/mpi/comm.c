/* ranks: 1 2 3 4 */
/* Agreement, sums, exchanges and memory shared on a node. Whole numbers, so that a sum is exact in any order. */
#include "comm/comm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/internal.h" /* nodes can be made up */
#include "support/checks.h"

static int rank, size;

static void agreement(void) {
  CHECK(comm_agree(world, ERROR_NONE) == ERROR_NONE);
  /* One after the other fails alone: all learn its code, words and hint. */
  for (int loser = 0; loser < size; loser++) {
    char text[64], hint[64];
    snprintf(text, sizeof text, "rank %d lost it", loser);
    snprintf(hint, sizeof hint, "ask rank %d", loser);
    int code = comm_agree(world, rank == loser ? FAIL(ERROR_INPUT, hint, "%s", text) : ERROR_NONE);
    CHECK(code == ERROR_INPUT);
    CHECK(error_last()->code == ERROR_INPUT);
    CHECK(!strcmp(error_last()->text, text));
    CHECK(!strcmp(error_last()->hint, hint));
  }
  /* All fail: the worst code wins, and of equals the lowest rank. */
  CHECK(comm_agree(world, FAIL(ERROR_USAGE, NULL, "words of %d", rank)) == ERROR_USAGE);
  CHECK(!strcmp(error_last()->text, "words of 0"));
  CHECK(comm_agree(world, FAIL(rank == size - 1 ? ERROR_MEMORY : ERROR_INPUT, NULL, "words of %d", rank)) == ERROR_MEMORY);
  char last[32];
  snprintf(last, sizeof last, "words of %d", size - 1);
  CHECK(!strcmp(error_last()->text, last));
  CHECK(comm_agree(world, ERROR_NONE) == ERROR_NONE); /* an old error is no error */
}

/* Element i of rank r's vector; the sum over ranks stays below 2^24. */
static float element(int64_t i, int r) { return (float)((i * 7 + 13 * r) % 1001 - 500); }

static float total(int64_t i) {
  float sum = 0;
  for (int r = 0; r < size; r++) sum += element(i, r);
  return sum;
}

/* Reports progress at `pace` elements, more than once and beyond the end, or not at all (0). What is not reported yet is written late, as backward does. */
static void sum(int64_t count, int64_t pace) {
  float *vector = malloc((size_t)(count + 1) * sizeof *vector);
  CHECK(vector != NULL);
  if (!vector) return;
  vector[count] = 77;
  comm_meter before = comm_meter_read(world, COMM_GRADIENT);
  CHECK_DONE(comm_sum_begin(world, vector, count));
  CHECK_DONE(comm_sum_ready(world, 0));
  for (int64_t done = 0; done < count;) {
    int64_t upto = pace && done + pace < count ? done + pace : count;
    for (; done < upto; done++) vector[done] = element(done, rank);
    if (!pace) continue;
    CHECK_DONE(comm_sum_ready(world, upto));
    CHECK_DONE(comm_sum_ready(world, upto / 2)); /* less than before: takes nothing back */
    CHECK_DONE(comm_sum_ready(world, upto));
  }
  CHECK_DONE(comm_sum_end(world));
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; i++) wrong += vector[i] != total(i);
  CHECK(wrong == 0);
  CHECK(vector[count] == 77);
  comm_meter after = comm_meter_read(world, COMM_GRADIENT);
  CHECK(after.calls == before.calls + 1);
  CHECK(after.payload_bytes - before.payload_bytes == (size > 1 ? count * (int64_t)sizeof(float) : 0));
  CHECK(after.seconds >= before.seconds);
  free(vector);
}

/* Numbers beyond a float's or a double's whole numbers. */
static int64_t integer(int64_t i, int r) { return ((int64_t)1 << 60) / (r + 2) - i * 1000003 * (r % 2 ? 1 : -1); }

static void sum_integers(int64_t count) {
  int64_t *values = malloc((size_t)(count + 1) * sizeof *values), wrong = 0;
  CHECK(values != NULL);
  if (!values) return;
  for (int64_t i = 0; i < count; i++) values[i] = integer(i, rank);
  values[count] = 77;
  comm_meter before = comm_meter_read(world, COMM_CONTROL);
  CHECK_DONE(comm_sum_integers(world, COMM_CONTROL, values, count));
  for (int64_t i = 0; i < count; i++) {
    int64_t wanted = 0;
    for (int r = 0; r < size; r++) wanted += integer(i, r);
    wrong += values[i] != wanted;
  }
  CHECK(wrong == 0);
  CHECK(values[count] == 77);
  CHECK(comm_meter_read(world, COMM_CONTROL).payload_bytes - before.payload_bytes == (size > 1 ? count * (int64_t)sizeof *values : 0));
  free(values);
}

/* Around the borders of buckets of b numbers, and beyond what is on its way at a time. */
static void sums_with(int64_t b) {
  const int64_t counts[] = {1, 2, 3, 1000, b - 1, b, b + 1, 2 * b - 1, 2 * b, 2 * b + 5, 4 * b + 3, 13 * b + 1};
  const int64_t paces[] = {0, b / 10, b, b + 17, 5 * b};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (size_t j = 0; j < sizeof paces / sizeof *paces; j++)
      if (counts[i] > 1000 || j == 0) sum(counts[i], paces[j]);
  sum(3 * b + 1, b / 10 + b / 100 * rank); /* every rank reports in its own steps, as shards of other lengths do */
  sum(3 * b + 1, rank % 2 ? 0 : b / 20);
  sum(13 * b + 1, rank ? 0 : b / 3);
  sum(7, 1);
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) sum_integers(counts[i]);
}

/* Ranks of this machine as if they were on several: each rank's node, by number. */
static void sums_on_nodes(const int *node_of) {
  MPI_Comm whole = world->node;
  const int node_rank = world->node_rank, node_size = world->node_size, nodes = world->nodes, leader = world->leader;
  int is_on_node = -1, first = 0, last = 0, most = 0;
  MPI_Comm_split(world->world, node_of[rank], rank, &world->node);
  MPI_Comm_rank(world->node, &world->node_rank);
  MPI_Comm_size(world->node, &world->node_size);
  for (int r = 0; r < size; r++) last = node_of[r] > last ? node_of[r] : last;
  world->nodes = last + 1;
  for (world->leader = 0; node_of[world->leader] != node_of[rank]; world->leader++) {
  }
  MPI_Allreduce(&world->node_size, &most, 1, MPI_INT, MPI_MAX, world->world);
  for (int on_node = 0; on_node < 2; on_node++) {
    CHECK_DONE(comm_sum_setup(world, 1 << 14, on_node, &is_on_node));
    CHECK(is_on_node == (on_node && most > 1));
    sums_with(1 << 12);
  }
  CHECK_DONE(comm_sum_setup(world, COMM_BUCKET_BYTES, 0, &first));
  MPI_Comm_free(&world->node);
  world->node = whole;
  world->node_rank = node_rank;
  world->node_size = node_size;
  world->nodes = nodes;
  world->leader = leader;
}

static void sums(void) {
  static const int one[4] = {0}, pairs[4] = {0, 0, 1, 1}, turns[4] = {0, 1, 0, 1}, uneven[4] = {0, 0, 0, 1}, alone[4] = {0, 1, 2, 3};
  const int *const nodes[] = {one, pairs, turns, uneven, alone};
  int is_on_node;
  sum(5, 0);
  sum(3 * (COMM_BUCKET_BYTES / 4) + 5, 300000); /* as it is without a setup */
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
    if (size > 1 || i == 0) sums_on_nodes(nodes[i]);
  /* More than any shared memory holds: all agree to do without, and do. */
  const int node_size = world->node_size;
  world->node_size = 1 << 24;
  CHECK_DONE(comm_sum_setup(world, 1 << 20, 1, &is_on_node));
  world->node_size = node_size;
  CHECK(!is_on_node);
  sum(1000000, 0);
  CHECK_DONE(comm_sum_setup(world, 8, 0, &is_on_node)); /* the smallest buckets, with fewer numbers than ranks */
  sum(101, 7);
  sum_integers(101);
  CHECK_DONE(comm_sum_setup(world, COMM_BUCKET_BYTES, 0, &is_on_node));
}

static void doubles(void) {
  double values[3] = {rank, 1, -rank};
  CHECK_DONE(comm_sum_doubles(world, COMM_CONTROL, values, 3));
  CHECK(values[0] == size * (size - 1) / 2 && values[1] == size && values[2] == -values[0]);
  double largest[2] = {rank, -rank};
  CHECK_DONE(comm_max_doubles(world, COMM_CONTROL, largest, 2));
  CHECK(largest[0] == size - 1 && largest[1] == 0);
}

static void broadcast(void) {
  for (int root = 0; root < size; root++) {
    char bytes[1000];
    memset(bytes, rank == root ? 'a' + root : '?', sizeof bytes);
    CHECK_DONE(comm_broadcast(world, COMM_CONTROL, root, bytes, sizeof bytes - 1));
    CHECK(bytes[0] == 'a' + root && bytes[998] == 'a' + root && bytes[999] == (rank == root ? 'a' + root : '?'));
  }
  CHECK_DONE(comm_broadcast(world, COMM_CONTROL, 0, NULL, 0));
}

/* Parts of different lengths, some of them empty. */
static void gather(void) {
  const int64_t lengths[][4] = {{5, 0, 3, 1}, {0, 2, 0, 7}, {0, 0, 0, 0}, {100000, 300000, 1, 200000}};
  for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
    int64_t count = lengths[k][rank], counts[4] = {-1, -1, -1, -1};
    char *mine = malloc((size_t)count + 1);
    void *result = NULL;
    memset(mine, 'a' + rank, (size_t)count);
    CHECK_DONE(comm_gather(world, COMM_EVALUATION, mine, count, rank == 0 ? counts : NULL, &result));
    if (rank == 0) {
      const char *at = result;
      for (int r = 0; r < size; r++) {
        int64_t wrong = 0;
        CHECK(counts[r] == lengths[k][r]);
        for (int64_t i = 0; i < counts[r]; i++) wrong += *at++ != 'a' + r;
        CHECK(wrong == 0);
      }
    }
    free(result);
    free(mine);
  }
}

/* Parts of all lengths, beginning anywhere, in windows that cut them where they like. */
static void all_gather(void) {
  const int64_t lengths[][4] = {{5, 0, 3, 1}, {0, 2, 0, 7}, {0, 0, 0, 0}, {1000, 3, 1, 2000}};
  const int windows[] = {0, 1 << 29, 1000, 7, 1}; /* 0: as it comes */
  for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
    for (size_t j = 0; j < sizeof windows / sizeof *windows; j++) {
      int64_t first[5] = {3}, wrong = 0;
      for (int r = 0; r < size; r++) first[r + 1] = first[r] + lengths[k][r];
      float *values = malloc((size_t)(first[size] + 1) * sizeof *values);
      for (int64_t i = 0; i <= first[size]; i++) values[i] = i >= first[rank] && i < first[rank + 1] ? element(i, 0) : -7777;
      comm_meter before = comm_meter_read(world, COMM_GRADIENT);
      if (windows[j]) CHECK_DONE(comm_all_gather_by(world, COMM_GRADIENT, values, first, windows[j]));
      else CHECK_DONE(comm_all_gather(world, COMM_GRADIENT, values, first));
      comm_meter after = comm_meter_read(world, COMM_GRADIENT);
      for (int64_t i = 3; i < first[size]; i++) wrong += values[i] != element(i, 0);
      CHECK(wrong == 0);
      CHECK(values[0] == -7777 && values[2] == -7777 && values[first[size]] == -7777);
      CHECK(after.payload_bytes - before.payload_bytes == (size > 1 ? lengths[k][rank] * (int64_t)sizeof *values : 0));
      free(values);
    }
}

/* Figures that were measured with the MPI library's own monitoring, and the way they follow from the algorithms. */
static void estimates(void) {
  const struct {
    int ranks;
    double small, large;
  } known[] = {{1, 0, 0}, {2, 1, 1}, {3, 4.0 / 3, 1.5}, {4, 2, 1.5}, {6, 2, 11.0 / 6}, {8, 3, 1.75}, {16, 4, 1.875}};
  for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
    CHECK(fabs(comm_sum_bytes(known[k].ranks, 1000) - 1000 * known[k].small) < 1e-6);
    CHECK(fabs(comm_sum_bytes(known[k].ranks, 1e6) - 1e6 * known[k].large) < 1e-3);
    CHECK(comm_all_gather_bytes(known[k].ranks, 100) == 100.0 * (known[k].ranks - 1));
  }
}

static void same_text(void) {
  int same = -1;
  CHECK_DONE(comm_same_text(world, "SkylakeX", &same));
  CHECK(same == 1);
  for (int odd = 0; odd < size; odd++) {
    CHECK_DONE(comm_same_text(world, rank == odd ? "Haswell" : "SkylakeX", &same));
    CHECK(same == (size == 1));
  }
}

/* One copy per node: written by the filler, seen by all; all ranks of this test are on one node. */
static void shared_memory(void) {
  const size_t bytes[] = {64, 1 << 20};
  for (int k = 0; k < 2; k++) {
    unsigned char *memory = NULL;
    int filler = -1, copies = -1;
    size_t wrong = 0;
    CHECK_DONE(comm_share(world, bytes[k], (void **)&memory, &filler, &copies));
    if (!memory) return;
    CHECK(copies == 1 || copies == size);
    CHECK(filler == (copies == 1 ? rank == 0 : 1));
    if (filler) {
      for (size_t i = 0; i < bytes[k]; i++) {
        wrong += memory[i] != 0;
        memory[i] = (unsigned char)(i * 31 + 7);
      }
    }
    CHECK(wrong == 0);
    CHECK_DONE(comm_share_wait(world));
    for (size_t i = 0; i < bytes[k]; i++) wrong += memory[i] != (unsigned char)(i * 31 + 7);
    CHECK(wrong == 0);
    CHECK_DONE(comm_agree(world, ERROR_NONE)); /* all have looked */
    if (copies > 1) continue;
    if (rank == size - 1) memory[5] = 99; /* really one memory, not copies of it */
    CHECK_DONE(comm_share_wait(world));
    CHECK(memory[5] == 99);
  }
  for (int k = 0; k < 50; k++) { /* given back, it can be had again */
    void *memory = NULL;
    int filler, copies;
    CHECK_DONE(comm_share(world, 1 << 20, &memory, &filler, &copies));
    comm_unshare(world, memory);
  }
  comm_unshare(world, NULL);
}

int main(int argc, char **argv) {
  if (checks_begin(&argc, &argv)) return 1;
  rank = comm_rank(world);
  size = comm_size(world);
  CHECK(size >= 1 && rank >= 0 && rank < size);
  CHECK(comm_nodes(world) == 1);
  CHECK(*comm_host(world) && strstr(comm_library(), "MPI"));
  agreement();
  sums();
  doubles();
  broadcast();
  gather();
  all_gather();
  estimates();
  same_text();
  shared_memory();
  return checks_end();
}
