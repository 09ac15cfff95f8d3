/* The one sum of a step. A small vector is one blocking all-reduce, which is fastest; a large one goes in buckets, started as soon as backward has finished
 * them and driven on by the calls that report further ranges, so that the transfer hides behind the arithmetic. Several buckets are on their way at a time:
 * while one is being added the others keep the link busy. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/allreduce.h"
#include "comm/internal.h"
#include "comm/node.h"

/* A bucket waits for the node's ranks to have given their numbers, then for a ring, then for the node's ranks to have their results; without a reduction on the
 * node only for a ring. */
typedef enum slot_stage { SLOT_FREE, SLOT_GIVEN, SLOT_RING, SLOT_RESULT } slot_stage;

typedef struct slot {
  slot_stage stage;
  int bucket;
  ring ring;
} slot;

/* Two slots are what a node's shared memory is asked for; the others cost a ring's chunk each, a bucket together, and a ring of n ranks needs some n pieces on
 * its way to be fast where the turns come slowly. */
enum { NODE_SLOTS = 2, RING_SLOTS = 4 };

struct sum_state {
  int64_t bucket_bytes;
  MPI_Comm line;  /* all ranks, those of a node beside each other: a ring then enters and leaves a node once */
  int place;      /* of this rank in it */
  node_sum *node; /* NULL: ranks of a node are treated as any others */
  int slot_count;
  slot *slots;           /* bucket b is in slot b % slot_count */
  MPI_Request *requests; /* [slot_count][2] */
  char *incoming;        /* [slot_count] chunks */
  /* the sum under way */
  element_kind type;
  char *vector;
  int64_t count, ready; /* numbers, and how many of them are final on this rank */
  int buckets, started, finished;
};

/* ---- making it ---- */

static int make_line(comm *c, sum_state *s) {
  int leader = c->rank;
  TRY(comm_check(MPI_Bcast(&leader, 1, MPI_INT, 0, c->node), "MPI_Bcast"));
  TRY(comm_check(MPI_Comm_split(c->world, 0, leader, &s->line), "MPI_Comm_split")); /* ranks of one leader stay in their order */
  MPI_Comm_set_errhandler(s->line, MPI_ERRORS_RETURN);
  return comm_check(MPI_Comm_rank(s->line, &s->place), "MPI_Comm_rank");
}

static int64_t chunk_bytes(const comm *c, const sum_state *s, element_kind type) {
  int64_t numbers = s->bucket_bytes / elements[type].bytes;
  return s->node ? ring_chunk_bytes(type, node_sum_slice(s->node, numbers), node_sum_nodes(s->node)) : ring_chunk_bytes(type, numbers, c->size);
}

static int take_slots(comm *c, sum_state *s) {
  int64_t floats = chunk_bytes(c, s, ELEMENT_FLOAT_SUM), integers = chunk_bytes(c, s, ELEMENT_INT64_SUM), chunk = floats > integers ? floats : integers;
  s->slot_count = s->node ? NODE_SLOTS : c->size > RING_SLOTS ? c->size : RING_SLOTS;
  size_t count = (size_t)s->slot_count;
  s->slots = calloc(count, sizeof *s->slots);
  s->requests = calloc(2 * count, sizeof *s->requests);
  s->incoming = malloc(count * (size_t)chunk + 1);
  if (!s->slots || !s->requests || !s->incoming) return FAIL(ERROR_MEMORY, NULL, "out of memory for sums: %lld bytes", (long long)(chunk * s->slot_count));
  for (size_t i = 0; i < 2 * count; i++) s->requests[i] = MPI_REQUEST_NULL;
  for (size_t i = 0; i < count; i++) s->slots[i].ring = (ring){.over = s->line, .incoming = s->incoming + (int64_t)i * chunk, .requests = &s->requests[2 * i]};
  return ERROR_NONE;
}

