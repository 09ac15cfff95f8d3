/* ranks: 1 2 3 4 5 6 7 8 12 16 */
/* The suite's own all-reduce: results against sums in double, the same bits on all ranks, and its counters against the formula and against what really passed
 * through MPI: the test stands between the two (MPI's profiling interface), adds up the bytes and follows the chains of messages. */
#include "comm/allreduce.h"

#include <stdlib.h>
#include <string.h>

#include "support/checks.h"

static int rank, size;
static MPI_Comm group, aside; /* aside: for what the test itself sends */

/* ---- what passes through MPI ---- */

static int64_t seen_sent, seen_received;
static int depth; /* messages in the longest chain that ends at this rank: each waits until its sender has received, or sent, the one before */

int MPI_Sendrecv(const void *out, int out_count, MPI_Datatype out_type, int to, int out_tag, void *in, int in_count, MPI_Datatype in_type, int from, int in_tag,
                 MPI_Comm where, MPI_Status *status) {
  int sent_depth = depth + 1, got_depth = 0, bytes;
  PMPI_Sendrecv(&sent_depth, 1, MPI_INT, to, 0, &got_depth, 1, MPI_INT, from, 0, aside, MPI_STATUS_IGNORE);
  int code = PMPI_Sendrecv(out, out_count, out_type, to, out_tag, in, in_count, in_type, from, in_tag, where, status);
  PMPI_Type_size(out_type, &bytes);
  if (to != MPI_PROC_NULL) {
    seen_sent += (int64_t)out_count * bytes;
    depth = sent_depth;
  }
  if (from != MPI_PROC_NULL) {
    seen_received += (int64_t)in_count * bytes;
    if (got_depth > depth) depth = got_depth;
  }
  return code;
}

/* ---- one call ---- */

/* Element i of rank r's vector: fractions, whose float sums depend on the order. */
static double fraction(int64_t i, int r) { return (double)((i * 7919 + 104729 * (r + 1)) % 100003) / 100003 - 0.4; }
static int64_t whole(int64_t i, int r) { return (i * 7919 + 13 * r) * 1234567 % 1000000007 - (r % 3) * ((int64_t)1 << 40); }
static uint8_t level(int64_t i, int r) { return (uint8_t)((i * 31 + r * 47) % 251); }

static void fill(element_kind kind, int64_t count, void *vector) {
  for (int64_t i = 0; i < count; i++) {
    if (kind == ELEMENT_FLOAT_SUM) ((float *)vector)[i] = (float)fraction(i, rank);
    else if (kind == ELEMENT_INT64_SUM) ((int64_t *)vector)[i] = whole(i, rank);
    else ((uint8_t *)vector)[i] = level(i, rank);
  }
}

static int is_right(element_kind kind, const void *vector, int64_t i) {
  if (kind == ELEMENT_FLOAT_SUM) {
    double sum = 0;
    for (int r = 0; r < size; r++) sum += (double)(float)fraction(i, r);
    double off = (double)((const float *)vector)[i] - sum;
    return off < 1e-6 * size && off > -1e-6 * size; /* below 0.6 each: roundings of partial sums below 0.6 n */
  }
  if (kind == ELEMENT_INT64_SUM) {
    int64_t sum = 0;
    for (int r = 0; r < size; r++) sum += whole(i, r);
    return ((const int64_t *)vector)[i] == sum;
  }
  uint8_t most = 0;
  for (int r = 0; r < size; r++) most = level(i, r) > most ? level(i, r) : most;
  return ((const uint8_t *)vector)[i] == most;
}

static void same_on_all_ranks(const char *vector, size_t bytes) {
  char *first = malloc(bytes + 1);
  memcpy(first, vector, bytes);
  CHECK_DONE(comm_broadcast(world, COMM_CONTROL, 0, first, bytes));
  CHECK(!memcmp(first, vector, bytes));
  free(first);
}

static int largest(int mine) {
  int most = 0;
  PMPI_Allreduce(&mine, &most, 1, MPI_INT, MPI_MAX, aside);
  return most;
}

static void one(allreduce_algorithm algorithm, element_kind kind, int64_t count) {
  size_t bytes = (size_t)count * (size_t)elements[kind].bytes;
  char *vector = malloc(bytes + 1), *scratch = malloc(bytes + 1);
  allreduce_counts counts = {-1, -1, -1}, plan = allreduce_plan(algorithm, size, rank, count, elements[kind].bytes);
  fill(kind, count, vector);
  vector[bytes] = scratch[bytes] = 77;
  seen_sent = seen_received = depth = 0;
  CHECK_DONE(allreduce_run(group, algorithm, kind, vector, count, scratch, &counts));
  CHECK(vector[bytes] == 77 && scratch[bytes] == 77);
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; i++) wrong += !is_right(kind, vector, i);
  CHECK(wrong == 0);
  same_on_all_ranks(vector, bytes);
  CHECK(counts.sent_bytes == plan.sent_bytes && counts.received_bytes == plan.received_bytes && counts.rounds == plan.rounds);
  CHECK(counts.sent_bytes == seen_sent && counts.received_bytes == seen_received);
  CHECK(counts.rounds == largest(depth));
  if (checks_failed) fprintf(stderr, "  %s, element %d, count %lld\n", allreduce_names[algorithm], (int)kind, (long long)count);
  free(vector);
  free(scratch);
}

static void refusals(void) {
  float x = 0;
  allreduce_counts counts;
  CHECK(allreduce_run(group, ALLREDUCE_RING, ELEMENT_FLOAT_SUM, &x, -1, &x, &counts) == ERROR_INTERNAL);
  CHECK(allreduce_run(group, ALLREDUCE_RING, ELEMENT_FLOAT_SUM, &x, (int64_t)1 << 31, &x, &counts) == ERROR_INTERNAL);
}

int main(int argc, char **argv) {
  if (checks_begin(&argc, &argv)) return 1;
  rank = comm_rank(world);
  size = comm_size(world);
  MPI_Comm_dup(MPI_COMM_WORLD, &group);
  MPI_Comm_dup(MPI_COMM_WORLD, &aside);
  const int64_t counts[] = {0, 1, 2, 3, 7, size - 1, size, size + 1, 1000, 100003};
  for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++)
    for (int k = 0; k < ELEMENT_KINDS; k++)
      for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) one((allreduce_algorithm)a, (element_kind)k, counts[i]);
  refusals();
  MPI_Comm_free(&group);
  MPI_Comm_free(&aside);
  return checks_end();
}
