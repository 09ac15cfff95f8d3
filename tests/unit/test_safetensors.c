/* store/safetensors: values of all three types, files that cannot be trusted, parts, writing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/hash.h"
#include "store/file.h"
#include "store/safetensors.h"
#include "support/folder.h"

/* Writes a file of a given header and data; `length` < 0: the header's true length. */
static const char *make(const char *name, const char *header, long long length, const void *data, size_t bytes) {
  const char *path = in_folder(name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  uint64_t prefix = length < 0 ? strlen(header) : (uint64_t)length;
  for (int i = 0; i < 8; i++) fputc((int)(prefix >> (8 * i) & 255), f);
  fputs(header, f);
  fwrite(data, 1, bytes, f);
  fclose(f);
  return path;
}

/* The file must be refused with a message that names it, the tensor (if any) and the reason. */
static void refused(const char *path, const char *tensor, const char *reason) {
  safetensors *s;
  if (safetensors_open(path, &s) != ERROR_INPUT) fail_msg("%s: accepted, expected '%s'", path, reason);
  assert_null(s);
  expect_text(path);
  if (tensor) {
    char quoted[100];
    snprintf(quoted, sizeof quoted, "'%s'", tensor);
    expect_text(quoted);
  }
  expect_text(reason);
}

static void refused_header(const char *header, size_t data, const char *tensor, const char *reason) {
  static const char zeros[4096];
  refused(make("bad.safetensors", header, -1, zeros, data), tensor, reason);
}

static float reference_half(uint16_t h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
  return (float)(h & 0x8000 ? -value : value);
}

static void test_values(void **state) {
  (void)state;
  /* Every finite half and every finite bfloat16, so both the 8-wide path and the rest, at an odd place of the file. */
  enum { HALVES = 2 * 31 * 1024, BFLOATS = 2 * 255 * 128 };
  static unsigned char data[12 + 2 * HALVES + 2 * BFLOATS];
  static real values[BFLOATS];
  static uint16_t halves[HALVES], bfloats[BFLOATS];
  const float floats[3] = {1.5f, -0.0f, 1e-42f}; /* the last is subnormal */
  for (int i = 0, h = 0; i < 65536; i++)
    if ((i >> 10 & 31) != 31) halves[h++] = (uint16_t)i;
  for (int i = 0, b = 0; i < 65536; i++)
    if ((i >> 7 & 255) != 255) bfloats[b++] = (uint16_t)i;
  memcpy(data, floats, 12);
  memcpy(data + 12, halves, sizeof halves);
  memcpy(data + 12 + sizeof halves, bfloats, sizeof bfloats);
  char header[500];
  int n = snprintf(header, sizeof header,
                   "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[%d,%d]},"
                   "\"f\":{\"dtype\":\"F32\",\"shape\":[3,1],"
                   "\"data_offsets\":[0,12]},\"h\":{\"dtype\":\"F16\",\"shape\":[2,%d],\"data_offsets\":[12,%d]}}",
                   BFLOATS, 12 + 2 * HALVES, 12 + 2 * HALVES + 2 * BFLOATS, HALVES / 2, 12 + 2 * HALVES);
  while (n % 2 == 0) header[n++] = ' ';
  header[n] = 0;
  safetensors *s;
  assert_int_equal(safetensors_open(make("values.safetensors", header, -1, data, sizeof data), &s), ERROR_NONE);
  assert_int_equal(safetensors_count(s), 3);
  assert_int_equal(safetensors_find(s, "none"), -1);
  assert_null(safetensors_entry_at(s, 3));
  assert_null(safetensors_entry_at(s, -1));
  int f = safetensors_find(s, "f"), h = safetensors_find(s, "h"), b = safetensors_find(s, "b");
  assert_true(f >= 0 && h >= 0 && b >= 0);
  const safetensors_entry *e = safetensors_entry_at(s, h);
  assert_string_equal(e->name, "h");
  assert_string_equal(e->type_text, "F16");
  assert_int_equal(e->type, TENSOR_F16);
  assert_int_equal(e->dims, 2);
  assert_int_equal(e->shape[0], 2);
  assert_int_equal(e->shape[1], HALVES / 2);
  assert_int_equal(e->count, HALVES);

  assert_int_equal(safetensors_read(s, f, 0, 3, values), ERROR_NONE);
  for (int i = 0; i < 3; i++) assert_true((float)values[i] == floats[i] && !signbit(values[i]) == !signbit(floats[i]));
  assert_int_equal(safetensors_read(s, h, 0, HALVES, values), ERROR_NONE);
  for (int i = 0; i < HALVES; i++)
    if ((float)values[i] != reference_half(halves[i]) || !signbit(values[i]) != !(halves[i] & 0x8000))
      fail_msg("half %04x: %g, not %g", halves[i], (double)values[i], (double)reference_half(halves[i]));
  assert_int_equal(safetensors_read(s, h, 12345, 11, values), ERROR_NONE);
  for (int i = 0; i < 11; i++) assert_true((float)values[i] == reference_half(halves[12345 + i]));
  assert_int_equal(safetensors_read(s, b, 0, BFLOATS, values), ERROR_NONE);
  for (int i = 0; i < BFLOATS; i++) {
    uint32_t bits = (uint32_t)bfloats[i] << 16;
    float wanted;
    memcpy(&wanted, &bits, 4);
    assert_true((float)values[i] == wanted);
  }
  assert_int_equal(safetensors_read(s, f, 3, 0, values), ERROR_NONE);
  assert_int_equal(safetensors_read(s, f, 2, 2, values), ERROR_INPUT);
  expect_text("'f'");
  assert_int_equal(safetensors_read(s, f, -1, 1, values), ERROR_INPUT);
  assert_int_equal(safetensors_read(s, f, 1, INT64_MAX, values), ERROR_INPUT);
  assert_int_equal(safetensors_read(s, 3, 0, 1, values), ERROR_INPUT);

  char mine[HASH_TEXT_BYTES], whole[HASH_TEXT_BYTES];
  assert_int_equal(safetensors_hash(s, mine), ERROR_NONE);
  assert_int_equal(hash_file(safetensors_path(s), whole), ERROR_NONE);
  assert_string_equal(mine, whole);
  safetensors_close(s);
}

static void test_not_finite(void **state) {
  (void)state;
  static const struct {
    const char *type, *reason;
    uint32_t bits;
    int bytes;
  } cases[] = {{"F32", "not a number", 0x7fc00000, 4}, {"F32", "infinite", 0xff800000, 4}, {"F16", "infinite", 0x7c00, 2},
               {"F16", "not a number", 0xfe01, 2},     {"BF16", "infinite", 0x7f80, 2},    {"BF16", "not a number", 0x7f81, 2}};
  enum { COUNT = 2101, PLACE = 2099 };
  static unsigned char data[COUNT * 4];
  static real values[COUNT];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char header[200];
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", cases[i].type, COUNT, COUNT * cases[i].bytes);
    memset(data, 0, sizeof data);
    memcpy(data + PLACE * cases[i].bytes, &cases[i].bits, (size_t)cases[i].bytes);
    const char *path = make("nan.safetensors", header, -1, data, (size_t)(COUNT * cases[i].bytes));
    safetensors *s;
    assert_int_equal(safetensors_open(path, &s), ERROR_NONE);
    assert_int_equal(safetensors_read(s, 0, 0, PLACE, values), ERROR_NONE);
    assert_int_equal(safetensors_read(s, 0, 1, COUNT - 1, values), ERROR_INPUT);
    expect_text(path);
    expect_text("'w'");
    expect_text("element 2099");
    expect_text(cases[i].reason);
    safetensors_close(s);
  }
}

