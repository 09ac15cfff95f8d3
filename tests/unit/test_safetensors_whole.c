/* store/safetensors: tensors of whole numbers and metadata, written and read, and refused where they are not what they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/safetensors.h"

static char path[1100];

static int setup(void **state) {
  (void)state;
  const char *base = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/peftscale-whole-XXXXXX", base && *base ? base : "/tmp");
  int descriptor = mkstemp(path);
  return descriptor < 0 ? -1 : close(descriptor);
}

static int teardown(void **state) {
  (void)state;
  return unlink(path);
}

static void expect_text(const char *part) {
  if (!strstr(error_last()->text, part)) fail_msg("'%s' lacks '%s'", error_last()->text, part);
}

/* A file of that header and 64 bytes of data, 0 1 2 ... */
static void make(const char *header) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  uint64_t length = strlen(header);
  fwrite(&length, 1, 8, f);
  fputs(header, f);
  for (int i = 0; i < 64; i++) fputc(i, f);
  fclose(f);
}

static void test_round_trip(void **state) {
  (void)state;
  static const uint8_t u8[] = {0, 1, 255};
  static const uint16_t u16[] = {0, 256, 65535};
  static const int32_t i32[] = {-2147483647 - 1, 7, 2147483647};
  static const int64_t i64[] = {INT64_MIN, -1, INT64_MAX};
  static const float f32[] = {1.5f};
  const safetensors_output out[] = {{.name = "bytes", .type = TENSOR_U8, .dims = 1, .shape = {3}, .values = u8}, /* what follows lies at odd places */
                                    {.name = "long", .type = TENSOR_I64, .dims = 2, .shape = {3, 1}, .values = i64},
                                    {.name = "short", .type = TENSOR_U16, .dims = 1, .shape = {3}, .values = u16},
                                    {.name = "int", .type = TENSOR_I32, .dims = 1, .shape = {3}, .values = i32},
                                    {.name = "real", .dims = 1, .shape = {1}, .values = f32}};
  const char *notes[] = {"b", "first", "a", "second \"quoted\"", NULL}, *key, *value;
  const int64_t wanted[4][3] = {{0, 1, 255}, {INT64_MIN, -1, INT64_MAX}, {0, 256, 65535}, {-2147483647 - 1, 7, 2147483647}};
  assert_int_equal(safetensors_write(path, out, 5, notes), ERROR_NONE);
  safetensors *s;
  int64_t values[3];
  real number;
  assert_int_equal(safetensors_open(path, &s), ERROR_NONE);
  for (int i = 0; i < 4; i++) {
    int index = safetensors_find(s, out[i].name);
    assert_int_equal(safetensors_entry_at(s, index)->type, out[i].type);
    assert_int_equal(safetensors_read_whole(s, index, 0, 3, INT64_MIN, INT64_MAX, values), ERROR_NONE);
    for (int k = 0; k < 3; k++) assert_true(values[k] == wanted[i][k]);
    assert_int_equal(safetensors_read_whole(s, index, 1, 1, INT64_MIN, INT64_MAX, values), ERROR_NONE);
    assert_true(values[0] == wanted[i][1]);
    assert_int_equal(safetensors_read(s, index, 0, 3, &number), ERROR_INPUT); /* no silent conversion, in either direction */
    expect_text("cannot read type");
  }
  assert_int_equal(safetensors_read_whole(s, safetensors_find(s, "real"), 0, 1, 0, 9, values), ERROR_INPUT);
  expect_text("'real': has type F32");
  assert_int_equal(safetensors_read(s, safetensors_find(s, "real"), 0, 1, &number), ERROR_NONE);
  assert_true(number == (real)1.5);
  assert_string_equal(safetensors_metadata(s, "a"), "second \"quoted\"");
  assert_null(safetensors_metadata(s, "c"));
  assert_true(safetensors_metadata_at(s, 0, &key, &value));
  assert_string_equal(key, "b");
  assert_string_equal(value, "first");
  assert_false(safetensors_metadata_at(s, 2, &key, &value));
  assert_false(safetensors_metadata_at(s, -1, &key, &value));
  safetensors_close(s);
}

