#include "comm/allreduce.h"

#include <limits.h>

#include "base/error.h"
#include "comm/internal.h"

enum { TAG = 1 };

MPI_Datatype allreduce_type(element_kind kind) { return kind == ELEMENT_FLOAT_SUM ? MPI_FLOAT : kind == ELEMENT_INT64_SUM ? MPI_INT64_T : MPI_UINT8_T; }

static MPI_Op byte_max = MPI_OP_NULL;

static void combine_bytes(void *from, void *into, int *count, MPI_Datatype *type) {
  (void)type;
  elements[ELEMENT_BYTE_MAX].combine(*count, from, into);
}

int allreduce_open(void) { return comm_check(MPI_Op_create(combine_bytes, 1, &byte_max), "MPI_Op_create"); }

void allreduce_close(void) {
  if (byte_max != MPI_OP_NULL) MPI_Op_free(&byte_max);
}

MPI_Op allreduce_operation(element_kind kind) { return kind == ELEMENT_BYTE_MAX ? byte_max : MPI_SUM; }

/* A call under way. Its counters grow with every message, so that they say what was done and not what should have been. */
typedef struct call {
  MPI_Comm group;
  int ranks, rank;
  const element_ops *element;
  MPI_Datatype type;
  char *vector, *scratch;
  int64_t count;
  allreduce_counts *counts;
} call;

static char *at(const call *c, int64_t index) { return c->vector + index * c->element->bytes; }

/* Numbers of the vector, first .. end. */
typedef struct range {
  int64_t first, end;
} range;

static int64_t length(range r) { return r.end - r.first; }

/* Sends one range of the vector while another comes in: to its place, or into the scratch. Empty ones are not sent: both sides know which. */
static int exchange(call *c, int to, range out, int from, range in, int into_scratch) {
  int sends = to != MPI_PROC_NULL && length(out) > 0, receives = from != MPI_PROC_NULL && length(in) > 0;
  c->counts->sent_bytes += sends ? length(out) * c->element->bytes : 0;
  c->counts->received_bytes += receives ? length(in) * c->element->bytes : 0;
  if (!sends && !receives) return ERROR_NONE;
  return comm_check(MPI_Sendrecv(at(c, out.first), (int)length(out), c->type, sends ? to : MPI_PROC_NULL, TAG, into_scratch ? c->scratch : at(c, in.first),
                                 (int)length(in), c->type, receives ? from : MPI_PROC_NULL, TAG, c->group, MPI_STATUS_IGNORE),
                    "MPI_Sendrecv");
}

static int send_all(call *c, int to) { return exchange(c, to, (range){0, c->count}, MPI_PROC_NULL, (range){0, 0}, 0); }

static int receive_all(call *c, int from, int into_scratch) { return exchange(c, MPI_PROC_NULL, (range){0, 0}, from, (range){0, c->count}, into_scratch); }

static void combine(const call *c, range r) { c->element->combine(length(r), c->scratch, at(c, r.first)); }

/* ---- recursive doubling ---- */

static int run_doubling(call *c, const allreduce_fold *f) {
  range all = {0, c->count};
  for (int distance = 1; distance < f->power; distance *= 2) {
    c->counts->rounds++;
    if (f->rests) continue;
    int partner = allreduce_unfold(c->ranks, f->working ^ distance);
    TRY(exchange(c, partner, all, partner, all, 1));
    combine(c, all);
  }
  return ERROR_NONE;
}

/* ---- Rabenseifner's ---- */

static range blocks_of(const call *c, int blocks, int first, int count) {
  return (range){allreduce_block(c->count, blocks, first), allreduce_block(c->count, blocks, first + count)};
}

static int run_rabenseifner(call *c, const allreduce_fold *f) {
  int first = 0, blocks = f->power;                            /* that this rank still sums */
  for (int distance = 1; distance < f->power; distance *= 2) { /* the largest messages go the shortest way */
    c->counts->rounds++;
    if (f->rests) continue;
    int partner = allreduce_unfold(c->ranks, f->working ^ distance), upper = f->working & distance;
    blocks /= 2;
    range low = blocks_of(c, f->power, first, blocks), high = blocks_of(c, f->power, first + blocks, blocks), kept = upper ? high : low;
    TRY(exchange(c, partner, upper ? low : high, partner, kept, 1));
    combine(c, kept);
    if (upper) first += blocks;
  }
  for (int distance = f->power / 2; distance >= 1; distance /= 2) {
    c->counts->rounds++;
    if (f->rests) continue;
    int partner = allreduce_unfold(c->ranks, f->working ^ distance), sibling = first ^ blocks;
    TRY(exchange(c, partner, blocks_of(c, f->power, first, blocks), partner, blocks_of(c, f->power, sibling, blocks), 0));
    first &= ~blocks;
    blocks *= 2;
  }
  return ERROR_NONE;
}

/* The ranks beyond a power of two, before and after. */
static int run_folded(call *c, int (*work)(call *, const allreduce_fold *)) {
  allreduce_fold f = allreduce_fold_of(c->ranks, c->rank);
  if (f.extra) c->counts->rounds++;
  if (f.rests) TRY(send_all(c, c->rank + 1));
  if (f.serves) {
    TRY(receive_all(c, c->rank - 1, 1));
    combine(c, (range){0, c->count});
  }
  TRY(work(c, &f));
  if (f.extra) c->counts->rounds++;
  if (f.serves) TRY(send_all(c, c->rank - 1));
  if (f.rests) TRY(receive_all(c, c->rank + 1, 0));
  return ERROR_NONE;
}

/* ---- ring ---- */

static int run_ring(call *c) {
  int n = c->ranks, next = (c->rank + 1) % n, before = (c->rank + n - 1) % n;
  for (int step = 0; step < 2 * (n - 1); step++) {
    int sums = step < n - 1; /* then the sums go round */
    int sent = (int)((2LL * n + c->rank - step) % n), received = (sent + n - 1) % n;
    range in = blocks_of(c, n, received, 1);
    c->counts->rounds++;
    TRY(exchange(c, next, blocks_of(c, n, sent, 1), before, in, sums));
    if (sums) combine(c, in);
  }
  return ERROR_NONE;
}

int allreduce_run(MPI_Comm group, allreduce_algorithm algorithm, element_kind kind, void *vector, int64_t count, void *scratch, allreduce_counts *counts) {
  call c = {.group = group, .element = &elements[kind], .type = allreduce_type(kind), .vector = vector, .scratch = scratch, .count = count, .counts = counts};
  *counts = (allreduce_counts){0};
  if (count < 0 || count > INT_MAX) return FAIL(ERROR_INTERNAL, NULL, "an all-reduce of %lld numbers", (long long)count);
  TRY(comm_check(MPI_Comm_size(group, &c.ranks), "MPI_Comm_size"));
  TRY(comm_check(MPI_Comm_rank(group, &c.rank), "MPI_Comm_rank"));
  if (count == 0 || c.ranks == 1) return ERROR_NONE;
  switch (allreduce_really(algorithm, c.ranks, count)) {
    case ALLREDUCE_DOUBLING: return run_folded(&c, run_doubling);
    case ALLREDUCE_RABENSEIFNER: return run_folded(&c, run_rabenseifner);
    case ALLREDUCE_RING: return run_ring(&c);
    default: return FAIL(ERROR_INTERNAL, NULL, "there is no all-reduce number %d", (int)algorithm);
  }
}
