#include "comm/ring.h"

#include "base/error.h"
#include "comm/allreduce.h"
#include "comm/internal.h"

int64_t ring_chunk_bytes(element_kind type, int64_t count, int size) { return size > 1 ? (count + size - 1) / size * elements[type].bytes : 0; }

/* Chunk `index` (of any sign) of the piece. */
static char *chunk(const ring *r, int index, int64_t *count) {
  int64_t i = ((index % r->size) + r->size) % r->size, begin = r->count * i / r->size;
  *count = r->count * (i + 1) / r->size - begin;
  return r->values + begin * elements[r->type].bytes;
}

static int adds(const ring *r) { return r->turn < r->size - 1; }

/* What goes out in this turn, and what comes in. */
static int outgoing(const ring *r) { return r->rank - r->turn; }
static int arriving(const ring *r) { return outgoing(r) - 1; }

static int begin_turn(ring *r) {
  const MPI_Datatype type = allreduce_type(r->type);
  int64_t in_count, out_count;
  char *in = chunk(r, arriving(r), &in_count), *out = chunk(r, outgoing(r), &out_count);
  TRY(comm_check(MPI_Irecv(adds(r) ? r->incoming : in, (int)in_count, type, (r->rank + r->size - 1) % r->size, r->tag, r->over, &r->requests[0]), "MPI_Irecv"));
  return comm_check(MPI_Isend(out, (int)out_count, type, (r->rank + 1) % r->size, r->tag, r->over, &r->requests[1]), "MPI_Isend");
}

static void end_turn(ring *r) {
  int64_t count;
  char *own = chunk(r, arriving(r), &count);
  if (adds(r)) elements[r->type].combine(count, r->incoming, own);
  r->turn++;
}

int ring_start(ring *r) {
  r->turn = 0;
  return r->size > 1 ? begin_turn(r) : ERROR_NONE;
}

int ring_advance(ring *r, int *done) {
  const int turns = 2 * (r->size - 1);
  MPI_Status unused[2]; /* MPI_STATUSES_IGNORE is an address that compilers take for an array too short */
  while (r->turn < turns) {
    TRY(comm_check(MPI_Testall(2, r->requests, done, unused), "MPI_Testall"));
    if (!*done) return ERROR_NONE;
    end_turn(r);
    if (r->turn < turns) TRY(begin_turn(r));
  }
  *done = 1;
  return ERROR_NONE;
}
