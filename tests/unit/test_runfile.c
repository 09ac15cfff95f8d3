/* store/runfile: what was acknowledged is readable, whatever happens to the writer; only its own files are accepted. */
#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/file.h"
#include "store/runfile.h"
#include "support/folder.h"

typedef struct row {
  int32_t attempt;
  int64_t step;
  char split[12];
  double loss;
  float score[3];
} row;

static const field fields[] = {{"attempt", "", FIELD_INT32, 1, offsetof(row, attempt)},
                               {"step", "1", FIELD_INT64, 1, offsetof(row, step)},
                               {"split", NULL, FIELD_TEXT, 12, offsetof(row, split)},
                               {"loss", "nat", FIELD_DOUBLE, 1, offsetof(row, loss)},
                               {"score", "1", FIELD_FLOAT, 3, offsetof(row, score)}};
static const table steps = {"series/steps", "one row per step", sizeof(row), fields, 5};
static const table other = {"evaluation", NULL, sizeof(row), fields, 5};

static int exists(const char *name) { return access(in_folder(name), F_OK) == 0; }

static row make_row(int64_t step) {
  row r;
  memset(&r, 0x55, sizeof r); /* padding must not matter */
  r.attempt = 1;
  r.step = step;
  memset(r.split, 0, sizeof r.split);
  snprintf(r.split, sizeof r.split, "v%lld", (long long)(step % 1000));
  r.loss = 1.0 / (double)(step + 1);
  for (int i = 0; i < 3; i++) r.score[i] = (float)(step * 3 + i);
  return r;
}

/* Reads a table with HDF5 itself, by the names of its columns; returns the number of rows, each checked against make_row. -1: cannot be opened. */
static int64_t check_rows(const char *path, const char *where) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, 0, 1); /* as the writer's, where both are in this process: HDF5 compares them */
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
  if (file < 0) file = H5Fopen(path, H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, access);
  H5Pclose(access);
  if (file < 0) return -1;
  hid_t data = H5Dopen2(file, where, H5P_DEFAULT);
  assert_true(data >= 0);
  hid_t space = H5Dget_space(data), type = H5Tcreate(H5T_COMPOUND, sizeof(row)), text = H5Tcopy(H5T_C_S1);
  hsize_t three = 3;
  hid_t scores = H5Tarray_create2(H5T_NATIVE_FLOAT, 1, &three);
  H5Tset_size(text, 12);
  H5Tset_strpad(text, H5T_STR_NULLPAD);
  H5Tset_cset(text, H5T_CSET_UTF8);
  H5Tinsert(type, "score", offsetof(row, score), scores);
  H5Tinsert(type, "loss", offsetof(row, loss), H5T_NATIVE_DOUBLE);
  H5Tinsert(type, "step", offsetof(row, step), H5T_NATIVE_INT64);
  H5Tinsert(type, "attempt", offsetof(row, attempt), H5T_NATIVE_INT32);
  H5Tinsert(type, "split", offsetof(row, split), text);
  int64_t count = H5Sget_simple_extent_npoints(space);
  row *rows = calloc((size_t)count + 1, sizeof *rows);
  assert_non_null(rows);
  assert_true(H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
  for (int64_t i = 0; i < count; i++) {
    row wanted = make_row(i);
    if (rows[i].attempt != wanted.attempt || rows[i].step != wanted.step || memcmp(rows[i].split, wanted.split, 12) || rows[i].loss != wanted.loss ||
        memcmp(rows[i].score, wanted.score, sizeof wanted.score)) {
      /* A row that was under way at the kill may be there without its values; it was not acknowledged. */
      count = i;
    }
  }
  free(rows);
  H5Tclose(scores);
  H5Tclose(text);
  H5Tclose(type);
  H5Sclose(space);
  H5Dclose(data);
  H5Fclose(file);
  return count;
}

static double read_double(const char *path, const char *where, const char *name) {
  double value = NAN;
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), handle = H5Aopen_by_name(file, where, name, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(handle >= 0 && H5Aread(handle, H5T_NATIVE_DOUBLE, &value) >= 0);
  H5Aclose(handle);
  H5Fclose(file);
  return value;
}

static void expect_attribute(const char *path, const char *where, const char *name, const char *wanted) {
  char *text;
  if (runfile_read_attribute_text(path, where, name, &text)) fail_msg("%s", error_last()->text);
  assert_string_equal(text, wanted);
  free(text);
}