static int sum_create(comm *c, int64_t bucket_bytes, int on_node) {
  sum_state *s = calloc(1, sizeof *s);
  TRY(comm_agree(c, s ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory")));
  c->sum = s;
  s->bucket_bytes = bucket_bytes;
  s->line = MPI_COMM_NULL;
  int code = make_line(c, s);
  if (!code && on_node && c->nodes < c->size) code = node_sum_create(c, NODE_SLOTS, bucket_bytes, &s->node);
  return comm_agree(c, code ? code : take_slots(c, s));
}

void sum_destroy(comm *c) {
  sum_state *s = c->sum;
  if (!s) return;
  node_sum_destroy(s->node);
  if (s->line != MPI_COMM_NULL) MPI_Comm_free(&s->line);
  free(s->slots);
  free(s->requests);
  free(s->incoming);
  free(s);
  c->sum = NULL;
}

int comm_sum_setup(comm *c, int64_t bucket_bytes, int on_node, int *is_on_node) {
  *is_on_node = 0;
  sum_destroy(c);
  int code = sum_create(c, bucket_bytes, on_node);
  if (code) sum_destroy(c);
  else *is_on_node = c->sum->node != NULL;
  return code;
}

/* The last bucket holds the vector's end, which is known in comm_sum_end alone. */
int sum_is_under_way(const comm *c) { return c->sum && c->sum->started && c->sum->finished < c->sum->buckets; }

/* ---- buckets ---- */

static int64_t bucket_numbers(const sum_state *s) { return s->bucket_bytes / elements[s->type].bytes; }

static int64_t bucket_end(const sum_state *s, int bucket) {
  int64_t end = (bucket + 1) * bucket_numbers(s);
  return end < s->count ? end : s->count;
}

static int64_t bucket_count(const sum_state *s, int bucket) { return bucket_end(s, bucket) - bucket * bucket_numbers(s); }
static char *bucket_begin(const sum_state *s, int bucket) { return s->vector + bucket * s->bucket_bytes; }

static int start_bucket(comm *c, sum_state *s) {
  int place = s->started % s->slot_count;
  slot *at = &s->slots[place];
  at->bucket = s->started++;
  at->ring.tag = at->bucket % (1 << 15); /* what MPI guarantees; far fewer are on their way */
  if (s->node) {
    at->stage = SLOT_GIVEN;
    node_give(s->node, place, s->type, bucket_count(s, at->bucket), bucket_begin(s, at->bucket));
    return node_meet(s->node, place, at->ring.requests);
  }
  at->stage = SLOT_RING;
  at->ring.rank = s->place;
  at->ring.size = c->size;
  at->ring.type = s->type;
  at->ring.values = bucket_begin(s, at->bucket);
  at->ring.count = bucket_count(s, at->bucket);
  return ring_start(&at->ring);
}

/* From the stage that is done to the next. */
static int next_stage(sum_state *s, slot *at) {
  int place = (int)(at - s->slots);
  int64_t count = bucket_count(s, at->bucket);
  if (s->node && at->stage == SLOT_GIVEN) {
    node_met(s->node);
    node_slice(s->node, place, s->type, count, &at->ring);
    at->stage = SLOT_RING;
    return ring_start(&at->ring);
  }
  if (s->node && at->stage == SLOT_RING) {
    at->stage = SLOT_RESULT;
    return node_meet(s->node, place, at->ring.requests);
  }
  if (s->node) {
    node_met(s->node);
    node_take(s->node, place, s->type, count, bucket_begin(s, at->bucket));
  }
  at->stage = SLOT_FREE;
  s->finished++;
  return ERROR_NONE;
}

static int advance_slot(sum_state *s, slot *at) {
  while (at->stage != SLOT_FREE) {
    int done;
    if (at->stage == SLOT_RING) TRY(ring_advance(&at->ring, &done));
    else TRY(comm_check(MPI_Test(at->ring.requests, &done, MPI_STATUS_IGNORE), "MPI_Test"));
    if (!done) return ERROR_NONE;
    TRY(next_stage(s, at));
  }
  return ERROR_NONE;
}

static int advance(comm *c, sum_state *s) {
  for (int i = 0; i < s->slot_count; i++) TRY(advance_slot(s, &s->slots[i]));
  while (s->started < s->buckets && bucket_end(s, s->started) <= s->ready && s->slots[s->started % s->slot_count].stage == SLOT_FREE) TRY(start_bucket(c, s));
  return ERROR_NONE;
}

static int sum_begin(comm *c, element_kind type, void *vector, int64_t count) {
  sum_state *s = c->sum;
  if (!s) return FAIL(ERROR_INTERNAL, NULL, "a sum is wanted after comm_sum_setup has failed");
  s->type = type;
  s->vector = vector;
  s->count = count;
  s->ready = 0;
  s->buckets = (int)((count + bucket_numbers(s) - 1) / bucket_numbers(s));
  s->started = s->finished = 0;
  return ERROR_NONE;
}

static int sum_end(comm *c) {
  sum_state *s = c->sum;
  if (s->buckets == 1) return comm_check(MPI_Allreduce(MPI_IN_PLACE, s->vector, (int)s->count, allreduce_type(s->type), MPI_SUM, c->world), "MPI_Allreduce");
  s->ready = s->count;
  for (;;) {
    int any;
    TRY(advance(c, s));
    if (s->finished == s->buckets) return ERROR_NONE;
    TRY(comm_check(MPI_Waitany(2 * s->slot_count, s->requests, &any, MPI_STATUS_IGNORE), "MPI_Waitany"));
  }
}

/* ---- what others call ---- */

int comm_sum_begin(comm *c, float *vector, int64_t count) { return sum_begin(c, ELEMENT_FLOAT_SUM, vector, count); }

int comm_sum_ready(comm *c, int64_t upto) {
  sum_state *s = c->sum;
  if (c->size == 1 || !s || s->buckets <= 1) return ERROR_NONE; /* one bucket: nothing to hide behind, blocking is faster */
  double start = clock_wall_s();
  if (upto > s->ready) s->ready = upto < s->count ? upto : s->count;
  TRY(advance(c, s));
  c->meters[COMM_GRADIENT].seconds += clock_wall_s() - start;
  return ERROR_NONE;
}

int comm_sum_end(comm *c) {
  double start = clock_wall_s();
  if (c->size > 1) TRY(sum_end(c));
  comm_meter_add(c, COMM_GRADIENT, c->size > 1 ? c->sum->count * (int64_t)sizeof(float) : 0, start);
  return ERROR_NONE;
}

int comm_sum_integers(comm *c, comm_purpose purpose, int64_t *values, int64_t count) {
  if (c->size == 1) return ERROR_NONE;
  double start = clock_wall_s();
  TRY(sum_begin(c, ELEMENT_INT64_SUM, values, count));
  TRY(sum_end(c));
  comm_meter_add(c, purpose, count * (int64_t)sizeof *values, start);
  return ERROR_NONE;
}