#define TENSOR(name, type, shape, offsets) "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_corruptions(void **state) {
  (void)state;
  const char *good = "{" TENSOR("x", "F32", "[5]", "[0,20]") "}";
  char data[20] = {0};
  safetensors *s;
  assert_int_equal(safetensors_open(make("good.safetensors", good, -1, data, 20), &s), ERROR_NONE);
  safetensors_close(s);

  /* The file as a whole. */
  refused(make("bad.safetensors", good, -1, data, 15), "x", "bytes 0..20 lie beyond the end of the file (15 bytes of data); the file is truncated");
  refused(make("bad.safetensors", good, -1, data, 0), "x", "truncated");
  refused(make("bad.safetensors", good, 1000, data, 20), NULL, "truncated");
  refused(make("bad.safetensors", good, 10, data, 20), NULL, "no valid JSON");
  refused(make("bad.safetensors", good, 0, data, 20), NULL, "no valid JSON");
  refused(make("bad.safetensors", good, (long long)strlen(good) + 5, data, 20), NULL, "follow");
  refused(make("bad.safetensors", good, 100000001, data, 20), NULL, "no safetensors file");
  refused(make("bad.safetensors", good, INT64_MAX, data, 20), NULL, "no safetensors file");
  refused(make("bad.safetensors", "{not JSON}", -1, data, 20), NULL, "no valid JSON");
  refused(make("bad.safetensors", "[1,2]", -1, data, 0), NULL, "no object");
  assert_int_equal(file_write_atomic(in_folder("bad.safetensors"), "abc", 3), ERROR_NONE);
  refused(in_folder("bad.safetensors"), NULL, "3 bytes");
  assert_int_equal(file_write_atomic(in_folder("bad.safetensors"), "", 0), ERROR_NONE);
  refused(in_folder("bad.safetensors"), NULL, "empty");
  refused(in_folder("absent.safetensors"), NULL, "No such file");

  /* Offsets. */
  refused_header("{" TENSOR("x", "F32", "[1]", "[18,22]") "}", 20, "x", "beyond the end");
  refused_header("{" TENSOR("x", "F32", "[1]", "[8,4]") "}", 20, "x", "before they begin");
  refused_header("{" TENSOR("x", "F32", "[1]", "[-4,0]") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[1]", "[0.5,4.5]") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[1]", "[0]") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[1]", "[0,4,8]") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[1]", "[0,\"4\"]") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[1]", "[0,1e300]") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[1]", "4") "}", 20, "x", "two whole numbers");
  refused_header("{" TENSOR("x", "F32", "[3]", "[0,12]") "," TENSOR("y", "F32", "[3]", "[8,20]") "}", 20, "y", "overlap those of 'x'");
  refused_header("{" TENSOR("x", "F32", "[5]", "[0,20]") "," TENSOR("y", "F32", "[5]", "[0,20]") "}", 20, "y", "overlap");
  refused_header("{" TENSOR("x", "F32", "[1]", "[0,4]") "," TENSOR("y", "F32", "[3]", "[8,20]") "}", 20, "y", "gap");
  refused_header("{" TENSOR("x", "F32", "[4]", "[0,16]") "}", 20, NULL, "4 bytes behind the last tensor");

  /* Shapes and types. */
  refused_header("{" TENSOR("x", "F32", "[4]", "[0,20]") "}", 20, "x", "needs 16 bytes, but data_offsets give it 20");
  refused_header("{" TENSOR("x", "I64", "[5]", "[0,20]") "}", 20, "x", "needs 40 bytes");
  refused_header("{" TENSOR("x", "F32", "[-5]", "[0,20]") "}", 20, "x", "no whole number");
  refused_header("{" TENSOR("x", "F32", "[-5,-1]", "[0,20]") "}", 20, "x", "no whole number");
  refused_header("{" TENSOR("x", "F32", "[2.5,2]", "[0,20]") "}", 20, "x", "no whole number");
  refused_header("{" TENSOR("x", "F32", "[null]", "[0,20]") "}", 20, "x", "no whole number");
  refused_header("{" TENSOR("x", "F32", "[4294967296,4294967296]", "[0,20]") "}", 20, "x", "overflow");
  refused_header("{" TENSOR("x", "F32", "[4611686018427387904,4]", "[0,0]") "}", 0, "x", "no whole number"); /* 2^62 * 4 * 4 would wrap to 0 */
  refused_header("{" TENSOR("x", "F32", "[2147483648,2147483648,4]", "[0,0]") "}", 0, "x", "overflow");
  refused_header("{" TENSOR("x", "F32", "[5,1,1,1,1,1,1,1,1]", "[0,20]") "}", 20, "x", "more than 8 dimensions");
  refused_header("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,20]}}", 20, "x", "shape is missing");
  refused_header("{\"x\":{\"dtype\":\"F32\",\"shape\":5,\"data_offsets\":[0,20]}}", 20, "x", "shape is missing");
  refused_header("{\"x\":{\"dtype\":\"F32\",\"shape\":[5]}}", 20, "x", "data_offsets");
  refused_header("{\"x\":{\"dtype\":4,\"shape\":[5],\"data_offsets\":[0,20]}}", 20, "x", "dtype");
  refused_header("{\"x\":7}", 20, "x", "no object");
  refused_header("{" TENSOR("x", "F32", "[5]", "[0,20]") "," TENSOR("x", "F32", "[0]", "[20,20]") "}", 20, "x", "listed twice");
}

