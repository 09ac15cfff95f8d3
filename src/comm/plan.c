#include "comm/plan.h"

const char *const allreduce_names[ALLREDUCE_ALGORITHMS] = {"doubling", "ring", "rabenseifner"};

int64_t allreduce_block(int64_t count, int blocks, int block) {
  int64_t longer = count % blocks;
  return block * (count / blocks) + (block < longer ? block : longer);
}

allreduce_fold allreduce_fold_of(int ranks, int rank) {
  allreduce_fold f = {.power = 1};
  while (f.power <= ranks / 2) f.power *= 2;
  f.extra = ranks - f.power;
  int folded = rank < 2 * f.extra;
  f.rests = folded && rank % 2 == 0;
  f.serves = folded && rank % 2 == 1;
  f.working = f.rests ? -1 : f.serves ? rank / 2 : rank - f.extra;
  return f;
}

int allreduce_unfold(int ranks, int working) {
  int extra = allreduce_fold_of(ranks, 0).extra;
  return working < extra ? 2 * working + 1 : working + extra;
}

allreduce_algorithm allreduce_really(allreduce_algorithm algorithm, int ranks, int64_t count) {
  return algorithm == ALLREDUCE_RABENSEIFNER && count < allreduce_fold_of(ranks, 0).power ? ALLREDUCE_DOUBLING : algorithm;
}

/* ---- numbers sent and received by a rank ---- */

typedef struct traffic {
  int rounds;
  int64_t sent, received;
} traffic;

static void doubling(const allreduce_fold *f, int64_t count, traffic *t) {
  for (int distance = 1; distance < f->power; distance *= 2) {
    t->rounds++;
    t->sent += count;
    t->received += count;
  }
}

/* Halving keeps one half of the blocks at hand and sends the other; on the way back the block kept last grows again to its sibling, twice as long each time. */
static void rabenseifner(const allreduce_fold *f, int64_t count, traffic *t) {
  int first = 0, blocks = f->power;
  int64_t kept = count;
  for (int distance = 1; distance < f->power; distance *= 2) {
    blocks /= 2;
    if (f->working & distance) first += blocks;
    int64_t half = allreduce_block(count, f->power, first + blocks) - allreduce_block(count, f->power, first);
    t->rounds += 2;
    t->sent += kept - half; /* the other half, in numbers to be summed ... */
    t->received += half;
    t->sent += half; /* ... and this one, as sums, when it has come back so far */
    t->received += kept - half;
    kept = half;
  }
}

/* Summing, a rank sends every block but the one it will have the sum of, (rank + 1); then every block but the one that its neighbour made, (rank + 2). It
 * receives all but its own, which it sends first, and all but the one it made. */
static void ring(int ranks, int rank, int64_t count, traffic *t) {
  int64_t length[3];
  for (int i = 0; i < 3; i++) {
    int block = (int)(((int64_t)rank + i) % ranks);
    length[i] = allreduce_block(count, ranks, block + 1) - allreduce_block(count, ranks, block);
  }
  t->rounds = 2 * (ranks - 1);
  t->sent = 2 * count - length[1] - length[2];
  t->received = 2 * count - length[0] - length[1];
}

static void fold(const allreduce_fold *f, int64_t count, traffic *t) {
  if (f->extra) t->rounds += 2;
  if (f->rests) t->sent = t->received = count;
  if (f->serves) {
    t->sent += count;
    t->received += count;
  }
}

allreduce_counts allreduce_plan(allreduce_algorithm algorithm, int ranks, int rank, int64_t count, int element_bytes) {
  traffic t = {0};
  algorithm = allreduce_really(algorithm, ranks, count);
  if (count > 0 && ranks > 1) {
    allreduce_fold f = allreduce_fold_of(ranks, rank);
    if (algorithm == ALLREDUCE_RING) {
      ring(ranks, rank, count, &t);
    } else {
      (algorithm == ALLREDUCE_DOUBLING ? doubling : rabenseifner)(&f, count, &t); /* of a rank that rests: the rounds alone */
      fold(&f, count, &t);
    }
  }
  return (allreduce_counts){t.rounds, t.sent * element_bytes, t.received * element_bytes};
}

allreduce_totals allreduce_plan_all(allreduce_algorithm algorithm, int ranks, int64_t count, int element_bytes) {
  allreduce_totals all = {0};
  double sum = 0; /* whole numbers far below 2^53 but for the largest models, where a relative 1e-16 is lost */
  for (int rank = 0; rank < ranks; rank++) {
    allreduce_counts one = allreduce_plan(algorithm, ranks, rank, count, element_bytes);
    all.rounds = one.rounds;
    sum += (double)one.sent_bytes;
    if (one.sent_bytes > all.max_sent_bytes) all.max_sent_bytes = one.sent_bytes;
    if (one.received_bytes > all.max_received_bytes) all.max_received_bytes = one.received_bytes;
  }
  all.mean_bytes = sum / ranks;
  return all;
}
