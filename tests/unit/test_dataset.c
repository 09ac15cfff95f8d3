/* Prepared data sets: a good one is read as it was written, and every way in which a file can be wrong is refused with the reason. */
#include "data/dataset.h"

#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"

static char directory[64] = "/tmp/peftscale-dataset-XXXXXX", path[128];

/* ---- a data set to be spoilt ------------------------------------------------------------------------------------------------------------------ */

enum { ROWS = 3, TOKENS = 9 };

typedef enum storage { PLAIN, PACKED } storage; /* contiguous; as prepare writes: chunks, shuffle, gzip, fletcher32 */

typedef struct recipe {
  const char *kind, *name, *objective, *metric;
  int schema, class_count, vocabulary, first_word, mask_token;
  int name_count;                /* of class_names */
  int rows, tokens;              /* of every split; those named below may differ for train */
  int offset_rows, segment_rows; /* 0: as many as belong */
  int64_t offset[ROWS + 2], example[ROWS];
  int32_t token[TOKENS + 1], segment_start[ROWS], target_start[ROWS];
  float label[ROWS];
  const char *without;                                       /* path of an object or name of an attribute that is left out */
  int wide_labels, wide_tokens, narrow_offsets, flat_tokens; /* float64, int64, int32, and one column too many */
  int variable_text;
  storage how;
} recipe;

static recipe good(void) {
  return (recipe){.kind = "peftscale dataset",
                  .name = "toy",
                  .objective = "classify",
                  .metric = "accuracy",
                  .schema = 1,
                  .class_count = 2,
                  .vocabulary = 20,
                  .first_word = 5,
                  .mask_token = 4,
                  .name_count = 2,
                  .rows = ROWS,
                  .tokens = TOKENS,
                  .offset = {0, 2, 5, 9},
                  .example = {11, 12, 1LL << 62},
                  .token = {2, 3, 2, 7, 3, 2, 19, 8, 3},
                  .segment_start = {2, 3, 2},
                  .target_start = {2, 3, 4},
                  .label = {0, 1, 1}};
}

static int is_left_out(const recipe *r, const char *name) { return r->without && !strcmp(r->without, name); }

static void put_int(const recipe *r, hid_t file, const char *name, int value) {
  if (is_left_out(r, name)) return;
  hid_t space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
}