static void test_odd_but_right(void **state) {
  (void)state;
  const char *header = "{" TENSOR("scalar", "F32", "[]", "[0,4]") "," TENSOR("ids", "I64", "[1,2]", "[4,20]") "," TENSOR(
      "none", "F16", "[3,0]", "[4,4]") "," TENSOR("new", "F4_NEW", "[7]", "[20,24]") "} \n\t ";
  char data[24] = {0};
  real value;
  safetensors *s;
  assert_int_equal(safetensors_open(make("odd.safetensors", header, -1, data, 24), &s), ERROR_NONE);
  assert_int_equal(safetensors_count(s), 4);
  const safetensors_entry *e = safetensors_entry_at(s, safetensors_find(s, "scalar"));
  assert_int_equal(e->dims, 0);
  assert_int_equal(e->count, 1);
  assert_int_equal(safetensors_read(s, safetensors_find(s, "scalar"), 0, 1, &value), ERROR_NONE);
  assert_int_equal(safetensors_read(s, safetensors_find(s, "none"), 0, 0, &value), ERROR_NONE);
  assert_int_equal(safetensors_read(s, safetensors_find(s, "ids"), 0, 1, &value), ERROR_INPUT);
  expect_text("'ids': cannot read type I64");
  assert_int_equal(safetensors_read(s, safetensors_find(s, "new"), 0, 1, &value), ERROR_INPUT);
  safetensors_close(s);
  assert_int_equal(safetensors_open(make("empty.safetensors", "{}", -1, "", 0), &s), ERROR_NONE);
  assert_int_equal(safetensors_count(s), 0);
  safetensors_close(s);
}

