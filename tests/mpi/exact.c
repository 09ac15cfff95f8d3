/* ranks: 1 2 3 */
/* The exact sum by itself, with messages made here: what is not finite in one shard of one rank alone, many shards at the edge of the headroom, subnormal and
 * zero segments, sizes that jump up and down, losses beyond every level. */
#include <math.h>
#include <string.h>

#include "data/order.h"
#include "support/checks.h"
#include "support/tiny.h"
#include "train/exact.h"

enum { SHARDS = 4096, SEGMENTS_MAX = 64, NUMBERS = 2 };

typedef struct bench {
  model *m;
  arena *memory;
  exact *sum;
  int segments;
  int64_t begin, end; /* this rank's shards */
  int64_t counts[SEGMENTS_MAX];
  float message[SEGMENTS_MAX * NUMBERS];
  model_sums sums;
} bench;

static chosen_options options;

static void bench_open(bench *b) {
  const method *lora;
  model_shape shape = tiny_shape("bert");
  model_options how = {.classes = 2};
  *b = (bench){0};
  CHECK_DONE(method_find("lora", &lora));
  CHECK_DONE(options_default(lora, &options));
  CHECK_DONE(model_create(&shape, &how, lora, &options.set, &b->m));
  CHECK_DONE(arena_create(&b->memory));
  b->segments = model_segment_count(b->m);
  CHECK(b->segments > 3 && b->segments <= SEGMENTS_MAX);
  for (int i = 0; i < b->segments; i++) b->counts[i] = NUMBERS;
  CHECK_DONE(exact_create(b->m, b->segments * NUMBERS, 1, SHARDS, b->memory, &b->sum));
  order_share(SHARDS, comm_size(world), comm_rank(world), &b->begin, &b->end);
}

static void bench_close(bench *b) {
  arena_destroy(b->memory);
  model_destroy(b->m);
}

/* A step: every shard holds `value` in all places and its loss, but shard `odd` has `other` at the last place and the loss `odd_loss`. */
static void step(bench *b, float value, double loss, int64_t odd, float other, double odd_loss) {
  int again = 1, failed;
  for (int pass = 0; pass < 2 && again; pass++) {
    exact_begin(b->sum, b->counts);
    for (int64_t s = b->begin; s < b->end; s++) {
      float message[SEGMENTS_MAX * NUMBERS];
      int last = b->segments * NUMBERS - 1;
      for (int i = 0; i <= last; i++) message[i] = value;
      if (s == odd) message[last] = other;
      exact_add(b->sum, 0, message, &(model_sums){.loss = s == odd ? odd_loss : loss, .count = 1, .tokens = 2});
    }
    if (pass == 0) CHECK_DONE(exact_agree(b->sum, world, 0, &again, &failed));
  }
  CHECK_DONE(exact_sum(b->sum, world, b->message, &b->sums));
  CHECK(b->sums.count == SHARDS && b->sums.tokens == 2 * SHARDS);
}

/* All places but the last segment's. */
static int holds(const bench *b, float value) {
  for (int i = 0; i < (b->segments - 1) * NUMBERS; i++)
    if (b->message[i] != value) return 0;
  return 1;
}

static int has_nan(const bench *b, int place) {
  int found = 0;
  for (int k = 0; k < NUMBERS; k++) found |= isnan(b->message[place * NUMBERS + k]) != 0;
  return found;
}

int main(int argc, char **argv) {
  const float most = 1 - 0x1p-24f;
  const int64_t odd = SHARDS - 1;
  bench b;
  if (checks_begin(&argc, &argv)) return 1;
  bench_open(&b);
  int last = b.segments - 1;

  /* the first step finds its levels; then 256 times as much, which is all of the headroom, and no second pass */
  step(&b, most, 1, odd, most, 1);
  CHECK(holds(&b, SHARDS * most) && b.sums.loss == SHARDS);
  step(&b, 256 * most, 200, odd, -256 * most, 200);
  CHECK(holds(&b, SHARDS * 256 * most) && b.sums.loss == 200.0 * SHARDS);
  CHECK(b.message[last * NUMBERS + 1] == (SHARDS - 2) * 256 * most);
  step(&b, 3e30f, 0x1p100, odd, 3e30f, 0x1p100); /* far beyond it */
  CHECK(holds(&b, SHARDS * 3e30f) && b.sums.loss == 0x1p112);

  /* not a number, in one shard of one rank: its own segment tells, on all ranks; the others' sums stay, and so do the levels */
  step(&b, 3e30f, 1, odd, NAN, 1);
  CHECK(has_nan(&b, last) && holds(&b, SHARDS * 3e30f) && b.sums.loss == SHARDS);
  step(&b, 3e30f, 1, odd, -INFINITY, 1);
  CHECK(has_nan(&b, last) && holds(&b, SHARDS * 3e30f));
  step(&b, 0x1.234566p0f, 1, odd, 1, NAN); /* behind numbers so large these would have no bits left */
  CHECK(isnan(b.sums.loss) && holds(&b, SHARDS * 0x1.234566p0f) && !has_nan(&b, last));
  step(&b, 1, 1, odd, 1, 1e300); /* no level reaches so far */
  CHECK(isnan(b.sums.loss));
  step(&b, 1, 1, odd, 1, 1);
  CHECK(holds(&b, SHARDS) && b.sums.loss == SHARDS && !has_nan(&b, last));
  bench_close(&b);

  /* the smallest floats there are, and nothing at all */
  bench_open(&b);
  step(&b, 0, 0, odd, 0, 0);
  CHECK(holds(&b, 0) && b.sums.loss == 0);
  step(&b, 0x1p-149f, 0, odd, 0, 0);
  CHECK(holds(&b, 0x1p-137f) && b.message[last * NUMBERS + 1] == (SHARDS - 1) * 0x1p-149f);
  step(&b, 0, 0, odd, 0, 0);
  CHECK(holds(&b, 0));
  bench_close(&b);
  return checks_end();
}