static void put_text(const recipe *r, hid_t file, const char *name, const char *text) {
  if (is_left_out(r, name)) return;
  hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_cset(type, H5T_CSET_UTF8);
  H5Tset_size(type, r->variable_text ? H5T_VARIABLE : strlen(text));
  if (!r->variable_text) H5Tset_strpad(type, H5T_STR_NULLPAD); /* as numpy and h5py store them: no room for a zero byte */
  hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Awrite(attribute, type, r->variable_text ? (const void *)&text : text) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

static void put_array(const recipe *r, hid_t place, const char *name, hid_t stored, hid_t native, int rows, const void *values) {
  if (is_left_out(r, name)) return;
  int rank = r->flat_tokens && !strcmp(name, "tokens") ? 2 : 1;
  hsize_t extent[2] = {(hsize_t)rows, 1}, chunk[2] = {rows > 0 ? (hsize_t)rows : 1, 1};
  hid_t space = H5Screate_simple(rank, extent, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
  if (r->how == PACKED) {
    H5Pset_chunk(list, rank, chunk);
    H5Pset_shuffle(list);
    H5Pset_deflate(list, 4);
    H5Pset_fletcher32(list);
  }
  hid_t set = H5Dcreate2(place, name, stored, space, H5P_DEFAULT, list, H5P_DEFAULT);
  assert_true(set >= 0);
  if (rows > 0) assert_true(H5Dwrite(set, native, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(set);
  H5Pclose(list);
  H5Sclose(space);
}

/* The recipe's rows are the train split's; validation and test always hold the good ones. */
static void put_split(const recipe *r, hid_t file, const char *name) {
  if (is_left_out(r, name)) return;
  recipe whole = good();
  const recipe *from = strcmp(name, "train") ? &whole : r;
  whole.how = r->how;
  for (int i = 0; !strcmp(r->objective, "regress") && i < ROWS; i++) whole.label[i] = 0.5f;
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  put_array(from, group, "tokens", from->wide_tokens ? H5T_STD_I64LE : H5T_STD_I32LE, H5T_NATIVE_INT32, from->tokens, from->token);
  put_array(from, group, "offsets", from->narrow_offsets ? H5T_STD_I32LE : H5T_STD_I64LE, H5T_NATIVE_INT64,
            from->offset_rows ? from->offset_rows : from->rows + 1, from->offset);
  put_array(from, group, "segment_start", H5T_STD_I32LE, H5T_NATIVE_INT32, from->segment_rows ? from->segment_rows : from->rows, from->segment_start);
  put_array(from, group, "target_start", H5T_STD_I32LE, H5T_NATIVE_INT32, from->rows, from->target_start);
  put_array(from, group, "label", from->wide_labels ? H5T_IEEE_F64LE : H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, from->rows, from->label);
  put_array(from, group, "example_id", H5T_STD_I64LE, H5T_NATIVE_INT64, from->rows, from->example);
  H5Gclose(group);
}

static hid_t begin(const recipe *r) {
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(file >= 0);
  put_text(r, file, "kind", r->kind);
  put_int(r, file, "schema_version", r->schema);
  put_text(r, file, "name", r->name);
  put_text(r, file, "objective", r->objective);
  put_text(r, file, "metric", r->metric);
  put_int(r, file, "class_count", r->class_count);
  put_int(r, file, "vocabulary_size", r->vocabulary);
  put_int(r, file, "first_word", r->first_word);
  put_int(r, file, "mask_token", r->mask_token);
  put_text(r, file, "tokenizer", "words");
  put_text(r, file, "tokenizer_hash", "abc");
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, 3);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  put_array(r, file, "class_names", type, type, r->name_count, "no\0yes");
  H5Tclose(type);
  return file;
}

static void write_file(const recipe *r) {
  hid_t file = begin(r);
  for (int i = 0; i < SPLIT_COUNT; i++) put_split(r, file, split_names[i]);
  H5Fclose(file);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------------------------------------- */

/* The file must be refused by a message that names it and holds `reason`. */
static void refused_file(const char *reason) {
  dataset *d = (dataset *)1;
  int code = dataset_open(path, &d);
  if (code != ERROR_INPUT) fail_msg("not refused (code %d); expected: %s", code, reason);
  assert_null(d);
  if (!strstr(error_last()->text, reason) || strncmp(error_last()->text, path, strlen(path)))
    fail_msg("refused with '%s'; expected '%s: ... %s'", error_last()->text, path, reason);
}

static void refused(const recipe *r, const char *reason) {
  write_file(r);
  refused_file(reason);
}

/* Spoils one thing of a good recipe and expects the reason. */
#define REFUSED(change, reason) \
  do {                          \
    recipe spoilt = good();     \
    spoilt.change;              \
    refused(&spoilt, reason);   \
  } while (0)

/* ---- tests ------------------------------------------------------------------------------------------------------------------------------------- */

static void read_as_written(const recipe *r) {
  dataset *d;
  write_file(r);
  if (dataset_open(path, &d)) fail_msg("%s", error_last()->text);
  assert_string_equal(d->name, "toy");
  assert_string_equal(d->path, path);
  assert_string_equal(d->objective, "classify");
  assert_string_equal(d->metric, "accuracy");
  assert_string_equal(d->tokenizer, "words");
  assert_string_equal(d->tokenizer_hash, "abc");
  assert_int_equal(d->class_count, 2);
  assert_string_equal(d->class_names[0], "no");
  assert_string_equal(d->class_names[1], "yes");
  assert_int_equal(d->vocabulary, 20);
  assert_int_equal(d->first_word, 5);
  assert_int_equal(d->mask_token, 4);
  assert_int_equal(d->longest, 4);
  for (int i = 0; i < SPLIT_COUNT; i++) {
    const split *s = &d->splits[i];
    assert_int_equal(s->count, ROWS);
    assert_memory_equal(s->offset, r->offset, (ROWS + 1) * sizeof *s->offset);
    assert_memory_equal(s->token, r->token, TOKENS * sizeof *s->token);
    assert_memory_equal(s->segment_start, r->segment_start, ROWS * sizeof *s->segment_start);
    assert_memory_equal(s->target_start, r->target_start, ROWS * sizeof *s->target_start);
    assert_memory_equal(s->label, r->label, ROWS * sizeof *s->label);
    assert_memory_equal(s->example, r->example, ROWS * sizeof *s->example);
  }
  char digest[HASH_TEXT_BYTES];
  assert_int_equal(hash_file(path, digest), ERROR_NONE);
  assert_string_equal(d->hash, digest);
  dataset_destroy(d);
}

static void good_files_are_read(void **state) {
  (void)state;
  recipe r = good();
  read_as_written(&r);
  r.how = PACKED;
  read_as_written(&r);
  r.variable_text = 1;
  read_as_written(&r);
  dataset_destroy(NULL);
}

static void scores_are_read(void **state) {
  (void)state;
  dataset *d;
  recipe r = good();
  r.objective = "regress";
  r.metric = "spearman";
  r.class_count = r.name_count = 1;
  r.mask_token = -1;
  r.label[0] = -3.25f;
  write_file(&r);
  if (dataset_open(path, &d)) fail_msg("%s", error_last()->text);
  assert_true(d->splits[SPLIT_TRAIN].label[0] == -3.25f);
  assert_int_equal(d->mask_token, -1);
  dataset_destroy(d);
  r.label[1] = NAN;
  refused(&r, "split train: row 1: the score is not finite");
  r.label[1] = INFINITY;
  refused(&r, "split train: row 1: the score is not finite");
  r.label[1] = 0;
  r.class_count = 2;
  refused(&r, "'class_count' is 2; it must be from 1 to 1");
}

static void wrong_headers_are_refused(void **state) {
  (void)state;
  REFUSED(kind = "peftscale run", "not a prepared data set but 'peftscale run'");
  REFUSED(without = "kind", "not a prepared data set");
  REFUSED(schema = 2, "schema version 2 is newer than this program's (1)");
  REFUSED(schema = 0, "'schema_version' is 0");
  REFUSED(without = "schema_version", "'schema_version' is missing");
  REFUSED(objective = "rank", "'objective' is 'rank'");
  REFUSED(metric = "bleu", "'metric' is 'bleu'");
  REFUSED(without = "name", "'name' is missing");
  REFUSED(class_count = 1, "'class_count' is 1; it must be from 2");
  REFUSED(class_count = -1, "'class_count' is -1");
  REFUSED(name_count = 1, "'class_names' has 1 rows where 2 belong");
  REFUSED(without = "class_names", "'class_names' is missing");
  REFUSED(vocabulary = 0, "'vocabulary_size' is 0");
  REFUSED(first_word = 21, "'first_word' is 21");
  REFUSED(mask_token = 20, "'mask_token' is 20");
  REFUSED(mask_token = -2, "'mask_token' is -2");
}

static void attributes_of_a_wrong_type_are_refused(void **state) {
  (void)state;
  recipe r = good();
  r.without = "name";
  hid_t file = begin(&r);
  r.without = NULL;
  put_int(&r, file, "name", 3);
  H5Fclose(file);
  refused_file("'name' is not a text");
  r.without = "mask_token";
  file = begin(&r);
  r.without = NULL;
  put_text(&r, file, "mask_token", "4");
  H5Fclose(file);
  refused_file("'mask_token' is not a whole number");
}

static void wrong_offsets_are_refused(void **state) {
  (void)state;
  REFUSED(offset[0] = 1, "split train: offsets begin at 1, not at 0");
  REFUSED(offset[0] = -1, "offsets begin at -1");
  REFUSED(offset[2] = 1, "row 1: offsets are not ascending (2, 1)");
  REFUSED(offset[1] = INT64_MIN, "row 0: offsets are not ascending");
  REFUSED(offset[1] = 10, "row 0 ends at token 10, but there are 9");
  REFUSED(offset[3] = INT64_MAX, "row 2 ends at token 9223372036854775807, but there are 9");
  REFUSED(offset[2] = 2, "row 1 has no tokens");
  REFUSED(offset[3] = 8, "offsets end at 8, but there are 9 tokens");
  REFUSED(tokens = 8, "row 2 ends at token 9, but there are 8");
  REFUSED(offset_rows = 3, "'offsets' has 3 rows where 4 belong");
}

static void wrong_rows_are_refused(void **state) {
  (void)state;
  REFUSED(token[6] = 20, "split train: row 2: token 1 is 20, outside the vocabulary of 20");
  REFUSED(token[0] = -1, "row 0: token 0 is -1, outside");
  REFUSED(segment_start[1] = 4, "row 1: segment_start 4 is outside its 3 tokens");
  REFUSED(segment_start[1] = -1, "row 1: segment_start -1");
  REFUSED(target_start[0] = 3, "row 0: target_start 3 is outside its 2 tokens");
  REFUSED(target_start[0] = -7, "row 0: target_start -7");
  REFUSED(segment_rows = 2, "'segment_start' has 2 rows where 3 belong");
  REFUSED(label[2] = 2, "row 2: the label 2 is no class number from 0 to 1");
  REFUSED(label[2] = -1, "row 2: the label -1 is no class number");
  REFUSED(label[2] = 0.5f, "row 2: the label 0.5 is no class number");
  REFUSED(label[2] = NAN, "row 2: the label");
  REFUSED(example[1] = -5, "row 1: the example id is negative");
}

static void wrong_arrays_are_refused(void **state) {
  (void)state;
  REFUSED(wide_labels = 1, "'label' is not of type float32");
  REFUSED(wide_tokens = 1, "'tokens' is not of type int32");
  REFUSED(narrow_offsets = 1, "'offsets' is not of type int64");
  REFUSED(flat_tokens = 1, "'tokens' is not one-dimensional");
  REFUSED(without = "example_id", "split train: the data set 'example_id' is missing");
  REFUSED(without = "train", "the split 'train' is missing");
  REFUSED(without = "validation", "the split 'validation' is missing");
  REFUSED(without = "test", "the split 'test' is missing");
  recipe r = good();
  r.rows = r.tokens = 0;
  refused(&r, "the data set has no training examples");
}

static void things_in_the_wrong_place_are_refused(void **state) {
  (void)state;
  recipe r = good();
  int32_t number = 1;
  hid_t file = begin(&r);
  put_split(&r, file, "train");
  put_array(&r, file, "validation", H5T_STD_I32LE, H5T_NATIVE_INT32, 1, &number);
  put_split(&r, file, "test");
  H5Fclose(file);
  refused_file("'validation' is not a group");

  r.without = "label";
  file = begin(&r);
  put_split(&r, file, "train");
  H5Gclose(H5Gcreate2(file, "train/label", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Fclose(file);
  refused_file("split train: 'label' is not a data set");

  file = begin(&r);
  assert_true(H5Lcreate_external("elsewhere.h5", "/train", file, "train", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  H5Fclose(file);
  refused_file("the split 'train' is a link to elsewhere");
}

/* A label array of `rows` that was never written, behind an otherwise good beginning. */
static void write_claim(hsize_t rows, hsize_t chunk, int is_packed, const char *outside) {
  recipe r = good();
  r.without = "label";
  hid_t file = begin(&r);
  put_split(&r, file, "train");
  hsize_t most = chunk ? H5S_UNLIMITED : rows;
  hid_t space = H5Screate_simple(1, &rows, &most), list = H5Pcreate(H5P_DATASET_CREATE);
  if (chunk) H5Pset_chunk(list, 1, &chunk);
  if (is_packed) H5Pset_deflate(list, 9);
  if (outside) H5Pset_external(list, outside, 0, rows * 4);
  hid_t set = H5Dcreate2(file, "train/label", H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
  assert_true(set >= 0);
  H5Dclose(set);
  H5Pclose(list);
  H5Sclose(space);
  H5Fclose(file);
}

static void claims_beyond_the_file_are_refused(void **state) {
  (void)state;
  write_claim((hsize_t)1 << 61, 0, 0, NULL); /* memory for this does not exist: it must not be asked for */
  refused_file("'label' claims");
  write_claim((hsize_t)1 << 40, 1 << 10, 0, NULL);
  refused_file("'label' claims 1099511627776 rows but only 0 bytes are stored");
  write_claim((hsize_t)1 << 33, 1 << 20, 1, NULL);
  refused_file("'label' claims 8589934592 rows but only 0 bytes are stored");
  write_claim(3, 1 << 28, 1, NULL); /* a chunk is unpacked whole */
  refused_file("'label' claims 3 rows but only 0 bytes are stored");
  write_claim(3, 0, 0, "/etc/hostname");
  refused_file("'label' keeps its numbers in another file");
}

static void unknown_filters_are_refused(void **state) {
  (void)state;
  recipe r = good();
  r.without = "label";
  hid_t file = begin(&r);
  put_split(&r, file, "train");
  hsize_t rows = ROWS;
  hid_t space = H5Screate_simple(1, &rows, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(list, 1, &rows);
  H5Pset_deflate(list, 1);
  H5Pset_deflate(list, 1); /* twice would multiply what a byte may stand for */
  hid_t set = H5Dcreate2(file, "train/label", H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
  assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, r.label) >= 0);
  H5Dclose(set);
  H5Pclose(list);
  H5Sclose(space);
  H5Fclose(file);
  refused_file("'label' uses HDF5 filter 1;");
}

static long file_size(void) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  fclose(file);
  return size;
}

static void files_that_are_no_data_sets_are_refused(void **state) {
  (void)state;
  unlink(path);
  refused_file("cannot open: No such file");
  FILE *file = fopen(path, "w");
  fclose(file);
  refused_file("not an HDF5 file");
  file = fopen(path, "w");
  fputs("label\ttext\n1\tnot at all\n", file);
  fclose(file);
  refused_file("not an HDF5 file");

  hid_t empty = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(empty);
  refused_file("an HDF5 file, but not a prepared data set");

  char kept[sizeof path];
  strcpy(kept, path);
  strcpy(path, directory);
  refused_file("not a file");
  strcpy(path, kept);
}

static void cut_files_are_refused(void **state) {
  (void)state;
  recipe r = good();
  r.how = PACKED;
  write_file(&r);
  long size = file_size();
  for (int part = 1; part < 40; part++) {
    write_file(&r);
    assert_int_equal(truncate(path, size * part / 40), 0);
    refused_file("");
  }
  write_file(&r);
  assert_int_equal(truncate(path, size - 1), 0);
  refused_file("the HDF5 file is damaged or cut off");
}

typedef struct place {
  haddr_t address;
  hsize_t bytes;
} place;

/* Where the numbers of one array lie in the file. */
static place find_place(const char *name) {
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
  assert_true(set >= 0);
  place found = {H5Dget_offset(set), H5Dget_storage_size(set)};
  hsize_t origin = 0;
  unsigned filters;
  if (found.address == HADDR_UNDEF) assert_true(H5Dget_chunk_info_by_coord(set, &origin, &filters, &found.address, &found.bytes) >= 0);
  H5Dclose(set);
  H5Fclose(file);
  return found;
}

static void flip_byte(haddr_t at) {
  FILE *file = fopen(path, "r+b");
  assert_non_null(file);
  fseek(file, (long)at, SEEK_SET);
  int byte = fgetc(file);
  fseek(file, (long)at, SEEK_SET);
  fputc(byte ^ 0xff, file);
  fclose(file);
}

/* Each byte of each array in turn. (HDF5's own structures are left whole: version 1.10 of the library can crash on them before it returns to us.) As
 * prepare writes it, a spoilt byte never goes unnoticed, for it carries checksums; without them, what is read must still keep the header's promises. */
static void spoilt_bytes_do_no_harm(void **state) {
  (void)state;
  static const char *const names[] = {"/train/tokens", "/train/offsets", "/train/segment_start", "/train/target_start", "/train/label", "/train/example_id"};
  for (storage how = PLAIN; how <= PACKED; how++) {
    recipe r = good();
    r.how = how;
    write_file(&r);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
      place where = find_place(names[n]);
      assert_true(where.bytes > 0);
      for (hsize_t i = 0; i < where.bytes; i++) {
        flip_byte(where.address + i);
        if (how == PACKED) {
          refused_file("cannot be read: the file is damaged");
        } else {
          dataset *d;
          if (!dataset_open(path, &d)) {
            const split *s = &d->splits[SPLIT_TRAIN];
            assert_memory_equal(s->offset, r.offset, (ROWS + 1) * sizeof *s->offset);
            for (int t = 0; t < TOKENS; t++) assert_in_range(s->token[t], 0, d->vocabulary - 1);
            dataset_destroy(d);
          }
        }
        flip_byte(where.address + i);
      }
    }
    dataset *d;
    assert_int_equal(dataset_open(path, &d), ERROR_NONE); /* whole again: the refusals above came from the bytes */
    dataset_destroy(d);
  }
}

static void opening_leaves_no_handle_and_no_setting(void **state) {
  (void)state;
  recipe r = good();
  H5E_auto2_t after;
  void *data;
  H5Eset_auto2(H5E_DEFAULT, (H5E_auto2_t)H5Eprint2, stderr);
  write_file(&r);
  ssize_t handles = H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
  dataset *d;
  assert_int_equal(dataset_open(path, &d), ERROR_NONE);
  dataset_destroy(d);
  REFUSED(token[6] = 20, "outside the vocabulary");
  REFUSED(wide_labels = 1, "not of type");
  assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), handles);
  H5Eget_auto2(H5E_DEFAULT, &after, &data);
  assert_true(after == (H5E_auto2_t)H5Eprint2 && data == stderr);
}

static int make_directory(void **state) {
  (void)state;
  if (!mkdtemp(directory)) return -1;
  snprintf(path, sizeof path, "%s/set.h5", directory);
  return 0;
}

static int remove_directory(void **state) {
  (void)state;
  unlink(path);
  return rmdir(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_files_are_read),
      cmocka_unit_test(scores_are_read),
      cmocka_unit_test(wrong_headers_are_refused),
      cmocka_unit_test(attributes_of_a_wrong_type_are_refused),
      cmocka_unit_test(wrong_offsets_are_refused),
      cmocka_unit_test(wrong_rows_are_refused),
      cmocka_unit_test(wrong_arrays_are_refused),
      cmocka_unit_test(things_in_the_wrong_place_are_refused),
      cmocka_unit_test(claims_beyond_the_file_are_refused),
      cmocka_unit_test(unknown_filters_are_refused),
      cmocka_unit_test(files_that_are_no_data_sets_are_refused),
      cmocka_unit_test(cut_files_are_refused),
      cmocka_unit_test(spoilt_bytes_do_no_harm),
      cmocka_unit_test(opening_leaves_no_handle_and_no_setting),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