/* Never a crash and never an access outside the map: the sanitizers look on; whatever opens must be readable to its last element. */
static void test_fuzz(void **state) {
  (void)state;
  const char *header = "{\"__metadata__\":{\"format\":\"pt\"}," TENSOR("a.weight", "F32", "[2,3]", "[0,24]") "," TENSOR(
      "a.bias", "F16", "[3]", "[24,30]") "," TENSOR("n\\u00e4me", "BF16", "[1,1]", "[30,32]") "," TENSOR("ids", "I64", "[1]", "[32,40]") "}";
  size_t length = strlen(header);
  enum { DATA = 40, MUTATIONS = 6000 };
  unsigned char original[1024] = {0}, file[1024];
  uint64_t prefix = length;
  memcpy(original, &prefix, 8);
  memcpy(original + 8, header, length);
  size_t total = 8 + length + DATA;
  uint64_t random = 12345;
  int opened = 0;
  for (int i = 0; i < MUTATIONS; i++) {
    memcpy(file, original, total);
    size_t bytes = total;
    int edits = 1 + i % 3;
    for (int k = 0; k < edits; k++) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      size_t place = (size_t)(random >> 33) % (8 + length);
      if (i % 4 == 0) file[place] = (unsigned char)"0123456789-[]{},:\"\\eE.tfn"[(random >> 20) % 25];
      else if (i % 4 == 1 && k == 0) bytes = place; /* cut */
      else file[place] ^= (unsigned char)(1u << ((random >> 20) % 8));
    }
    FILE *f = fopen(in_folder("fuzz.safetensors"), "wb");
    assert_non_null(f);
    fwrite(file, 1, bytes, f);
    fclose(f);
    safetensors *s;
    int code = safetensors_open(in_folder("fuzz.safetensors"), &s);
    if (code) {
      assert_int_equal(code, ERROR_INPUT);
      expect_text("fuzz.safetensors");
      continue;
    }
    opened++;
    for (int t = 0; t < safetensors_count(s); t++) {
      const safetensors_entry *e = safetensors_entry_at(s, t);
      real values[64];
      assert_true(e->count <= DATA);
      (void)safetensors_read(s, t, 0, e->count, values);
      assert_int_equal(safetensors_find(s, e->name), t);
    }
    safetensors_close(s);
  }
  assert_true(opened > 0 && opened < MUTATIONS / 2);
}

static void put_text(const char *name, const char *text) { assert_int_equal(file_write_atomic(in_folder(name), text, strlen(text)), ERROR_NONE); }

static void write_one(const char *file, const char *tensor, float value) {
  safetensors_output out = {.name = tensor, .dims = 1, .shape = {1}, .values = &value};
  assert_int_equal(safetensors_write(in_folder(file), &out, 1, NULL), ERROR_NONE);
}