static void test_whole_life(void **state) {
  (void)state;
  const char *path = in_folder("deep/er/run.h5");
  char partial[1100];
  snprintf(partial, sizeof partial, "%s.partial", path);
  runfile *r;
  int a, b, theta, nothing;
  must(runfile_create(path, &r));
  must(runfile_put_text(r, "config", "train:\n  lr: 0.001 # \xc3\xa4\n"));
  must(runfile_put_text(r, "empty", ""));
  must(runfile_put_attribute_text(r, "", "run_id", "abc"));
  must(runfile_put_attribute_text(r, "", "run_id", "abcdef")); /* the last one counts */
  must(runfile_put_attribute_text(r, "provenance/deep", "version", "1.0"));
  must(runfile_put_attribute_int(r, "accounting", "trainable", (int64_t)1 << 40));
  must(runfile_put_attribute_double(r, "accounting", "share", 0.25));
  for (int i = 0; i < 40; i++) {
    char name[20];
    snprintf(name, sizeof name, "many%d", i);
    must(runfile_put_attribute_int(r, "provenance", name, i));
  }
  must(runfile_add_table(r, &steps, &a));
  must(runfile_add_table(r, &other, &b));
  must(runfile_add_floats(r, "theta", 1000, &theta));
  must(runfile_add_floats(r, "nothing", 0, &nothing));
  assert_int_equal(runfile_add_table(r, &steps, &b), ERROR_SYSTEM);
  expect_text("series/steps");
  expect_text("exists");
  assert_int_equal(runfile_append(r, a, &(row){0}, -1), ERROR_INTERNAL);
  must(runfile_start(r));
  assert_int_equal(runfile_put_text(r, "late", "x"), ERROR_INTERNAL);
  assert_int_equal(runfile_put_attribute_int(r, "", "late", 1), ERROR_INTERNAL);
  assert_int_equal(runfile_add_table(r, &other, &b), ERROR_INTERNAL);
  assert_int_equal(runfile_append(r, theta, &(row){0}, 1), ERROR_INTERNAL);
  assert_int_equal(runfile_append(r, 99, &(row){0}, 1), ERROR_INTERNAL);
  assert_int_equal(runfile_write_floats(r, a, NULL), ERROR_INTERNAL);

  enum { ROWS = 2000 };
  static row rows[ROWS];
  for (int i = 0; i < ROWS; i++) rows[i] = make_row(i);
  for (int i = 0; i < 500; i++) must(runfile_append(r, a, &rows[i], 1));
  must(runfile_flush(r, a));
  expect_attribute(partial, "", "status", "running"); /* a live file, read by the same program */
  assert_int_equal(check_rows(partial, "series/steps"), 500);
  float *values;
  int64_t count;
  must(runfile_read_floats(partial, "theta", &values, &count));
  assert_int_equal(count, 1000);
  for (int i = 0; i < 1000; i++) assert_true(isnan(values[i]));
  free(values);
  must(runfile_append(r, a, rows + 500, ROWS - 500));
  must(runfile_append(r, a, rows, 0));
  must(runfile_append(r, b, rows, 3));
  float weights[1000];
  for (int i = 0; i < 1000; i++) weights[i] = (float)i / 7;
  must(runfile_write_floats(r, theta, weights));
  must(runfile_write_floats(r, nothing, weights));
  must(runfile_flush(r, theta));
  must(runfile_note_text(r, "result", "metric", "accuracy"));
  must(runfile_note_double(r, "result", "test_metric", 0.875));
  must(runfile_note_int(r, "series/steps", "last", ROWS));
  assert_int_equal(access(path, F_OK), -1);
  must(runfile_finish(r));
  assert_int_equal(access(partial, F_OK), -1);
  assert_int_equal(access(path, F_OK), 0);

  assert_int_equal(check_rows(path, "series/steps"), ROWS);
  assert_int_equal(check_rows(path, "evaluation"), 3);
  expect_attribute(path, "", "status", "complete");
  expect_attribute(path, "", "kind", "peftscale run");
  expect_attribute(path, "", "run_id", "abcdef");
  expect_attribute(path, "/provenance/deep", "version", "1.0");
  expect_attribute(path, "result", "metric", "accuracy");
  expect_attribute(path, "series/steps", "help", "one row per step");
  expect_attribute(path, "series/steps", "unit_loss", "nat");
  assert_true(read_double(path, "result", "test_metric") == 0.875);
  assert_true(read_double(path, "accounting", "share") == 0.25);
  int64_t whole;
  must(runfile_read_attribute_int(path, "", "schema_version", &whole));
  assert_int_equal(whole, RUNFILE_SCHEMA_VERSION);
  must(runfile_read_attribute_int(path, "accounting", "trainable", &whole));
  assert_true(whole == (int64_t)1 << 40);
  must(runfile_read_attribute_int(path, "provenance", "many39", &whole));
  assert_int_equal(whole, 39);
  must(runfile_read_attribute_int(path, "series/steps", "last", &whole));
  assert_int_equal(whole, ROWS);
  char *text;
  must(runfile_read_text(path, "config", &text));
  assert_string_equal(text, "train:\n  lr: 0.001 # \xc3\xa4\n");
  free(text);
  must(runfile_read_text(path, "empty", &text));
  assert_string_equal(text, "");
  free(text);
  must(runfile_read_floats(path, "theta", &values, &count));
  assert_memory_equal(values, weights, sizeof weights);
  free(values);
  must(runfile_read_floats(path, "nothing", &values, &count));
  assert_int_equal(count, 0);
  free(values);
  assert_true(runfile_has(path, "series/steps") && runfile_has(path, "/series") && runfile_has(path, ""));
  assert_false(runfile_has(path, "series/none") || runfile_has(path, "none/steps") || runfile_has(partial, "series"));

  assert_int_equal(runfile_read_text(path, "theta", &text), ERROR_INPUT);
  expect_text("/theta is not a text");
  assert_int_equal(runfile_read_text(path, "result", &text), ERROR_INPUT);
  assert_int_equal(runfile_read_text(path, "no/such", &text), ERROR_INPUT);
  expect_text("/no/such is not there");
  assert_int_equal(runfile_read_floats(path, "series/steps", &values, &count), ERROR_INPUT);
  assert_int_equal(runfile_read_attribute_int(path, "", "kind", &whole), ERROR_INPUT);
  expect_text("'kind' is not a whole number");
  assert_int_equal(runfile_read_attribute_text(path, "", "none", &text), ERROR_INPUT);
  expect_text(path);
  expect_text("'none' is not there");
}

