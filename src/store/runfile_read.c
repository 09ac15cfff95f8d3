#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/runfile_private.h"

enum { MAX_TEXT_BYTES = 1 << 28 };

/* What a data set and an attribute have in common for reading one text. */
typedef struct source {
  const char *path, *where, *name; /* name: of the attribute, or NULL */
  hid_t handle, type, space;
} source;

static int refuse(const source *s, const char *reason) {
  if (s->name) return FAIL(ERROR_INPUT, NULL, "%s: /%s: attribute '%s' %s", s->path, s->where, s->name, reason);
  return FAIL(ERROR_INPUT, NULL, "%s: /%s %s", s->path, s->where, reason);
}

static herr_t read_values(const source *s, hid_t type, void *values) {
  return s->name ? H5Aread(s->handle, type, values) : H5Dread(s->handle, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
}

static int open_source(hid_t file, source *s) {
  s->handle = s->type = s->space = H5I_INVALID_HID;
  while (*s->where == '/') s->where++;
  if (!runfile_exists(file, s->where)) return FAIL(ERROR_INPUT, NULL, "%s: /%s is not there", s->path, s->where);
  const char *object = *s->where ? s->where : "/";
  if (s->name) {
    if (H5Aexists_by_name(file, object, s->name, H5P_DEFAULT) <= 0) return refuse(s, "is not there");
    s->handle = H5Aopen_by_name(file, object, s->name, H5P_DEFAULT, H5P_DEFAULT);
  } else {
    s->handle = H5Dopen2(file, object, H5P_DEFAULT);
    if (s->handle < 0) return refuse(s, "is not a data set");
  }
  if (s->handle >= 0) s->type = s->name ? H5Aget_type(s->handle) : H5Dget_type(s->handle);
  if (s->handle >= 0) s->space = s->name ? H5Aget_space(s->handle) : H5Dget_space(s->handle);
  return s->type < 0 || s->space < 0 ? refuse(s, runfile_reason()) : ERROR_NONE;
}

static void close_source(source *s) {
  runfile_close_handle(s->space);
  runfile_close_handle(s->type);
  runfile_close_handle(s->handle);
}

/* Our own texts have a fixed length; other tools that edit a file write variable ones. */
static int read_text(const source *s, char **text) {
  if (H5Tget_class(s->type) != H5T_STRING || H5Sget_simple_extent_npoints(s->space) != 1) return refuse(s, "is not a text");
  if (H5Tis_variable_str(s->type) > 0) {
    char *value = NULL;
    if (read_values(s, s->type, &value) < 0) return refuse(s, runfile_reason());
    *text = strdup(value ? value : "");
    H5Dvlen_reclaim(s->type, s->space, H5P_DEFAULT, &value);
    return *text ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "%s: out of memory", s->path);
  }
  size_t bytes = H5Tget_size(s->type);
  if (!bytes || bytes > MAX_TEXT_BYTES) return refuse(s, "has an impossible length");
  char *value = calloc(bytes + 1, 1);
  if (!value) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", s->path);
  if (read_values(s, s->type, value) < 0) {
    free(value);
    return refuse(s, runfile_reason());
  }
  *text = value;
  return ERROR_NONE;
}

static int read_int(const source *s, int64_t *value) {
  if (H5Tget_class(s->type) != H5T_INTEGER || H5Sget_simple_extent_npoints(s->space) != 1) return refuse(s, "is not a whole number");
  return read_values(s, H5T_NATIVE_INT64, value) < 0 ? refuse(s, runfile_reason()) : ERROR_NONE;
}

static int read_double(const source *s, double *value) {
  H5T_class_t kind = H5Tget_class(s->type);
  if ((kind != H5T_FLOAT && kind != H5T_INTEGER) || H5Sget_simple_extent_npoints(s->space) != 1) return refuse(s, "is not a number");
  return read_values(s, H5T_NATIVE_DOUBLE, value) < 0 ? refuse(s, runfile_reason()) : ERROR_NONE;
}

