/* Tables as rows of a C structure: the type of such a row in memory, and reading by the columns' names. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/runfile_private.h"

enum { MAX_COLUMNS = 64 };

static hid_t element_type(const field *f) {
  if (f->type == FIELD_TEXT) return runfile_text_type((size_t)f->count, H5T_STR_NULLPAD);
  hid_t one = f->type == FIELD_INT32   ? H5T_NATIVE_INT32
              : f->type == FIELD_INT64 ? H5T_NATIVE_INT64
              : f->type == FIELD_FLOAT ? H5T_NATIVE_FLOAT
                                       : H5T_NATIVE_DOUBLE;
  hsize_t extent = (hsize_t)f->count;
  return f->count > 1 ? H5Tarray_create2(one, 1, &extent) : H5Tcopy(one);
}

int runfile_row_type(const char *path, const table *t, hid_t *type) {
  *type = H5Tcreate(H5T_COMPOUND, t->row_bytes);
  if (*type < 0) return FAIL(ERROR_INTERNAL, NULL, "%s: /%s: cannot describe its rows: %s", path, t->path, runfile_reason());
  for (int i = 0; i < t->field_count; i++) {
    const field *f = &t->fields[i];
    hid_t element = f->count >= 1 ? element_type(f) : H5I_INVALID_HID;
    herr_t inserted = element < 0 ? -1 : H5Tinsert(*type, f->name, f->offset, element); /* also refuses overlaps and what lies outside the row */
    if (inserted < 0) {
      int code = FAIL(ERROR_INTERNAL, NULL, "%s: /%s: cannot describe its column '%s': %s", path, t->path, f->name, runfile_reason());
      runfile_close_handle(element);
      H5Tclose(*type);
      return code;
    }
    H5Tclose(element);
  }
  return ERROR_NONE;
}

/* A table that is open for reading. */
typedef struct opened {
  const char *path, *where;
  hid_t file, data, type, space;
} opened;

static int refuse(const opened *o, const char *reason) { return FAIL(ERROR_INPUT, NULL, "%s: /%s %s", o->path, o->where, reason); }

static void close_table(opened *o) {
  runfile_close_handle(o->space);
  runfile_close_handle(o->type);
  runfile_close_handle(o->data);
  if (o->file >= 0) H5Fclose(o->file);
}

static int open_table(opened *o) {
  o->data = o->type = o->space = H5I_INVALID_HID;
  TRY(runfile_open(o->path, &o->file));
  if (!runfile_exists(o->file, o->where)) return refuse(o, "is not there");
  o->data = H5Dopen2(o->file, o->where, H5P_DEFAULT);
  if (o->data < 0) return refuse(o, "is not a table");
  o->type = H5Dget_type(o->data);
  o->space = H5Dget_space(o->data);
  if (o->type < 0 || o->space < 0) return refuse(o, runfile_reason());
  return H5Tget_class(o->type) == H5T_COMPOUND && H5Sget_simple_extent_ndims(o->space) == 1 ? ERROR_NONE : refuse(o, "is not a table");
}

/* The type of a column's numbers or text, and how many numbers one value has. -1: there is no such column. The caller closes it. */
static hid_t column_type(hid_t row, const char *name, int64_t *width) {
  int index = H5Tget_member_index(row, name);
  hsize_t extent = 1;
  *width = 1;
  if (index < 0) return H5I_INVALID_HID;
  hid_t type = H5Tget_member_type(row, (unsigned)index);
  if (type < 0 || H5Tget_class(type) != H5T_ARRAY) return type;
  hid_t element = H5Tget_super(type);
  *width = H5Tget_array_ndims(type) == 1 && H5Tget_array_dims2(type, &extent) >= 0 && extent <= INT_MAX ? (int64_t)extent : -1;
  H5Tclose(type);
  return element;
}

/* Whether HDF5 can make the column what is wanted. */
static int fits(const field *f, hid_t type, int64_t width) {
  H5T_class_t kind = H5Tget_class(type);
  if (f->type == FIELD_TEXT) return kind == H5T_STRING && H5Tis_variable_str(type) == 0;
  int is_real = f->type == FIELD_FLOAT || f->type == FIELD_DOUBLE;
  return width == f->count && (kind == H5T_INTEGER || (is_real && kind == H5T_FLOAT));
}

/* found: `t` with the columns that the file has. */
static int match_columns(const opened *o, const table *t, field found[MAX_COLUMNS], int *count, uint8_t *present) {
  *count = 0;
  if (t->field_count > MAX_COLUMNS) return FAIL(ERROR_INTERNAL, NULL, "%s: /%s: more than %d columns", o->path, o->where, MAX_COLUMNS);
  for (int i = 0; i < t->field_count; i++) {
    int64_t width;
    hid_t type = column_type(o->type, t->fields[i].name, &width);
    present[i] = type >= 0;
    if (type < 0) continue;
    int right = fits(&t->fields[i], type, width);
    H5Tclose(type);
    if (!right) return FAIL(ERROR_INPUT, NULL, "%s: /%s: column '%s' has another type", o->path, o->where, t->fields[i].name);
    found[(*count)++] = t->fields[i];
  }
  return ERROR_NONE;
}

static int check_length(const opened *o, const table *t, hssize_t rows) {
  int fits = rows < 0 ? -1 : runfile_can_hold(o->file, o->data, o->type, (uint64_t)rows);
  if (fits < 0) return refuse(o, runfile_reason());
  if (!fits || (uint64_t)rows > SIZE_MAX / 2 / t->row_bytes)
    return FAIL(ERROR_INPUT, NULL, "%s: /%s claims %lld rows, more than the file can hold", o->path, o->where, (long long)rows);
  return ERROR_NONE;
}

static int read_rows(const opened *o, const table *t, void **rows, int64_t *count, uint8_t *present) {
  field found[MAX_COLUMNS];
  table known = *t;
  hid_t type;
  hssize_t points = H5Sget_simple_extent_npoints(o->space);
  known.fields = found;
  TRY(match_columns(o, t, found, &known.field_count, present));
  TRY(check_length(o, t, points));
  void *buffer = calloc(points ? (size_t)points : 1, t->row_bytes);
  if (!buffer) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for %lld rows of /%s", o->path, (long long)points, o->where);
  int code = ERROR_NONE;
  if (points && known.field_count) {
    code = runfile_row_type(o->path, &known, &type);
    if (!code && H5Dread(o->data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) < 0) code = refuse(o, runfile_reason());
    runfile_close_handle(type);
  }
  if (code) {
    free(buffer);
    return code;
  }
  *rows = buffer;
  *count = points;
  return ERROR_NONE;
}

int runfile_read_table(const char *path, const table *t, void **rows, int64_t *count, uint8_t *present) {
  opened o = {.path = path, .where = t->path, .file = H5I_INVALID_HID};
  *rows = NULL;
  *count = 0;
  memset(present, 0, (size_t)t->field_count);
  int code = open_table(&o);
  if (!code) code = read_rows(&o, t, rows, count, present);
  close_table(&o);
  return code;
}

int runfile_read_width(const char *path, const char *where, const char *column, int *width) {
  opened o = {.path = path, .where = where, .file = H5I_INVALID_HID};
  *width = 0;
  int code = open_table(&o);
  if (!code) {
    int64_t numbers;
    hid_t type = column_type(o.type, column, &numbers);
    if (type >= 0 && numbers > 0 && (H5Tget_class(type) == H5T_INTEGER || H5Tget_class(type) == H5T_FLOAT)) *width = (int)numbers;
    runfile_close_handle(type);
  }
  close_table(&o);
  return code;
}