static void test_parts(void **state) {
  (void)state;
  const char *index = "sharded/model.safetensors.index.json";
  assert_int_equal(mkdir(in_folder("sharded"), 0777), 0);
  refused(in_folder("sharded"), NULL, "holds no .safetensors file");
  write_one("sharded/part-1.safetensors", "first", 1);
  safetensors *s;
  assert_int_equal(safetensors_open(in_folder("sharded/"), &s), ERROR_NONE); /* the only one */
  assert_int_equal(safetensors_count(s), 1);
  safetensors_close(s);
  write_one("sharded/part-2.safetensors", "second", 2);
  refused(in_folder("sharded"), NULL, "holds 2 .safetensors files");

  put_text(index, "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"second\":\"part-2.safetensors\",\"first\":\"part-1.safetensors\"}}");
  assert_int_equal(safetensors_open(in_folder("sharded"), &s), ERROR_NONE);
  assert_int_equal(safetensors_count(s), 2);
  assert_non_null(strstr(safetensors_path(s), "part-1"));
  real value;
  assert_int_equal(safetensors_read(s, safetensors_find(s, "first"), 0, 1, &value), ERROR_NONE);
  assert_true(value == 1);
  assert_int_equal(safetensors_read(s, safetensors_find(s, "second"), 0, 1, &value), ERROR_NONE);
  assert_true(value == 2);
  char mine[HASH_TEXT_BYTES], joined[HASH_TEXT_BYTES], *a, *b;
  size_t na, nb;
  assert_int_equal(safetensors_hash(s, mine), ERROR_NONE);
  assert_int_equal(file_read(in_folder("sharded/part-1.safetensors"), 1000, &a, &na), ERROR_NONE);
  assert_int_equal(file_read(in_folder("sharded/part-2.safetensors"), 1000, &b, &nb), ERROR_NONE);
  a = realloc(a, na + nb);
  memcpy(a + na, b, nb);
  hash_bytes(a, na + nb, joined);
  assert_string_equal(mine, joined);
  free(a);
  free(b);
  safetensors_close(s);

  char path[1024];
  snprintf(path, sizeof path, "%s", in_folder(index));
#define EXPECT_INDEX(text, reason)                                             \
  do {                                                                         \
    put_text(index, text);                                                     \
    assert_int_equal(safetensors_open(in_folder("sharded"), &s), ERROR_INPUT); \
    expect_text(path);                                                         \
    expect_text(reason);                                                       \
  } while (0)
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"part-1.safetensors\",\"second\":\"part-3.safetensors\"}}", "'part-3.safetensors', which is missing");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"part-1.safetensors\",\"third\":\"part-2.safetensors\"}}", "'third' should be in 'part-2.safetensors'");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"part-2.safetensors\",\"second\":\"part-2.safetensors\"}}", "'first' should be in");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"../sharded/part-1.safetensors\"}}", "not a plain file name");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"..\"}}", "not a plain file name");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"/etc/passwd\"}}", "not a plain file name");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"\"}}", "not a plain file name");
  EXPECT_INDEX("{\"weight_map\":{\"first\":7}}", "no text");
  EXPECT_INDEX("{\"weight_map\":{\"first\":\"part-1.safetensors\",\"first\":\"part-2.safetensors\"}}", "listed twice");
  EXPECT_INDEX("{\"weight_map\":{}}", "no weight_map");
  EXPECT_INDEX("{\"weight_map\":[]}", "no weight_map");
  EXPECT_INDEX("{", "no valid JSON");

  write_one("sharded/model.safetensors", "whole", 3); /* comes before an index */
  assert_int_equal(safetensors_open(in_folder("sharded"), &s), ERROR_NONE);
  assert_int_equal(safetensors_find(s, "whole"), 0);
  safetensors_close(s);
}

