#include "data/order.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/random.h"

typedef struct item {
  int32_t length, index;
} item;

void order_epoch(uint64_t seed, int64_t epoch, int64_t count, int64_t *order) {
  random_permutation(random_key_make(seed, RANDOM_ORDER, (uint64_t)epoch), 0, count, order);
}

static int longest_first(const void *left, const void *right) {
  const item *a = left, *b = right;
  if (a->length != b->length) return a->length > b->length ? -1 : 1;
  return (a->index > b->index) - (a->index < b->index); /* a total order: the result does not depend on the library's sort */
}

static void sort_lengths(const int32_t *lengths, int64_t n, item *items) {
  for (int64_t i = 0; i < n; i++) items[i] = (item){lengths[i], (int32_t)i};
  qsort(items, (size_t)n, sizeof *items, longest_first);
}

/* Shards in a heap: the least loaded on top, of equally loaded ones the lowest number. */
typedef struct load {
  int64_t tokens;
  int shard;
} load;

static int is_lighter(load a, load b) { return a.tokens < b.tokens || (a.tokens == b.tokens && a.shard < b.shard); }

static void sink_top(load *heap, int count) {
  load held = heap[0];
  int place = 0;
  for (int child; (child = 2 * place + 1) < count; place = child) {
    if (child + 1 < count && is_lighter(heap[child + 1], heap[child])) child++;
    if (!is_lighter(heap[child], held)) break;
    heap[place] = heap[child];
  }
  heap[place] = held;
}

size_t order_split_bytes(int n, int shards) { return (size_t)shards * sizeof(load) + (size_t)n * (sizeof(item) + sizeof(int32_t)); }

int order_split(const int32_t *lengths, int n, int shards, void *scratch, int32_t *member, int32_t *first) {
  if (n < 0 || shards < 1) return FAIL(ERROR_INTERNAL, NULL, "%d sequences cannot be split into %d shards", n, shards);
  load *heap = scratch; /* the widest type first keeps all aligned */
  item *items = (item *)(heap + shards);
  int32_t *owner = (int32_t *)(items + n);
  sort_lengths(lengths, n, items);
  for (int s = 0; s < shards; s++) heap[s] = (load){0, s}; /* ascending numbers with equal loads are a heap already */
  for (int s = 0; s <= shards; s++) first[s] = 0;
  for (int i = 0; i < n; i++) {
    owner[items[i].index] = heap[0].shard;
    first[heap[0].shard + 1]++;
    heap[0].tokens += items[i].length;
    sink_top(heap, shards);
  }
  for (int s = 0; s < shards; s++) first[s + 1] += first[s];
  for (int i = 0; i < n; i++) member[first[owner[i]]++] = i; /* moves first[s] to the start of shard s + 1 ... */
  for (int s = shards; s > 0; s--) first[s] = first[s - 1];  /* ... and back */
  first[0] = 0;
  return ERROR_NONE;
}

void order_share(int64_t count, int workers, int index, int64_t *begin, int64_t *end) {
  int64_t each = count / workers, larger = count % workers; /* the first `larger` workers do one more */
  *begin = each * index + (index < larger ? index : larger);
  *end = *begin + each + (index < larger);
}

int order_pack(const int32_t *lengths, int64_t n, int64_t tokens, int32_t *member, int32_t *first, int64_t *groups) {
  if (n < 0 || n > INT32_MAX) return FAIL(ERROR_INTERNAL, NULL, "%lld sequences are too many to pack", (long long)n);
  item *items = malloc((size_t)(n > 0 ? n : 1) * sizeof *items);
  if (!items) return FAIL(ERROR_MEMORY, NULL, "out of memory for the order of %lld sequences", (long long)n);
  sort_lengths(lengths, n, items);
  int64_t count = 0, held = 0;
  for (int64_t i = 0; i < n; i++) {
    if (i == 0 || held + items[i].length > tokens) {
      first[count++] = (int32_t)i;
      held = 0;
    }
    held += items[i].length;
    member[i] = items[i].index;
  }
  first[count] = (int32_t)n;
  *groups = count;
  free(items);
  return ERROR_NONE;
}