static void test_abandon(void **state) {
  (void)state;
  runfile *r;
  int id;
  int64_t rows;
  row one = make_row(0);
  runfile_abandon(NULL, "nothing");
  must(runfile_create(in_folder("a.h5"), &r));
  runfile_abandon(r, "failed: before the start");
  expect_attribute(in_folder("a.h5.partial"), "", "status", "failed: before the start");
  must(runfile_create(in_folder("a.h5"), &r));
  must(runfile_add_table(r, &steps, &id));
  must(runfile_start(r));
  must(runfile_append(r, id, &one, 1));
  must(runfile_note_int(r, "result", "steps", 1));
  FAIL(ERROR_DIVERGED, NULL, "the loss is not a number");
  runfile_abandon(r, "failed: the loss is not a number");
  assert_int_equal(error_last()->code, ERROR_DIVERGED); /* still the reason why */
  expect_attribute(in_folder("a.h5.partial"), "", "status", "failed: the loss is not a number");
  assert_int_equal(check_rows(in_folder("a.h5.partial"), "series/steps"), 1);
  must(runfile_read_attribute_int(in_folder("a.h5.partial"), "result", "steps", &rows));

  must(runfile_create(in_folder("a.h5"), &r)); /* one that never starts does not replace the rows */
  runfile_abandon(r, "failed: too early");
  assert_int_equal(check_rows(in_folder("a.h5.partial"), "series/steps"), 1);

  must(runfile_create(in_folder("a.h5"), &r)); /* one that starts does, with the old rows if it wants them */
  must(runfile_add_table(r, &steps, &id));
  must(runfile_carry_over(r, id, (runfile_choice){NULL, 0, 0}, &rows));
  assert_int_equal(rows, 1);
  must(runfile_start(r));
  one = make_row(1);
  must(runfile_append(r, id, &one, 1));
  must(runfile_finish(r));
  assert_int_equal(check_rows(in_folder("a.h5"), "series/steps"), 2);
  assert_false(exists("a.h5.partial") || exists("a.h5.partial.new") || exists("a.h5.partial.lock") || exists("a.h5.partial.closing"));
}

typedef struct grown_row {
  int64_t step, extra;
} grown_row;