static void test_writing(void **state) {
  (void)state;
  enum { COUNT = 5003 };
  static float weights[COUNT];
  for (int i = 0; i < COUNT; i++) weights[i] = (float)sin(i) * 1e-3f;
  const float pair[2] = {-0.0f, 3e38f}, one = 7;
  const safetensors_output out[] = {{.name = "layer.0.\"q\"/\xc3\xa4", .dims = 1, .shape = {COUNT}, .values = weights},
                                    {.name = "pair", .dims = 3, .shape = {1, 2, 1}, .values = pair},
                                    {.name = "scalar", .dims = 0, .values = &one},
                                    {.name = "void", .dims = 2, .shape = {0, 4}}};
  const char *metadata[] = {"format", "pt", "note", "tab\there", NULL};
  const char *path = in_folder("out.safetensors");
  for (int extra = 0; extra < 9; extra++) { /* whatever the header's length, data begin at a multiple of 8 */
    char pad[10] = "xxxxxxxxx";
    pad[extra] = 0;
    metadata[1] = pad;
    assert_int_equal(safetensors_write(path, out, 4, metadata), ERROR_NONE);
    char *bytes;
    size_t count;
    uint64_t length;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &count), ERROR_NONE);
    memcpy(&length, bytes, 8);
    assert_int_equal(length % 8, 0);
    assert_int_equal(count, 8 + length + sizeof weights + sizeof pair + sizeof one);
    assert_memory_equal(bytes + 8 + length, weights, sizeof weights);
    assert_non_null(strstr(bytes + 8, "\"__metadata__\":{\"format\":"));
    free(bytes);
  }
  safetensors *s;
  static real values[COUNT];
  assert_int_equal(safetensors_open(path, &s), ERROR_NONE);
  assert_int_equal(safetensors_count(s), 4);
  assert_int_equal(safetensors_read(s, safetensors_find(s, out[0].name), 0, COUNT, values), ERROR_NONE);
  for (int i = 0; i < COUNT; i++) assert_true((float)values[i] == weights[i]);
  assert_int_equal(safetensors_read(s, safetensors_find(s, "pair"), 1, 1, values), ERROR_NONE);
  assert_true((float)values[0] == 3e38f);
  assert_int_equal(safetensors_entry_at(s, safetensors_find(s, "pair"))->shape[1], 2);
  assert_int_equal(safetensors_entry_at(s, safetensors_find(s, "void"))->count, 0);
  safetensors_close(s);

  char before[HASH_TEXT_BYTES], after[HASH_TEXT_BYTES];
  assert_int_equal(hash_file(path, before), ERROR_NONE);
  safetensors_output twice[] = {out[1], out[2], out[1]};
  assert_int_equal(safetensors_write(path, twice, 3, NULL), ERROR_INPUT);
  expect_text("'pair' is given twice");
  twice[2].name = "__metadata__";
  assert_int_equal(safetensors_write(path, twice, 3, NULL), ERROR_INPUT);
  twice[2].name = "negative";
  twice[2].shape[1] = -2;
  assert_int_equal(safetensors_write(path, twice, 3, NULL), ERROR_INPUT);
  expect_text("'negative'");
  assert_int_equal(hash_file(path, after), ERROR_NONE); /* what was there is still there */
  assert_string_equal(before, after);
  assert_int_equal(safetensors_write(in_folder("absent/out.safetensors"), out, 4, NULL), ERROR_SYSTEM);
  expect_text("absent/out.safetensors");
}

static void test_real_model(void **state) {
  (void)state;
  const char *assets = getenv("PEFTSCALE_ASSETS");
  char path[1024];
  snprintf(path, sizeof path, "%s/minilm-l6/model.fp16.safetensors", assets ? assets : "");
  if (!assets || access(path, R_OK)) {
    print_message("PEFTSCALE_ASSETS names no directory with minilm-l6/model.fp16.safetensors\n");
    skip();
  }
  for (int directory = 0; directory < 2; directory++) {
    safetensors *s;
    if (directory) *strrchr(path, '/') = 0;
    assert_int_equal(safetensors_open(path, &s), ERROR_NONE);
    assert_int_equal(safetensors_count(s), 104);
    int index = safetensors_find(s, "embeddings.word_embeddings.weight");
    const safetensors_entry *e = safetensors_entry_at(s, index);
    assert_non_null(e);
    assert_int_equal(e->shape[0], 30522);
    assert_int_equal(e->shape[1], 384);
    real *values = malloc((size_t)e->count * sizeof *values), largest = 0;
    assert_non_null(values);
    assert_int_equal(safetensors_read(s, index, 0, e->count, values), ERROR_NONE);
    for (int64_t i = 0; i < e->count; i++) largest = fabs((double)values[i]) > (double)largest ? (real)fabs((double)values[i]) : largest;
    assert_true(largest > 0.01 && largest < 100);
    free(values);
    safetensors_close(s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values), cmocka_unit_test(test_not_finite), cmocka_unit_test(test_corruptions), cmocka_unit_test(test_odd_but_right),
      cmocka_unit_test(test_fuzz),   cmocka_unit_test(test_parts),      cmocka_unit_test(test_writing),     cmocka_unit_test(test_real_model),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
