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

/* Where the elements first .. first + count of a tensor lie, for any type. */
static int find_bytes(const safetensors *s, int index, int64_t first, int64_t count, const unsigned char **bytes) {
  if (index < 0 || index >= s->count) return FAIL(ERROR_INPUT, NULL, "%s: has no tensor number %d", s->path, index);
  const safetensors_item *item = &s->items[index];
  const safetensors_entry *e = &item->entry;
  if (first < 0 || count < 0 || first > e->count || count > e->count - first)
    return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': elements %lld + %lld are outside its %lld", item->part->path, safetensors_printable(e->name),
                (long long)first, (long long)count, (long long)e->count);
  *bytes = item->part->map.bytes + item->part->data_start + item->begin + (uint64_t)first * (uint64_t)safetensors_type_bytes(e->type_text);
  return ERROR_NONE;
}

static int64_t whole_at(safetensors_type type, const unsigned char *bytes) {
  union {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
  } v;
  switch (type) {
    case TENSOR_U8: return *bytes;
    case TENSOR_I8: memcpy(&v, bytes, 1); return v.i8;
    case TENSOR_U16: memcpy(&v, bytes, 2); return v.u16;
    case TENSOR_I16: memcpy(&v, bytes, 2); return v.i16;
    case TENSOR_U32: memcpy(&v, bytes, 4); return v.u32;
    case TENSOR_I32: memcpy(&v, bytes, 4); return v.i32;
    default: memcpy(&v, bytes, 8); return v.i64;
  }
}

int safetensors_read_whole(const safetensors *s, int index, int64_t first, int64_t count, int64_t low, int64_t high, int64_t *values) {
  const unsigned char *bytes;
  TRY(find_bytes(s, index, first, count, &bytes));
  const safetensors_item *item = &s->items[index];
  const safetensors_entry *e = &item->entry;
  if (e->type < TENSOR_U8 || e->type > TENSOR_I64)
    return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': has type %s where whole numbers are expected", item->part->path, safetensors_printable(e->name),
                safetensors_printable(e->type_text));
  int width = safetensors_type_bytes(e->type_text);
  for (int64_t i = 0; i < count; i++) {
    values[i] = whole_at(e->type, bytes + i * width);
    if (values[i] < low || values[i] > high)
      return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': element %lld is %lld, outside %lld .. %lld", item->part->path, safetensors_printable(e->name),
                  (long long)(first + i), (long long)values[i], (long long)low, (long long)high);
  }
  return ERROR_NONE;
}

int safetensors_read(const safetensors *s, int index, int64_t first, int64_t count, real *values) {
  const unsigned char *bytes;
  TRY(find_bytes(s, index, first, count, &bytes));
  const safetensors_item *item = &s->items[index];
  const safetensors_entry *e = &item->entry;
  const char *path = item->part->path;
  if (e->type > TENSOR_BF16)
    return FAIL(ERROR_INPUT, "convert it to F32, F16 or BF16", "%s: tensor '%s': cannot read type %s as numbers", path, safetensors_printable(e->name),
                safetensors_printable(e->type_text));
  int width = safetensors_type_bytes(e->type_text);
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
  file_map_forget(&item->part->map, (size_t)(bytes - item->part->map.bytes) - (size_t)count * (size_t)width, (size_t)count * (size_t)width);
  return ERROR_NONE;
}

int safetensors_read_bits(const safetensors *s, const char *name, safetensors_type type, int64_t count, void *values) {
  const unsigned char *bytes;
  int index = safetensors_find(s, name);
  if (index < 0) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' is missing", s->path, name);
  const safetensors_entry *e = &s->items[index].entry;
  if (e->type != type || e->count != count)
    return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': has %lld values of type %s, not %lld of type %s", s->path, name, (long long)e->count,
                safetensors_printable(e->type_text), (long long)count, safetensors_type_name(type));
  TRY(find_bytes(s, index, 0, count, &bytes));
  if (count) memcpy(values, bytes, (size_t)count * (size_t)safetensors_type_bytes(e->type_text));
  return ERROR_NONE;
}