static void test_carry_over_other_columns(void **state) {
  (void)state;
  static const field columns[] = {{"step", "1", FIELD_INT64, 1, offsetof(grown_row, step)}, {"extra", "1", FIELD_INT64, 1, offsetof(grown_row, extra)}};
  static const table grown = {"series/steps", NULL, sizeof(grown_row), columns, 2}, none = {"absent", NULL, sizeof(grown_row), columns, 2};
  runfile *r;
  int id, absent;
  int64_t rows = -1;
  must(runfile_create(in_folder("c.h5"), &r));
  must(runfile_add_table(r, &steps, &id));
  must(runfile_carry_over(r, id, (runfile_choice){NULL, 0, 0}, &rows));
  assert_int_equal(rows, 0); /* nothing there yet */
  must(runfile_start(r));
  for (int i = 0; i < 20000; i++) {
    row one = make_row(i);
    must(runfile_append(r, id, &one, 1));
  }
  runfile_abandon(r, "stopped");
  must(runfile_create(in_folder("c.h5"), &r));
  must(runfile_add_table(r, &grown, &id));
  must(runfile_add_table(r, &none, &absent));
  must(runfile_carry_over(r, id, (runfile_choice){NULL, 0, 0}, &rows));
  assert_int_equal(rows, 20000);
  must(runfile_carry_over(r, absent, (runfile_choice){NULL, 0, 0}, &rows));
  assert_int_equal(rows, 0);
  must(runfile_start(r));
  assert_int_equal(runfile_carry_over(r, id, (runfile_choice){NULL, 0, 0}, &rows), ERROR_INTERNAL);
  must(runfile_finish(r));
  hid_t file = H5Fopen(in_folder("c.h5"), H5F_ACC_RDONLY, H5P_DEFAULT), data = H5Dopen2(file, "series/steps", H5P_DEFAULT);
  static grown_row values[20000];
  hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(grown_row));
  H5Tinsert(type, "step", 0, H5T_NATIVE_INT64);
  H5Tinsert(type, "extra", 8, H5T_NATIVE_INT64);
  assert_true(H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  for (int i = 0; i < 20000; i++) assert_true(values[i].step == i && values[i].extra == 0);
  H5Tclose(type);
  H5Dclose(data);
  H5Fclose(file);
}

static void test_carry_over_chosen_rows(void **state) {
  (void)state;
  static const field columns[] = {{"step", "1", FIELD_INT64, 1, offsetof(grown_row, step)}, {"extra", "1", FIELD_INT64, 1, offsetof(grown_row, extra)}};
  static const table t = {"series/steps", NULL, sizeof(grown_row), columns, 2};
  enum { ROWS = 90000 }; /* more than are copied at once */
  static grown_row values[ROWS];
  grown_row *back;
  runfile *r;
  int id;
  int64_t rows = -1;
  uint8_t present[2];
  for (int i = 0; i < ROWS; i++) values[i] = (grown_row){i % 3 ? i : 0, 7 * i};
  must(runfile_create(in_folder("chosen.h5"), &r));
  must(runfile_add_table(r, &t, &id));
  must(runfile_append(r, id, values, ROWS)); /* before the start */
  must(runfile_start(r));
  must(runfile_sync(r));
  runfile_abandon(r, "stopped");
  must(runfile_create(in_folder("chosen.h5"), &r));
  must(runfile_add_table(r, &t, &id));
  assert_int_equal(runfile_carry_over(r, id, (runfile_choice){"absent", 0, 1}, NULL), ERROR_INTERNAL);
  must(runfile_carry_over(r, id, (runfile_choice){"step", 1, 80000}, &rows));
  must(runfile_start(r));
  must(runfile_finish(r));
  must(runfile_read_table(in_folder("chosen.h5"), &t, (void **)&back, &rows, present));
  assert_int_equal(rows, 80000 - 80000 / 3);
  for (int64_t i = 0, wanted = 1; i < rows; i++, wanted += wanted % 3 == 2 ? 2 : 1) assert_true(back[i].step == wanted && back[i].extra == 7 * wanted);
  free(back);
}

/* In the child: rows until killed, each reported when it is flushed. `last` >= 0: that many, then finish. */
/* Rows as another reader wants them: other types, other order, a column that the file lacks, one of the file's that nobody asks for. */
typedef struct view {
  double step;
  float loss;
  int64_t attempt, absent;
  char split[5];
  double score[3];
} view;

static const field view_fields[] = {{"step", NULL, FIELD_DOUBLE, 1, offsetof(view, step)},      {"loss", NULL, FIELD_FLOAT, 1, offsetof(view, loss)},
                                    {"attempt", NULL, FIELD_INT64, 1, offsetof(view, attempt)}, {"absent", NULL, FIELD_INT64, 1, offsetof(view, absent)},
                                    {"split", NULL, FIELD_TEXT, 4, offsetof(view, split)},      {"score", NULL, FIELD_DOUBLE, 3, offsetof(view, score)}};

static void check_views(const char *path, int64_t wanted) {
  const table t = {"series/steps", NULL, sizeof(view), view_fields, 6};
  view *views;
  int64_t count;
  uint8_t present[6];
  must(runfile_read_table(path, &t, (void **)&views, &count, present));
  assert_int_equal(count, wanted);
  assert_memory_equal(present, ((uint8_t[]){1, 1, 1, 0, 1, 1}), 6);
  for (int64_t i = 0; i < count; i++) {
    row r = make_row((int)i);
    assert_true(views[i].step == (double)r.step && views[i].loss == (float)r.loss && views[i].attempt == r.attempt && views[i].absent == 0);
    assert_int_equal(strncmp(views[i].split, r.split, 4), 0);
    assert_int_equal(views[i].split[4], 0);
    for (int j = 0; j < 3; j++) assert_true(views[i].score[j] == (double)r.score[j]);
  }
  free(views);
}

