/* Philox4x32-10 (base/random.h) on many blocks at once, bit for bit what random_block gives. A block's four words stand in 64-bit lanes, so that one
 * instruction multiplies; what is in their upper halves on the way never matters. */
#ifndef PEFTSCALE_LEVEL_PHILOX_H
#define PEFTSCALE_LEVEL_PHILOX_H

#include "base/random.h"
#include "linalg/level/lanes.h"

enum {
  BLOCK_LANES = LANES_BYTES / 8,
  CHAINS = LANES_BYTES == 64 ? 4 : 2, /* vectors on their way at once: as many as hide the multiplier's time and fit into the registers */
};
typedef uint64_t block_lanes __attribute__((vector_size(LANES_BYTES)));
typedef uint64_t block_lanes_anywhere __attribute__((vector_size(LANES_BYTES), aligned(4), may_alias));

INLINE block_lanes every_block(uint64_t x) { return x - (block_lanes){0}; }

/* The products of the lower halves. */
INLINE block_lanes multiply_words(block_lanes x, uint32_t factor) {
#if LANES_FLOAT == 512
  return (block_lanes)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(factor));
#elif LANES_FLOAT == 256
  return (block_lanes)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(factor));
#else
  return (x & 0xFFFFFFFFu) * (uint64_t)factor;
#endif
}

/* Word k of the blocks in vector i of `block` of a stream: the lower half of words[i][k]. */
INLINE void philox(random_key key, uint64_t stream, const block_lanes block[CHAINS], block_lanes words[CHAINS][4]) {
  uint32_t k0 = key.word[0], k1 = key.word[1];
#pragma GCC unroll 4
  for (int i = 0; i < CHAINS; i++) {
    words[i][0] = block[i];
    words[i][1] = block[i] >> 32;
    words[i][2] = every_block(stream);
    words[i][3] = every_block(stream >> 32);
  }
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++) {
      block_lanes *c = words[i], p0 = multiply_words(c[0], 0xD2511F53u), p1 = multiply_words(c[2], 0xCD9E8D57u);
      c[0] = (p1 >> 32) ^ c[1] ^ (uint64_t)k0;
      c[1] = p1;
      c[2] = (p0 >> 32) ^ c[3] ^ (uint64_t)k1;
      c[3] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

enum { GROUP_WORDS = CHAINS * BLOCK_LANES * 4 }; /* that come at once */

/* words[j] = the random word of element 4 first_block + j of a stream, as random_bits gives it, for j < count and up to the end of the last group. */
static void random_words(random_key key, uint64_t stream, uint64_t first_block, int count, uint32_t *words) {
  static const uint64_t place[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  block_lanes from = first_block + *(const block_lanes_anywhere *)place;
  for (int j = 0; j < count; j += GROUP_WORDS) {
    block_lanes block[CHAINS], w[CHAINS][4];
#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++, from += BLOCK_LANES) block[i] = from;
    philox(key, stream, block, w);
#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++) {
      block_lanes front = (w[i][0] & 0xFFFFFFFFu) | w[i][1] << 32, back = (w[i][2] & 0xFFFFFFFFu) | w[i][3] << 32, even, odd;
#if LANES_BYTES == 64
      even = __builtin_shuffle(front, back, (block_lanes){0, 8, 1, 9, 2, 10, 3, 11});
      odd = __builtin_shuffle(front, back, (block_lanes){4, 12, 5, 13, 6, 14, 7, 15});
#elif LANES_BYTES == 32
      even = __builtin_shuffle(front, back, (block_lanes){0, 4, 1, 5});
      odd = __builtin_shuffle(front, back, (block_lanes){2, 6, 3, 7});
#else
      even = __builtin_shuffle(front, back, (block_lanes){0, 2});
      odd = __builtin_shuffle(front, back, (block_lanes){1, 3});
#endif
      block_lanes_anywhere *to = (block_lanes_anywhere *)(words + j + i * BLOCK_LANES * 4);
      to[0] = even;
      to[1] = odd;
    }
  }
}

#endif
