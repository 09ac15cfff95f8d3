#include "base/random.h"

#include <math.h>

static inline void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1) {
  uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
  uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
  c[1] = (uint32_t)p1;
  c[3] = (uint32_t)p0;
  c[0] = n0;
  c[2] = n2;
}

void random_block(random_key key, const uint32_t counter[4], uint32_t bits[4]) {
  uint32_t k0 = key.word[0], k1 = key.word[1];
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
  for (int round = 0; round < 10; round++) {
    philox_round(c, k0, k1);
    k0 += 0x9E3779B9u; /* Weyl sequence: golden ratio, sqrt(3) - 1 */
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < 4; i++) bits[i] = c[i];
}

random_key random_key_make(uint64_t seed, random_purpose purpose, uint64_t index) {
  /* One block under a fixed key mixes the three inputs, so that neighbouring seeds and layers give unrelated streams. */
  random_key fixed = {{0x70656674u, 0x7363616Cu}};
  uint32_t counter[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)index, (uint32_t)(index >> 32) ^ ((uint32_t)purpose << 20)};
  uint32_t bits[4];
  random_block(fixed, counter, bits);
  return (random_key){{bits[0], bits[1]}};
}

static void stream_block(random_key key, uint64_t high, uint64_t block, uint32_t bits[4]) {
  uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)high, (uint32_t)(high >> 32)};
  random_block(key, counter, bits);
}

uint32_t random_bits(random_key key, uint64_t high, uint64_t element) {
  uint32_t bits[4];
  stream_block(key, high, element / 4, bits);
  return bits[element % 4];
}

static double unit(uint32_t bits) { return bits * (1.0 / 4294967296.0); }

double random_uniform(random_key key, uint64_t high, uint64_t element) { return unit(random_bits(key, high, element)); }

static double box_muller(uint32_t a, uint32_t b, int odd) {
  double radius = sqrt(-2.0 * log((a + 0.5) * (1.0 / 4294967296.0))), angle = 6.283185307179586477 * unit(b);
  return odd ? radius * sin(angle) : radius * cos(angle);
}

double random_normal(random_key key, uint64_t high, uint64_t element) {
  uint32_t bits[4];
  stream_block(key, high, element / 4, bits);
  unsigned pair = (unsigned)(element % 4) / 2 * 2;
  return box_muller(bits[pair], bits[pair + 1], (int)(element & 1));
}

void random_fill_uniform(random_key key, uint64_t stream, int64_t count, real low, real high, real *values) {
  uint32_t bits[4];
  for (int64_t i = 0; i < count; i++) {
    if (i % 4 == 0) stream_block(key, stream, (uint64_t)i / 4, bits);
    float share = (float)(bits[i % 4] >> 8) * 0x1p-24f; /* 24 bits: exact in float, so always below 1 */
    float value = (float)low + ((float)high - (float)low) * share;
    values[i] = value < (float)high ? value : nextafterf((float)high, (float)low);
  }
}

void random_fill_normal_from(random_key key, uint64_t stream, int64_t first, int64_t count, real deviation, real *values) {
  uint32_t bits[4];
  for (int64_t i = first; i < first + count; i++) {
    if (i == first || i % 4 == 0) stream_block(key, stream, (uint64_t)i / 4, bits);
    int pair = (int)(i % 4) / 2 * 2;
    values[i - first] = (real)((float)deviation * (float)box_muller(bits[pair], bits[pair + 1], (int)(i & 1)));
  }
}

void random_fill_normal(random_key key, uint64_t stream, int64_t count, real deviation, real *values) {
  random_fill_normal_from(key, stream, 0, count, deviation, values);
}

void random_permutation(random_key key, uint64_t stream, int64_t count, int64_t *order) {
  for (int64_t i = 0; i < count; i++) order[i] = i;
  for (int64_t i = count - 1; i > 0; i--) {
    uint32_t bits[4];
    stream_block(key, stream, (uint64_t)i, bits);
    uint64_t wide = ((uint64_t)bits[0] << 32) | bits[1];
    int64_t j = (int64_t)(((unsigned __int128)wide * (uint64_t)(i + 1)) >> 64); /* bias below 2^-32 even for 4 G rows */
    int64_t held = order[i];
    order[i] = order[j];
    order[j] = held;
  }
}