static int read_floats(hid_t file, const source *s, float **values, int64_t *count) {
  hssize_t points = H5Sget_simple_extent_npoints(s->space);
  if (H5Tget_class(s->type) != H5T_FLOAT || points < 0) return refuse(s, "is not a list of numbers");
  if (runfile_can_hold(file, s->handle, s->type, (uint64_t)points) <= 0)
    return FAIL(ERROR_INPUT, NULL, "%s: /%s claims %lld numbers, more than the file can hold", s->path, s->where, (long long)points);
  float *buffer = malloc((points ? (size_t)points : 1) * sizeof *buffer);
  if (!buffer) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for %lld numbers", s->path, (long long)points);
  if (points && read_values(s, H5T_NATIVE_FLOAT, buffer) < 0) {
    free(buffer);
    return refuse(s, runfile_reason());
  }
  *values = buffer;
  *count = points;
  return ERROR_NONE;
}

int runfile_read_text(const char *path, const char *where, char **text) {
  hid_t file;
  source s = {.path = path, .where = where};
  *text = NULL;
  TRY(runfile_open(path, &file));
  int code = open_source(file, &s);
  if (!code) code = read_text(&s, text);
  close_source(&s);
  H5Fclose(file);
  return code;
}

int runfile_read_attribute_text(const char *path, const char *where, const char *name, char **text) {
  hid_t file;
  source s = {.path = path, .where = where, .name = name};
  *text = NULL;
  TRY(runfile_open(path, &file));
  int code = open_source(file, &s);
  if (!code) code = read_text(&s, text);
  close_source(&s);
  H5Fclose(file);
  return code;
}

static int answer(const source *s, runfile_question *q) {
  char *text;
  if (q->type == FIELD_INT64) return read_int(s, &q->whole);
  if (q->type == FIELD_DOUBLE) return read_double(s, &q->real);
  TRY(read_text(s, &text));
  snprintf(q->text, sizeof q->text, "%s", text);
  free(text);
  return ERROR_NONE;
}

int runfile_read_attributes(const char *path, runfile_question *questions, int count) {
  hid_t file;
  TRY(runfile_open(path, &file));
  for (int i = 0; i < count; i++) {
    runfile_question *q = &questions[i];
    source s = {.path = path, .where = q->where, .name = q->name};
    q->found = !open_source(file, &s) && !answer(&s, q);
    close_source(&s);
  }
  H5Fclose(file);
  return ERROR_NONE;
}

int runfile_read_attribute_int(const char *path, const char *where, const char *name, int64_t *value) {
  hid_t file;
  source s = {.path = path, .where = where, .name = name};
  TRY(runfile_open(path, &file));
  int code = open_source(file, &s);
  if (!code) code = read_int(&s, value);
  close_source(&s);
  H5Fclose(file);
  return code;
}

int runfile_read_attribute_double(const char *path, const char *where, const char *name, double *value) {
  hid_t file;
  source s = {.path = path, .where = where, .name = name};
  TRY(runfile_open(path, &file));
  int code = open_source(file, &s);
  if (!code) code = read_double(&s, value);
  close_source(&s);
  H5Fclose(file);
  return code;
}

int runfile_read_floats(const char *path, const char *where, float **values, int64_t *count) {
  hid_t file;
  source s = {.path = path, .where = where};
  *values = NULL;
  *count = 0;
  TRY(runfile_open(path, &file));
  int code = open_source(file, &s);
  if (!code) code = read_floats(file, &s, values, count);
  close_source(&s);
  H5Fclose(file);
  return code;
}

int runfile_probe(const char *path) {
  hid_t file;
  TRY(runfile_open(path, &file));
  H5Fclose(file);
  return ERROR_NONE;
}

int runfile_has(const char *path, const char *where) {
  hid_t file;
  error kept = *error_last(); /* a question, not a failure */
  int code = runfile_open(path, &file), found = 0;
  if (!code) {
    found = runfile_exists(file, where);
    H5Fclose(file);
  }
  error_restore(&kept);
  return found;
}
