#include "store/runfile.h"

#include <linux/magic.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "store/file.h"
#include "store/runfile_private.h"

enum { CHUNK_BYTES = 8192, CARRY_BYTES = 1 << 20 };

/* A failed write: HDF5's reason has to be asked for before anything else is called. */
static int refuse(runfile *r, const char *where, const char *what) {
  const char *reason = runfile_reason();
  r->broken = 1;
  return FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: /%s: %s: %s", r->partial, where, what, reason);
}

static int too_late(const runfile *r, const char *where) {
  return FAIL(ERROR_INTERNAL, NULL, "%s: /%s: nothing new can be made after runfile_start", r->partial, where);
}

/* --- creation --- */

static int make_paths(runfile *r, const char *path) {
  TRY(text_format(r->path, sizeof r->path, "%s", path));
  TRY(text_format(r->partial, sizeof r->partial, "%s.partial", path));
  TRY(text_format(r->fresh, sizeof r->fresh, "%s.partial.new", path));
  TRY(text_format(r->closing, sizeof r->closing, "%s.partial.closing", path));
  char directory[RUNFILE_PATH_BYTES];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  if (!slash || slash == directory) return ERROR_NONE;
  *slash = 0;
  return file_make_directory(directory);
}

static void warn_of_network(const char *path) {
  struct statfs status;
  if (statfs(path, &status) == 0 && status.f_type == NFS_SUPER_MAGIC)
    log_warning(
        "%s is on NFS: it survives a crash of the program but not surely one of the host, and other hosts can read it only when it is finished; "
        "a local directory (output.dir, --out) is safer",
        path);
}

static int make_file(runfile *r, const char *kind, int64_t version) {
  hid_t access = runfile_access();
  if (access >= 0) r->file = H5Fcreate(r->fresh, H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (r->file < 0) {
    const char *reason = runfile_reason();
    int code = FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: cannot create: %s", r->fresh, reason);
    runfile_close_handle(access);
    return code;
  }
  H5Pclose(access);
  char now[32];
  clock_utc(now, sizeof now);
  TRY(runfile_put_attribute_text(r, "", "kind", kind));
  TRY(runfile_put_attribute_int(r, "", "schema_version", version));
  TRY(runfile_put_attribute_text(r, "", "created", now));
  return runfile_put_attribute_text(r, "", "status", "running");
}

int runfile_create_kind(const char *path, const char *kind, int64_t version, runfile **result) {
  *result = NULL;
  runfile *r = calloc(1, sizeof *r);
  if (!r) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", path);
  r->file = H5I_INVALID_HID;
  r->lock.descriptor = -1;
  runfile_silence();
  int code = make_paths(r, path);
  if (!code) code = runfile_lock_take(r->partial, &r->lock);
  if (!code) {
    unlink(r->closing); /* of a process that was killed while it finished: its .partial is still whole */
    file_remove_temporaries(r->closing);
    code = make_file(r, kind, version);
    if (code) {
      error kept = *error_last();
      runfile_close_file(r);
      unlink(r->fresh);
      error_restore(&kept);
    } else {
      warn_of_network(r->fresh);
    }
  }
  if (code) {
    runfile_destroy(r);
    return code;
  }
  *result = r;
  return ERROR_NONE;
}

int runfile_create(const char *path, runfile **result) { return runfile_create_kind(path, RUNFILE_KIND, RUNFILE_SCHEMA_VERSION, result); }

/* --- before the start --- */

int runfile_put_text(runfile *r, const char *where, const char *text) {
  if (r->started) return too_late(r, where);
  hid_t type = runfile_text_type(strlen(text) + 1, H5T_STR_NULLTERM), space = H5Screate(H5S_SCALAR);
  hid_t data = H5Dcreate2(r->file, where, type, space, runfile_links(), H5P_DEFAULT, H5P_DEFAULT);
  herr_t written = data < 0 ? -1 : H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text);
  char reason[320];
  if (written < 0) snprintf(reason, sizeof reason, "%s", runfile_reason());
  runfile_close_handle(data);
  runfile_close_handle(space);
  runfile_close_handle(type);
  if (written < 0) return FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: /%s: cannot write the text: %s", r->partial, where, reason);
  return ERROR_NONE;
}