static void refused_table(const char *path, const char *where, const field *columns, int column_count, const char *reason) {
  const table t = {where, NULL, sizeof(view), columns, column_count};
  void *rows = (void *)1;
  int64_t count = 1;
  uint8_t present[6];
  assert_int_equal(runfile_read_table(path, &t, &rows, &count, present), ERROR_INPUT);
  assert_null(rows);
  assert_int_equal(count, 0);
  expect_text(path);
  expect_text(reason);
}

static void test_reading_tables(void **state) {
  (void)state;
  const char *path = in_folder("view.h5");
  char partial[1100];
  snprintf(partial, sizeof partial, "%s.partial", path);
  runfile *r;
  int a, b, theta, width;
  double value;
  must(runfile_create(path, &r));
  must(runfile_put_attribute_int(r, "accounting", "shards", 8));
  must(runfile_put_attribute_double(r, "accounting", "share", 0.25));
  must(runfile_put_attribute_text(r, "accounting", "word", "x"));
  must(runfile_add_table(r, &steps, &a));
  must(runfile_add_table(r, &other, &b));
  must(runfile_add_floats(r, "theta", 4, &theta));
  must(runfile_start(r));
  for (int i = 0; i < 100; i++) {
    row one = make_row(i);
    must(runfile_append(r, a, &one, 1));
  }
  must(runfile_flush(r, a));
  check_views(partial, 100); /* while it is written */
  must(runfile_finish(r));
  check_views(path, 100);
  const field none[] = {{"absent", NULL, FIELD_INT64, 1, 0}}, text[] = {{"loss", NULL, FIELD_TEXT, 4, 0}}, number[] = {{"split", NULL, FIELD_INT64, 1, 0}},
              whole[] = {{"loss", NULL, FIELD_INT64, 1, 0}}, longer[] = {{"score", NULL, FIELD_FLOAT, 4, 0}};
  const table nothing = {"series/steps", NULL, sizeof(view), none, 1}, empty = {"evaluation", NULL, sizeof(view), view_fields, 6};
  void *rows;
  int64_t count;
  uint8_t present[6];
  must(runfile_read_table(path, &nothing, &rows, &count, present));
  assert_true(count == 100 && !present[0] && ((view *)rows)[99].step == 0);
  free(rows);
  must(runfile_read_table(path, &empty, &rows, &count, present));
  assert_true(count == 0 && present[0] && !present[3]);
  free(rows);
  refused_table(path, "series/steps", text, 1, "column 'loss' has another type");
  refused_table(path, "series/steps", number, 1, "column 'split' has another type");
  refused_table(path, "series/steps", whole, 1, "column 'loss' has another type");
  refused_table(path, "series/steps", longer, 1, "column 'score' has another type");
  refused_table(path, "theta", none, 1, "/theta is not a table");
  refused_table(path, "series", none, 1, "/series is not a table");
  refused_table(path, "series/none", none, 1, "/series/none is not there");
  must(runfile_read_width(path, "series/steps", "score", &width));
  assert_int_equal(width, 3);
  must(runfile_read_width(path, "series/steps", "loss", &width));
  assert_int_equal(width, 1);
  must(runfile_read_width(path, "series/steps", "split", &width));
  assert_int_equal(width, 0);
  must(runfile_read_width(path, "series/steps", "absent", &width));
  assert_int_equal(width, 0);
  assert_int_equal(runfile_read_width(path, "series/none", "loss", &width), ERROR_INPUT);
  must(runfile_read_attribute_double(path, "accounting", "share", &value));
  assert_true(value == 0.25);
  must(runfile_read_attribute_double(path, "accounting", "shards", &value));
  assert_true(value == 8);
  assert_int_equal(runfile_read_attribute_double(path, "accounting", "word", &value), ERROR_INPUT);
  expect_text("'word' is not a number");
  must(runfile_probe(path));
  assert_int_equal(runfile_probe(in_folder("absent.h5")), ERROR_INPUT);
}

static void add_huge(hid_t file, const char *name, hid_t type, int packed) {
  hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space, data;
  hsize_t extent = (hsize_t)1 << 40, chunk = 64, unlimited = H5S_UNLIMITED;
  space = H5Screate_simple(1, &extent, &unlimited);
  assert_true(H5Pset_chunk(creation, 1, &chunk) >= 0);
  if (packed) assert_true(H5Pset_deflate(creation, 1) >= 0);
  data = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  assert_true(data >= 0);
  H5Dclose(data);
  H5Sclose(space);
  H5Pclose(creation);
}

