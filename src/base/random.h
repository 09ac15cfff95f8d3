/* Random numbers without a state: a number is a function of what it is for.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps a 64-bit key and a 128-bit counter to 128 random bits. The
 * key comes from (seed, purpose, layer), the counter from (step, global sequence number, element): a value never depends on rank, thread, shard or on
 * the order in which numbers are drawn.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_RANDOM_H
#define PEFTSCALE_RANDOM_H

#include <stdint.h>

#include "base/real.h"

/* What a number is drawn for. The values are part of a run's numerical identity: append, never renumber. */
typedef enum random_purpose {
  RANDOM_WEIGHTS = 1, /* initial base weights (backbones trained from nothing) */
  RANDOM_HEAD = 2,    /* initial head                                          */
  RANDOM_ADAPTER = 3, /* initial theta of a method                             */
  RANDOM_ORDER = 4,   /* sample order of an epoch                              */
  RANDOM_DROP_EMBEDDING = 5,
  RANDOM_DROP_ATTENTION = 6,
  RANDOM_DROP_HIDDEN = 7,
  RANDOM_DROP_ADAPTER = 8,
  RANDOM_DROP_HEAD = 9,
  RANDOM_MASK = 10,       /* masked language modelling                             */
  RANDOM_PROJECTION = 11, /* frozen random matrices and index maps of a method     */
  RANDOM_PATH = 12,       /* sub-network of a step                                 */
  RANDOM_TEST = 13,
  RANDOM_SEARCH = 14 /* candidates of a search over sub-networks             */
} random_purpose;

typedef struct random_key {
  uint32_t word[2];
} random_key;

random_key random_key_make(uint64_t seed, random_purpose purpose, uint64_t index);

/* The 128 random bits of `counter` under `key`. */
void random_block(random_key key, const uint32_t counter[4], uint32_t bits[4]);

/* Element `element` of stream (high): uniform bits, uniform in [0, 1), and standard normal (Box-Muller over its own block). */
uint32_t random_bits(random_key key, uint64_t high, uint64_t element);
double random_uniform(random_key key, uint64_t high, uint64_t element);
double random_normal(random_key key, uint64_t high, uint64_t element);

/* values[i] = element i of a stream (first + i, where it has a first): uniform in [low, high), or normal with a mean of 0. first, count >= 0. */
void random_fill_uniform(random_key key, uint64_t stream, int64_t count, real low, real high, real *values);
void random_fill_normal(random_key key, uint64_t stream, int64_t count, real deviation, real *values);
void random_fill_normal_from(random_key key, uint64_t stream, int64_t first, int64_t count, real deviation, real *values);

/* order = a permutation of 0..count-1 (Fisher-Yates over stream `stream`). */
void random_permutation(random_key key, uint64_t stream, int64_t count, int64_t *order);

#endif