static int put_attribute(runfile *r, const attribute *a) { return r->started ? too_late(r, a->where) : runfile_write_attribute(r->partial, r->file, a); }

int runfile_put_attribute_text(runfile *r, const char *where, const char *name, const char *value) {
  return put_attribute(r, &(attribute){.where = (char *)where, .name = (char *)name, .type = ATTRIBUTE_TEXT, .text = (char *)value});
}

int runfile_put_attribute_int(runfile *r, const char *where, const char *name, int64_t value) {
  return put_attribute(r, &(attribute){.where = (char *)where, .name = (char *)name, .type = ATTRIBUTE_INT, .whole = value});
}

int runfile_put_attribute_double(runfile *r, const char *where, const char *name, double value) {
  return put_attribute(r, &(attribute){.where = (char *)where, .name = (char *)name, .type = ATTRIBUTE_DOUBLE, .real = value});
}

/* Takes the handles over, also on failure. */
static int add_series(runfile *r, const char *where, const series *made, int *id) {
  series *grown = realloc(r->series, (size_t)(r->series_count + 1) * sizeof *grown);
  if (grown) r->series = grown;
  char *copy = grown ? strdup(where) : NULL;
  if (!copy) {
    runfile_close_handle(made->data);
    runfile_close_handle(made->type);
    return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", r->partial);
  }
  r->series[r->series_count] = *made;
  r->series[r->series_count].where = copy;
  *id = r->series_count++;
  return ERROR_NONE;
}

int runfile_add_table(runfile *r, const table *t, int *id) {
  if (r->started) return too_late(r, t->path);
  series made = {.row_bytes = t->row_bytes, .is_table = 1};
  TRY(runfile_row_type(r->partial, t, &made.type));
  /* A flush rewrites the last chunk: small ones keep it cheap, and short tables small. */
  hsize_t none = 0, unlimited = H5S_UNLIMITED, chunk = t->row_bytes < CHUNK_BYTES ? CHUNK_BYTES / t->row_bytes : 1;
  hid_t packed = H5Tcopy(made.type), space = H5Screate_simple(1, &none, &unlimited), creation = H5Pcreate(H5P_DATASET_CREATE);
  made.data = H5I_INVALID_HID;
  if (packed >= 0 && space >= 0 && H5Tpack(packed) >= 0 && H5Pset_chunk(creation, 1, &chunk) >= 0 && H5Pset_fill_time(creation, H5D_FILL_TIME_ALLOC) >= 0)
    made.data = H5Dcreate2(r->file, t->path, packed, space, runfile_links(), creation, H5P_DEFAULT);
  char reason[320];
  if (made.data < 0) snprintf(reason, sizeof reason, "%s", runfile_reason());
  const hid_t handles[] = {packed, space, creation};
  for (int i = 0; i < 3; i++) runfile_close_handle(handles[i]);
  if (made.data < 0) {
    H5Tclose(made.type);
    return FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: /%s: cannot make the table: %s", r->partial, t->path, reason);
  }
  TRY(add_series(r, t->path, &made, id));
  if (t->help) TRY(runfile_put_attribute_text(r, t->path, "help", t->help));
  for (int i = 0; i < t->field_count; i++) {
    char name[256];
    if (!t->fields[i].unit || !*t->fields[i].unit) continue;
    TRY(text_format(name, sizeof name, "unit_%s", t->fields[i].name));
    TRY(runfile_put_attribute_text(r, t->path, name, t->fields[i].unit));
  }
  return ERROR_NONE;
}