/* A length that was damaged, or set by hand, is no reason to take all memory. */
static void test_lengths_that_cannot_be(void **state) {
  (void)state;
  const char *path = in_folder("huge.h5");
  runfile *r;
  int a;
  float *values;
  int64_t count;
  must(runfile_create(path, &r));
  must(runfile_add_table(r, &steps, &a));
  must(runfile_start(r));
  must(runfile_finish(r));
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), data = H5Dopen2(file, "series/steps", H5P_DEFAULT), type = H5Dget_type(data);
  add_huge(file, "huge", type, 0);
  add_huge(file, "packed", type, 1);
  add_huge(file, "numbers", H5T_NATIVE_FLOAT, 0);
  add_huge(file, "packed_numbers", H5T_NATIVE_FLOAT, 1);
  H5Dclose(data);
  H5Tclose(type);
  H5Fclose(file);
  refused_table(path, "huge", view_fields, 1, "more than the file can hold");
  refused_table(path, "packed", view_fields, 1, "more than the file can hold");
  assert_int_equal(runfile_read_floats(path, "numbers", &values, &count), ERROR_INPUT);
  expect_text("/numbers claims 1099511627776 numbers, more than the file can hold");
  assert_int_equal(runfile_read_floats(path, "packed_numbers", &values, &count), ERROR_INPUT);
}

static void write_until_killed(const char *path, int report, int64_t last) {
  runfile *r;
  int a, b, theta;
  float values[5000] = {0};
  if (runfile_create(path, &r) || runfile_add_table(r, &other, &b) || runfile_add_table(r, &steps, &a) || runfile_add_floats(r, "theta", 5000, &theta) ||
      runfile_start(r))
    _exit(2);
  for (int64_t i = 0; last < 0 || i < last; i++) {
    row one = make_row(i);
    if (runfile_append(r, b, &one, 1) || runfile_append(r, a, &one, 1)) _exit(3);
    if (i % 50 == 0 && runfile_write_floats(r, theta, values)) _exit(3);
    if (runfile_flush(r, b) || runfile_flush(r, a)) _exit(3);
    if (write(report, &i, sizeof i) != sizeof i) _exit(4);
  }
  if (runfile_note_int(r, "result", "steps", last) || runfile_finish(r)) _exit(5);
  _exit(0);
}

/* Kills the child `delay_us` after its first report (or after row `from`); returns the number of rows it had acknowledged. */
static int64_t run_and_kill(const char *path, int64_t last, int64_t from, useconds_t delay_us) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    write_until_killed(path, ends[1], last);
  }
  close(ends[1]);
  int64_t acknowledged = 0, number;
  while (acknowledged < from && read(ends[0], &number, sizeof number) == sizeof number) acknowledged = number + 1;
  usleep(delay_us);
  kill(child, SIGKILL);
  while (read(ends[0], &number, sizeof number) == sizeof number) acknowledged = number + 1;
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status)) fail_msg("the writer failed with %d", WEXITSTATUS(status));
  return acknowledged;
}

static void test_killed_while_writing(void **state) {
  (void)state;
  uint32_t random = 1;
  int64_t total = 0;
  for (int i = 0; i < 25; i++) {
    random = random * 1664525u + 1013904223u;
    int64_t acknowledged = run_and_kill(in_folder("k.h5"), -1, 1, (random >> 8) % 40000);
    assert_true(acknowledged >= 1);
    total += acknowledged;
    int64_t found = check_rows(in_folder("k.h5.partial"), "series/steps"), also = check_rows(in_folder("k.h5.partial"), "evaluation");
    if (found < acknowledged || also < acknowledged)
      fail_msg("kill %d: %lld rows acknowledged, %lld and %lld readable", i, (long long)acknowledged, (long long)found, (long long)also);
    expect_attribute(in_folder("k.h5.partial"), "", "status", "running");
    assert_false(exists("k.h5"));
  }
  assert_true(total > 100);
  runfile *r; /* and its rows can go on in a new file */
  int id;
  int64_t rows, before = check_rows(in_folder("k.h5.partial"), "series/steps");
  must(runfile_create(in_folder("k.h5"), &r));
  must(runfile_add_table(r, &steps, &id));
  must(runfile_carry_over(r, id, (runfile_choice){NULL, 0, 0}, &rows));
  assert_true(rows >= before);
  must(runfile_start(r));
  must(runfile_finish(r));
  assert_int_equal(check_rows(in_folder("k.h5"), "series/steps"), before);
}