static void test_signs_and_ranges(void **state) {
  (void)state;
  make(
      "{\"i8\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},\"i16\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[4,8]},"
      "\"u32\":{\"dtype\":\"U32\",\"shape\":[1],\"data_offsets\":[8,12]},\"u64\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[12,20]},"
      "\"rest\":{\"dtype\":\"U8\",\"shape\":[44],\"data_offsets\":[20,64]}}");
  safetensors *s;
  int64_t values[44];
  assert_int_equal(safetensors_open(path, &s), ERROR_NONE);
  assert_int_equal(safetensors_read_whole(s, safetensors_find(s, "i16"), 0, 2, 0, 65535, values), ERROR_NONE);
  assert_int_equal(values[1], 7 << 8 | 6);
  assert_int_equal(safetensors_read_whole(s, safetensors_find(s, "u32"), 0, 1, 0, INT64_MAX, values), ERROR_NONE);
  assert_int_equal(values[0], 11 << 24 | 10 << 16 | 9 << 8 | 8);
  assert_int_equal(safetensors_read_whole(s, safetensors_find(s, "u64"), 0, 1, 0, INT64_MAX, values), ERROR_INPUT);
  expect_text("U64");
  int rest = safetensors_find(s, "rest");
  assert_int_equal(safetensors_read_whole(s, rest, 0, 44, 20, 63, values), ERROR_NONE);
  assert_int_equal(safetensors_read_whole(s, rest, 2, 42, 20, 62, values), ERROR_INPUT);
  expect_text("'rest': element 43 is 63, outside 20 .. 62");
  assert_int_equal(safetensors_read_whole(s, rest, 0, 1, 21, 63, values), ERROR_INPUT);
  assert_int_equal(safetensors_read_whole(s, rest, 0, 45, 0, 255, values), ERROR_INPUT);
  assert_int_equal(safetensors_read_whole(s, rest, -1, 2, 0, 255, values), ERROR_INPUT);
  assert_int_equal(safetensors_read_whole(s, rest, INT64_MAX, 2, 0, 255, values), ERROR_INPUT);
  assert_int_equal(safetensors_read_whole(s, 9, 0, 1, 0, 255, values), ERROR_INPUT);
  safetensors_close(s);
}

static void test_bad_metadata(void **state) {
  (void)state;
  static const char *const bad[] = {"[]", "7", "\"text\"", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"x\",\"a\":\"y\"}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char header[300];
    safetensors *s;
    snprintf(header, sizeof header, "{\"__metadata__\":%s,\"x\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]}}", bad[i]);
    make(header);
    if (safetensors_open(path, &s) != ERROR_INPUT) fail_msg("accepted: %s", bad[i]);
    assert_null(s);
    expect_text("metadata");
  }
}

static void test_unwritable_type(void **state) {
  (void)state;
  const float one = 1;
  const safetensors_output out = {.name = "x", .type = TENSOR_OTHER, .dims = 1, .shape = {1}, .values = &one};
  assert_int_equal(safetensors_write(path, &out, 1, NULL), ERROR_INTERNAL);
  expect_text("'x'");
}

/* Bits as they are, those of no finite number too; only what was asked for. */
static void test_bits(void **state) {
  (void)state;
  static const uint32_t odd[] = {0x7fc00001, 0xff800000, 0x80000000, 1};
  static const uint8_t u8[] = {9};
  const safetensors_output out[] = {{.name = "byte", .type = TENSOR_U8, .dims = 1, .shape = {1}, .values = u8},
                                    {.name = "odd", .dims = 1, .shape = {4}, .values = odd},
                                    {.name = "none", .dims = 1, .shape = {0}, .values = odd}};
  uint32_t back[4] = {0};
  safetensors *s;
  assert_int_equal(safetensors_write(path, out, 3, NULL), ERROR_NONE);
  assert_int_equal(safetensors_open(path, &s), ERROR_NONE);
  assert_int_equal(safetensors_read_bits(s, "odd", TENSOR_F32, 4, back), ERROR_NONE);
  assert_memory_equal(back, odd, sizeof odd);
  assert_int_equal(safetensors_read_bits(s, "none", TENSOR_F32, 0, NULL), ERROR_NONE);
  static const struct {
    const char *name;
    safetensors_type type;
    int64_t count;
  } wrong[] = {{"odd", TENSOR_F32, 3}, {"odd", TENSOR_F32, 5}, {"odd", TENSOR_I32, 4}, {"byte", TENSOR_F32, 1}, {"gone", TENSOR_F32, 4}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(safetensors_read_bits(s, wrong[i].name, wrong[i].type, wrong[i].count, back), ERROR_INPUT);
    expect_text(wrong[i].name);
  }
  safetensors_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_signs_and_ranges), cmocka_unit_test(test_bad_metadata),
                                     cmocka_unit_test(test_unwritable_type), cmocka_unit_test(test_bits)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
