#include <math.h>
#include <string.h>

#include "base/error.h"
#include "store/safetensors_private.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data are little-endian and copied as they are");
_Static_assert(sizeof(float) == 4, "F32 is copied as float");

enum { BLOCK = 2048 }; /* values converted at a time: both forms stay in the first-level cache */

static inline float half_to_float(uint16_t half) {
#ifdef __F16C__
  return _cvtsh_ss(half);
#else
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u, bits;
  float value;
  if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact in float */
    value = (float)fraction * 0x1p-24f;
    return sign ? -value : value;
  }
  bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

static void convert_half(const unsigned char *bytes, int count, float *values) {
  int i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) _mm256_storeu_ps(values + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(bytes + 2 * i))));
#endif
  for (; i < count; i++) {
    uint16_t half;
    memcpy(&half, bytes + 2 * i, sizeof half);
    values[i] = half_to_float(half);
  }
}

static void convert_bfloat(const unsigned char *bytes, int count, float *values) {
  for (int i = 0; i < count; i++) {
    uint16_t upper;
    memcpy(&upper, bytes + 2 * i, sizeof upper);
    uint32_t bits = (uint32_t)upper << 16;
    memcpy(values + i, &bits, sizeof bits);
  }
}

/* On the bits, so that the compiler makes vector instructions of it: a loaded model has 10^8 values and more. */
static int all_finite(const float *values, int count) {
  uint32_t bad = 0;
  for (int i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    bad |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return !bad;
}

int safetensors_read(const safetensors *s, int index, int64_t first, int64_t count, real *values) {
  if (index < 0 || index >= s->count) return FAIL(ERROR_INPUT, NULL, "%s: has no tensor number %d", s->path, index);
  const safetensors_item *item = &s->items[index];
  const safetensors_entry *e = &item->entry;
  const char *path = item->part->path;
  if (e->type == TENSOR_OTHER)
    return FAIL(ERROR_INPUT, "convert the model to F32, F16 or BF16", "%s: tensor '%s': cannot read type %s as numbers", path, safetensors_printable(e->name),
                safetensors_printable(e->type_text));
  if (first < 0 || count < 0 || first > e->count || count > e->count - first)
    return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': elements %lld + %lld are outside its %lld", path, safetensors_printable(e->name), (long long)first,
                (long long)count, (long long)e->count);

  int width = safetensors_type_bytes(e->type_text);
  const unsigned char *bytes = item->part->map.bytes + item->part->data_start + item->begin + (uint64_t)first * (uint64_t)width;
  float block[BLOCK];
  for (int64_t done = 0; done < count; done += BLOCK) {
    int now = count - done < BLOCK ? (int)(count - done) : BLOCK;
    if (e->type == TENSOR_F32) memcpy(block, bytes, (size_t)now * sizeof *block);
    else if (e->type == TENSOR_F16) convert_half(bytes, now, block);
    else convert_bfloat(bytes, now, block);
    if (!all_finite(block, now)) {
      int i = 0;
      while (isfinite(block[i])) i++;
      return FAIL(ERROR_INPUT, "the weights are damaged, or come from a training that diverged", "%s: tensor '%s': element %lld is %s", path,
                  safetensors_printable(e->name), (long long)(first + done + i), isnan(block[i]) ? "not a number" : "infinite");
    }
    for (int i = 0; i < now; i++) values[done + i] = (real)block[i];
    bytes += (size_t)now * (size_t)width;
  }
  return ERROR_NONE;
}