static void test_killed_while_finishing(void **state) {
  (void)state;
  int whole = 0, partial = 0;
  for (int i = 0; i < 40; i++) {
    unlink(in_folder("f.h5"));
    unlink(in_folder("f.h5.partial"));
    assert_int_equal(run_and_kill(in_folder("f.h5"), 60, 60, (useconds_t)(i * 150)), 60);
    if (exists("f.h5")) {
      expect_attribute(in_folder("f.h5"), "", "status", "complete");
      assert_int_equal(check_rows(in_folder("f.h5"), "series/steps"), 60);
      whole++;
    } else {
      assert_int_equal(check_rows(in_folder("f.h5.partial"), "series/steps"), 60);
      partial++;
    }
  }
  assert_true(whole + partial == 40);
  assert_true(partial > 0);
}

/* A reader that holds the file open (as h5py does while a run is watched) must not keep the writer from finishing. */
static void test_finish_under_a_reader(void **state) {
  (void)state;
  runfile *r;
  int id;
  row one = make_row(0);
  must(runfile_create(in_folder("w.h5"), &r));
  must(runfile_add_table(r, &steps, &id));
  must(runfile_start(r));
  must(runfile_append(r, id, &one, 1));
  must(runfile_flush(r, id));
  int ready[2], done[2];
  char c = 0;
  assert_int_equal(pipe(ready) | pipe(done), 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    const char tell[] = {(char)('A' + ready[1]), 0}, hear[] = {(char)('A' + done[0]), 0};
    execl("/proc/self/exe", "test_runfile", "--follow", in_folder("w.h5.partial"), tell, hear, NULL);
    _exit(9);
  }
  close(ready[1]);
  assert_int_equal(read(ready[0], &c, 1), 1);
  one = make_row(1);
  must(runfile_append(r, id, &one, 1));
  must(runfile_flush(r, id));
  must(runfile_finish(r));
  assert_int_equal(write(done[1], "x", 1), 1);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_int_equal(check_rows(in_folder("w.h5"), "series/steps"), 2);
  close(ready[0]);
  close(done[0]);
  close(done[1]);
}

static int follow(const char *path, int ready, int done) {
  char c;
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, H5P_DEFAULT);
  hid_t data = file < 0 ? file : H5Dopen2(file, "series/steps", H5P_DEFAULT);
  if (data < 0 || write(ready, "x", 1) != 1 || read(done, &c, 1) != 1) return 1;
  if (H5Drefresh(data) < 0) return 2;
  hid_t space = H5Dget_space(data);
  return H5Sget_simple_extent_npoints(space) == 2 ? 0 : 3;
}

static void test_second_writer(void **state) {
  (void)state;
  runfile *r, *second;
  must(runfile_create(in_folder("two.h5"), &r));
  for (int started = 0; started < 2; started++) {
    if (started) must(runfile_start(r));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
      int code = runfile_create(in_folder("two.h5"), &second);
      _exit(code == ERROR_INPUT && !second && strstr(error_last()->text, "two.h5.partial: is being written by process") && *error_last()->hint ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(runfile_create(in_folder("two.h5"), &second), ERROR_INPUT); /* also within one process */
  }
  must(runfile_finish(r));
  assert_true(exists("two.h5"));
  must(runfile_create(in_folder("two.h5"), &r)); /* free again */
  runfile_abandon(r, "stopped");
}

/* Writes an HDF5 file with the given kind (NULL: none) and version. */
static const char *make_foreign(const char *kind, int version) {
  const char *path = in_folder("foreign.h5");
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
  if (kind) {
    H5Tset_size(type, strlen(kind) + 1);
    hid_t a = H5Acreate2(file, "kind", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, type, kind);
    H5Aclose(a);
    a = H5Acreate2(file, "schema_version", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_INT, &version);
    H5Aclose(a);
  }
  H5Tclose(type);
  H5Sclose(space);
  H5Fclose(file);
  return path;
}

static void refused(const char *path, const char *reason) {
  char *text = (char *)1;
  assert_int_equal(runfile_read_attribute_text(path, "", "status", &text), ERROR_INPUT);
  assert_null(text);
  expect_text(path);
  expect_text(reason);
  assert_false(runfile_has(path, ""));
}

static void test_files_that_are_refused(void **state) {
  (void)state;
  refused(in_folder("absent.h5"), "No such file");
  refused(folder, "cannot read");
  must(file_write_atomic(in_folder("text.h5"), "this is no HDF5 file", 20));
  refused(in_folder("text.h5"), "not an HDF5 file");
  must(file_write_atomic(in_folder("text.h5"), "", 0));
  refused(in_folder("text.h5"), "not an HDF5 file");
  refused(make_foreign(NULL, 0), "not a run file");
  refused(make_foreign("something else", 1), "not a run file");
  refused(make_foreign("peftscale run", 0), "not a run file");
  refused(make_foreign("peftscale run", 7), "schema version 7; this program reads versions up to 1");
  int64_t version;
  must(runfile_read_attribute_int(make_foreign("peftscale run", 1), "", "schema_version", &version));

  runfile *r;
  must(runfile_create(in_folder("t.h5"), &r));
  must(runfile_put_text(r, "config", "a: 1"));
  must(runfile_start(r));
  must(runfile_finish(r));
  char *bytes;
  size_t count;
  must(file_read(in_folder("t.h5"), 1 << 20, &bytes, &count));
  for (size_t part = 8; part < count; part += 37) {
    must(file_write_atomic(in_folder("cut.h5"), bytes, part));
    refused(in_folder("cut.h5"), "truncated");
  }
  free(bytes);
}

static void test_places_that_are_refused(void **state) {
  (void)state;
  runfile *r;
  must(file_write_atomic(in_folder("plain"), "x", 1));
  assert_int_equal(runfile_create(in_folder("plain/x.h5"), &r), ERROR_SYSTEM);
  assert_null(r);
  expect_text("plain");
  expect_text("no directory");
  assert_int_equal(runfile_create("/proc/x.h5", &r), ERROR_SYSTEM);
  expect_text("/proc/x.h5");
  assert_true(*error_last()->hint);
  must(file_make_directory(in_folder("taken.h5.partial.new")));
  assert_int_equal(runfile_create(in_folder("taken.h5"), &r), ERROR_SYSTEM);
  expect_text("taken.h5");
  assert_false(exists("taken.h5.partial.lock"));
}

/* The disk of one file is full: stands before the C library's function that HDF5 writes with. */
static ino_t full_file;
static off_t full_bytes;

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t place) {
  struct stat status;
  if (full_file && fstat(descriptor, &status) == 0 && status.st_ino == full_file && place + (off_t)count > full_bytes) {
    errno = ENOSPC;
    return -1;
  }
  return syscall(SYS_pwrite64, descriptor, bytes, count, place);
}

