/* Parts of different lengths, one of each rank, that every rank needs. */
#include "base/clock.h"
#include "base/error.h"
#include "comm/internal.h"

/* What of [begin, end) lies in the window [low, high), relative to low. */
static void cut(int64_t begin, int64_t end, int64_t low, int64_t high, int *count, int *displacement) {
  if (begin < low) begin = low;
  if (end > high) end = high;
  *count = end > begin ? (int)(end - begin) : 0;
  *displacement = *count ? (int)(begin - low) : 0;
}

int comm_all_gather_by(comm *c, comm_purpose purpose, float *values, const int64_t *first, int window) {
  if (c->size == 1) return ERROR_NONE;
  double start = clock_wall_s();
  int count[c->size], displacement[c->size];
  for (int64_t low = first[0]; low < first[c->size]; low += window) {
    for (int r = 0; r < c->size; r++) cut(first[r], first[r + 1], low, low + window, &count[r], &displacement[r]);
    TRY(comm_check(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values + low, count, displacement, MPI_FLOAT, c->world), "MPI_Allgatherv"));
  }
  comm_meter_add(c, purpose, (first[c->rank + 1] - first[c->rank]) * (int64_t)sizeof *values, start);
  return ERROR_NONE;
}

int comm_all_gather(comm *c, comm_purpose purpose, float *values, const int64_t *first) { return comm_all_gather_by(c, purpose, values, first, 1 << 29); }