int runfile_add_floats(runfile *r, const char *where, int64_t count, int *id) {
  if (r->started) return too_late(r, where);
  if (count < 0) return FAIL(ERROR_INTERNAL, NULL, "%s: /%s: a list of %lld numbers", r->partial, where, (long long)count);
  /* In one piece and filled at once: the place on the disk is taken before the training starts, and writing moves no metadata. */
  series made = {.data = H5I_INVALID_HID, .row_bytes = sizeof(float), .rows = count};
  hsize_t extent = (hsize_t)count;
  const float unwritten = NAN;
  hid_t space = H5Screate_simple(1, &extent, NULL), creation = H5Pcreate(H5P_DATASET_CREATE);
  made.type = H5Tcopy(H5T_NATIVE_FLOAT);
  if (space >= 0 && H5Pset_fill_value(creation, H5T_NATIVE_FLOAT, &unwritten) >= 0 && H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0)
    made.data = H5Dcreate2(r->file, where, H5T_IEEE_F32LE, space, runfile_links(), creation, H5P_DEFAULT);
  char reason[320];
  if (made.data < 0) snprintf(reason, sizeof reason, "%s", runfile_reason());
  runfile_close_handle(space);
  runfile_close_handle(creation);
  if (made.data < 0) {
    runfile_close_handle(made.type);
    return FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: /%s: cannot make a list of %lld numbers: %s", r->partial, where, (long long)count, reason);
  }
  return add_series(r, where, &made, id);
}

/* --- rows --- */

static int write_rows(runfile *r, series *s, const void *rows, int64_t count) {
  hsize_t first = (hsize_t)s->rows, more = (hsize_t)count, extent = first + more;
  if (H5Dset_extent(s->data, &extent) < 0) return refuse(r, s->where, "cannot grow");
  hid_t memory = H5Screate_simple(1, &more, NULL), place = H5Dget_space(s->data);
  herr_t written = -1;
  if (memory >= 0 && place >= 0 && H5Sselect_hyperslab(place, H5S_SELECT_SET, &first, NULL, &more, NULL) >= 0)
    written = H5Dwrite(s->data, s->type, memory, place, H5P_DEFAULT, rows);
  int code = written < 0 ? refuse(r, s->where, "cannot append rows") : ERROR_NONE;
  runfile_close_handle(memory);
  runfile_close_handle(place);
  if (!code) s->rows += count;
  return code;
}

static int find_series(const runfile *r, int id, int is_table, series **s) {
  if (id < 0 || id >= r->series_count || r->series[id].is_table != is_table)
    return FAIL(ERROR_INTERNAL, NULL, "%s: number %d is no %s of this run file", r->partial, id, is_table ? "table" : "list of numbers");
  *s = &r->series[id];
  return ERROR_NONE;
}

/* Moves the rows that are chosen to the front of the buffer; returns how many. place: of the column in a row. */
static int64_t choose_rows(const series *s, char *buffer, int64_t count, const runfile_choice *choice, size_t place) {
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i++) {
    int64_t value;
    memcpy(&value, buffer + (size_t)i * s->row_bytes + place, sizeof value);
    if (value < choice->low || value > choice->high) continue;
    if (kept < i) memcpy(buffer + (size_t)kept * s->row_bytes, buffer + (size_t)i * s->row_bytes, s->row_bytes);
    kept++;
  }
  return kept;
}

static int find_column(const runfile *r, const series *s, const char *column, size_t *place) {
  int index = H5Tget_member_index(s->type, column);
  hid_t type = index < 0 ? H5I_INVALID_HID : H5Tget_member_type(s->type, (unsigned)index);
  int right = type >= 0 && H5Tequal(type, H5T_NATIVE_INT64) > 0;
  runfile_close_handle(type);
  if (!right) return FAIL(ERROR_INTERNAL, NULL, "%s: /%s has no column '%s' of type int64", r->partial, s->where, column);
  *place = H5Tget_member_offset(s->type, (unsigned)index);
  return ERROR_NONE;
}

static int copy_rows(runfile *r, series *s, hid_t from, int64_t count, const runfile_choice *choice) {
  size_t column = 0;
  if (choice->column) TRY(find_column(r, s, choice->column, &column));
  int64_t at_once = CARRY_BYTES / (int64_t)s->row_bytes + 1;
  char *buffer = malloc((size_t)at_once * s->row_bytes);
  if (!buffer) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", r->partial);
  int code = ERROR_NONE;
  for (int64_t done = 0; !code && done < count;) {
    hsize_t first = (hsize_t)done, now = (hsize_t)(count - done < at_once ? count - done : at_once);
    memset(buffer, 0, (size_t)now * s->row_bytes); /* members that the old file lacks stay zero */
    hid_t memory = H5Screate_simple(1, &now, NULL), place = H5Dget_space(from);
    H5Sselect_hyperslab(place, H5S_SELECT_SET, &first, NULL, &now, NULL);
    if (H5Dread(from, s->type, memory, place, H5P_DEFAULT, buffer) < 0)
      code = FAIL(ERROR_INPUT, "move the old file away to start anew", "%s: /%s: cannot carry its rows over: %s", r->partial, s->where, runfile_reason());
    runfile_close_handle(memory);
    runfile_close_handle(place);
    int64_t kept = code || !choice->column ? (int64_t)now : choose_rows(s, buffer, (int64_t)now, choice, column);
    if (!code && kept) code = write_rows(r, s, buffer, kept);
    done += (int64_t)now;
  }
  free(buffer);
  return code;
}