/* An error, no crash, no hang, also not at the program's end, and the flushed rows stay readable. way 0: noticed at a row, then abandon; 1: only by finish. */
static void full_disk(int way) {
  const char *path = in_folder("full.h5");
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    alarm(60);
    runfile *r;
    int id, code = 0;
    struct stat status;
    if (runfile_create(path, &r) || runfile_add_table(r, &steps, &id) || runfile_start(r) || stat(in_folder("full.h5.partial"), &status)) _exit(2);
    full_bytes = 60000;
    full_file = status.st_ino;
    for (int64_t i = 0; !code && i < 100000; i++) {
      row one = make_row(i);
      code = runfile_append(r, id, &one, 1);
      if (!code && way == 1 && i > 500) {
        if (i < 3000) continue;
        break;
      }
      if (!code) code = runfile_flush(r, id);
      if (!code && write(ends[1], &i, sizeof i) != sizeof i) _exit(3);
    }
    if (way == 0) {
      if (code != ERROR_SYSTEM || !strstr(error_last()->text, "full.h5.partial") || !strstr(error_last()->hint, "free some space")) {
        fprintf(stderr, "code %d: %s (%s)\n", code, error_last()->text, error_last()->hint);
        _exit(4);
      }
      runfile_abandon(r, "failed: disk full");
      if (error_last()->code != ERROR_SYSTEM) _exit(5);
    } else {
      if (!code) code = runfile_finish(r);
      else runfile_abandon(r, "failed: disk full");
      if (code != ERROR_SYSTEM) _exit(6);
    }
    exit(0); /* with HDF5's own clean-up */
  }
  close(ends[1]);
  int64_t acknowledged = 0, number;
  while (read(ends[0], &number, sizeof number) == sizeof number) acknowledged = number + 1;
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("status %x", status);
  assert_true(acknowledged > 100);
  assert_false(exists("full.h5") || exists("full.h5.partial.lock") || exists("full.h5.partial.closing"));
  assert_true(check_rows(in_folder("full.h5.partial"), "series/steps") >= acknowledged);
}

static void test_full_disk(void **state) {
  (void)state;
  full_disk(0);
  full_disk(1);
}

int main(int count, char **words) {
  if (count == 5 && !strcmp(words[1], "--follow")) return follow(words[2], words[3][0] - 'A', words[4][0] - 'A');
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole_life),
      cmocka_unit_test(test_abandon),
      cmocka_unit_test(test_carry_over_other_columns),
      cmocka_unit_test(test_carry_over_chosen_rows),
      cmocka_unit_test(test_reading_tables),
      cmocka_unit_test(test_lengths_that_cannot_be),
      cmocka_unit_test(test_killed_while_writing),
      cmocka_unit_test(test_killed_while_finishing),
      cmocka_unit_test(test_finish_under_a_reader),
      cmocka_unit_test(test_second_writer),
      cmocka_unit_test(test_files_that_are_refused),
      cmocka_unit_test(test_places_that_are_refused),
      cmocka_unit_test(test_full_disk),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
