/* The one sum of a step. A small vector is one blocking all-reduce, which is fastest; a large one goes in buckets of 4 MiB, started as soon as backward has
 * finished them and driven on by the calls that report further ranges, so that the transfer hides behind the arithmetic. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/internal.h"

static int64_t bucket_length(const comm *c, int bucket) {
  int64_t left = c->count - (int64_t)bucket * BUCKET_FLOATS;
  return left < BUCKET_FLOATS ? left : BUCKET_FLOATS;
}

int comm_sum_begin(comm *c, float *vector, int64_t count) {
  c->vector = vector;
  c->count = count;
  c->buckets = (int)((count + BUCKET_FLOATS - 1) / BUCKET_FLOATS);
  c->started = c->finished = 0;
  if (c->buckets > c->request_capacity) { /* the first step of a run; later ones find room */
    MPI_Request *larger = realloc(c->requests, (size_t)c->buckets * sizeof *larger);
    if (!larger) return FAIL(ERROR_MEMORY, NULL, "out of memory for %d requests", c->buckets);
    c->requests = larger;
    c->request_capacity = c->buckets;
  }
  return ERROR_NONE;
}

static int start_bucket(comm *c) {
  int bucket = c->started++;
  return comm_check(MPI_Iallreduce(MPI_IN_PLACE, c->vector + (int64_t)bucket * BUCKET_FLOATS, (int)bucket_length(c, bucket), MPI_FLOAT, MPI_SUM, c->world,
                                   &c->requests[bucket]),
                    "MPI_Iallreduce");
}

int comm_sum_ready(comm *c, int64_t upto) {
  if (c->size == 1 || c->buckets <= 1) return ERROR_NONE; /* one bucket: nothing to hide behind, blocking is faster */
  double start = clock_wall_s();
  while (c->started < c->buckets && (int64_t)c->started * BUCKET_FLOATS + bucket_length(c, c->started) <= upto) TRY(start_bucket(c));
  while (c->finished < c->started) {
    int done;
    TRY(comm_check(MPI_Test(&c->requests[c->finished], &done, MPI_STATUS_IGNORE), "MPI_Test"));
    if (!done) break;
    c->finished++;
  }
  c->meters[COMM_GRADIENT].seconds += clock_wall_s() - start;
  return ERROR_NONE;
}

int comm_sum_end(comm *c) {
  double start = clock_wall_s();
  if (c->size > 1 && c->buckets == 1) {
    TRY(comm_check(MPI_Allreduce(MPI_IN_PLACE, c->vector, (int)c->count, MPI_FLOAT, MPI_SUM, c->world), "MPI_Allreduce"));
  } else if (c->size > 1) {
    while (c->started < c->buckets) TRY(start_bucket(c));
    TRY(comm_check(MPI_Waitall(c->buckets - c->finished, c->requests + c->finished, MPI_STATUSES_IGNORE), "MPI_Waitall"));
    c->finished = c->started; /* nothing is under way any more */
  }
  comm_meter_add(c, COMM_GRADIENT, c->size > 1 ? c->count * (int64_t)sizeof(float) : 0, start);
  return ERROR_NONE;
}