int runfile_carry_over(runfile *r, int id, runfile_choice choice, int64_t *rows) {
  series *s = NULL;
  hid_t old;
  if (rows) *rows = 0;
  TRY(find_series(r, id, 1, &s));
  if (r->started || s->rows) return too_late(r, s->where);
  if (access(r->partial, F_OK)) return ERROR_NONE;
  TRY(runfile_open(r->partial, &old));
  int code = ERROR_NONE;
  hid_t from = runfile_exists(old, s->where) ? H5Dopen2(old, s->where, H5P_DEFAULT) : H5I_INVALID_HID;
  if (from >= 0) {
    hid_t space = H5Dget_space(from), type = H5Dget_type(from);
    hssize_t count = H5Tget_class(type) == H5T_COMPOUND && H5Sget_simple_extent_ndims(space) == 1 ? H5Sget_simple_extent_npoints(space) : 0;
    if (count > 0 && runfile_can_hold(old, from, type, (uint64_t)count) <= 0)
      code = FAIL(ERROR_INPUT, "move the old file away to start anew", "%s: /%s claims %lld rows, more than the file can hold", r->partial, s->where,
                  (long long)count);
    else if (count > 0) code = copy_rows(r, s, from, count, &choice);
    runfile_close_handle(type);
    runfile_close_handle(space);
    H5Dclose(from);
  }
  H5Fclose(old);
  if (rows) *rows = s->rows;
  return code;
}

int runfile_start(runfile *r) {
  if (r->started) return too_late(r, "");
  if (H5Fflush(r->file, H5F_SCOPE_GLOBAL) < 0) return refuse(r, "", "cannot write");
  if (H5Fstart_swmr_write(r->file) < 0) {
    char reason[320];
    snprintf(reason, sizeof reason, "%s", runfile_reason());
    const char *hint = runfile_hint(reason);
    return FAIL(ERROR_SYSTEM, hint ? hint : "choose an output directory on a POSIX file system (output.dir, --out)",
                "%s: cannot be made readable while it grows (HDF5's SWMR): %s", r->partial, reason);
  }
  TRY(file_sync(r->fresh)); /* it may take the place of rows that a checkpoint goes on from */
  TRY(runfile_rename(r->fresh, r->partial));
  r->started = 1;
  return ERROR_NONE;
}

int runfile_append(runfile *r, int id, const void *rows, int64_t count) {
  series *s = NULL;
  TRY(find_series(r, id, 1, &s));
  if (count < 0) return FAIL(ERROR_INTERNAL, NULL, "%s: /%s: a negative number of rows", r->partial, s->where);
  return count ? write_rows(r, s, rows, count) : ERROR_NONE;
}

int runfile_write_floats(runfile *r, int id, const float *values) {
  series *s = NULL;
  TRY(find_series(r, id, 0, &s));
  if (!r->started) return FAIL(ERROR_INTERNAL, NULL, "%s: /%s: written before runfile_start", r->partial, s->where);
  if (s->rows && H5Dwrite(s->data, s->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) return refuse(r, s->where, "cannot write");
  return ERROR_NONE;
}

int runfile_flush(runfile *r, int id) {
  if (id < 0 || id >= r->series_count) return FAIL(ERROR_INTERNAL, NULL, "%s: number %d is nothing of this run file", r->partial, id);
  if (H5Dflush(r->series[id].data) < 0) return refuse(r, r->series[id].where, "cannot flush");
  return ERROR_NONE;
}

int runfile_sync(runfile *r) {
  for (int i = 0; i < r->series_count; i++) TRY(runfile_flush(r, i));
  return file_sync(r->started ? r->partial : r->fresh);
}
