/* The run file: everything that is known about one training, in HDF5, readable while it grows and after a crash. Layout: SCHEMA.md beside this file. Other
 * measurements that must outlive a crash are written in the same way, under a kind of their own.
 *
 * Life: create (PATH.partial) -> put texts and attributes, add tables and arrays, first rows -> start (SWMR: from here on no new objects) -> append and write,
 * each logged step flushed -> finish (closing attributes, renamed to PATH) or abandon (PATH.partial stays, readable to the last flushed row).
 *
 * Not collective: rank 0 alone calls. Not thread-safe.
 */
#ifndef PEFTSCALE_RUNFILE_H
#define PEFTSCALE_RUNFILE_H

#include <stddef.h>
#include <stdint.h>

enum { RUNFILE_SCHEMA_VERSION = 1 };

typedef enum field_type { FIELD_INT32, FIELD_INT64, FIELD_FLOAT, FIELD_DOUBLE, FIELD_TEXT } field_type;

/* One member of a table's rows: `count` elements (an array if > 1), or for FIELD_TEXT a fixed string of `count` bytes. */
typedef struct field {
  const char *name;
  const char *unit; /* "s", "bytes", "1" ...; written as an attribute of the table: unit_NAME */
  field_type type;
  int count;
  size_t offset; /* in the C structure */
} field;

/* A one-dimensional data set of a compound type that grows by rows. */
typedef struct table {
  const char *path; /* "series/steps"; groups on the way are made */
  const char *help; /* one line, written as the attribute "help"  */
  size_t row_bytes;
  const field *fields;
  int field_count;
} table;

typedef struct runfile runfile;

/* Takes the lock of PATH.partial and makes its directory and the new file, which is PATH.partial.new until runfile_start puts it in the place of an old
 * PATH.partial that is nobody's: so PATH.partial can be read at any time. Errors: ERROR_INPUT / ERROR_SYSTEM with path and reason; a live writer is named. */
int runfile_create(const char *path, runfile **result);

/* The same for a file of another kind and with a schema version of its own ("peftscale comm"); the readers below take run files alone. */
int runfile_create_kind(const char *path, const char *kind, int64_t version, runfile **result);

/* Before start. `where` is a path of a group or data set, "" for the root; groups are made when needed. */
int runfile_put_text(runfile *r, const char *where, const char *text); /* a scalar string data set */
int runfile_put_attribute_text(runfile *r, const char *where, const char *name, const char *value);
int runfile_put_attribute_int(runfile *r, const char *where, const char *name, int64_t value);
int runfile_put_attribute_double(runfile *r, const char *where, const char *name, double value);
int runfile_add_table(runfile *r, const table *t, int *id);
int runfile_add_floats(runfile *r, const char *where, int64_t count, int *id); /* filled with NaN until written */

/* For a run that goes on after a crash or a requeue: copies rows of table `id` from the PATH.partial that is going to be replaced (members are matched by
 * name, new ones are zero): those whose column, of type int64, is from low to high. The caller has compared the run's identity. *rows (NULL allowed) = how
 * many; 0 if there is no such file or table. Errors: ERROR_INPUT. */
typedef struct runfile_choice {
  const char *column; /* NULL: all rows */
  int64_t low, high;
} runfile_choice;
int runfile_carry_over(runfile *r, int id, runfile_choice choice, int64_t *rows);

int runfile_start(runfile *r);

/* Rows of before the start are there when the file is. */
int runfile_append(runfile *r, int id, const void *rows, int64_t count);

/* After start. Rows are durable against the process's death once runfile_flush returned. */
int runfile_write_floats(runfile *r, int id, const float *values);
int runfile_flush(runfile *r, int id);

/* What was flushed also survives the death of the host. Errors: ERROR_SYSTEM. */
int runfile_sync(runfile *r);

/* Attributes that are only known at the end are kept until finish writes them (there can be none after start in SWMR mode). */
int runfile_note_text(runfile *r, const char *where, const char *name, const char *value);
int runfile_note_int(runfile *r, const char *where, const char *name, int64_t value);
int runfile_note_double(runfile *r, const char *where, const char *name, double value);

/* Closes, writes the noted attributes and status = "complete" into a copy, syncs it, renames it to PATH and removes PATH.partial: killed at any moment, one
 * of the two is whole. Destroys r, also on errors, which leave PATH.partial with all its rows. Errors: ERROR_SYSTEM with path and reason. */
int runfile_finish(runfile *r);

/* Closes and writes the noted attributes and status = `reason` ("failed: ...") in the same way, leaves PATH.partial; destroys r. NULL is allowed. A file
 * that was never started does not replace an older PATH.partial. The thread's last error is kept. */
void runfile_abandon(runfile *r, const char *reason);

/* Reading (a finished or partial file). *text and *values are malloc'ed; the caller frees them. Errors: ERROR_INPUT naming file, object and reason, also
 * for a file that is no run file or has a newer schema. */
int runfile_read_text(const char *path, const char *where, char **text);
int runfile_read_attribute_text(const char *path, const char *where, const char *name, char **text);
int runfile_read_attribute_int(const char *path, const char *where, const char *name, int64_t *value);
int runfile_read_attribute_double(const char *path, const char *where, const char *name, double *value);
/* Several of the root's and groups' attributes with one look at the file: fast over thousands of files. Those that are not there, or are of another type, have
 * found = 0. Errors: as above, of the file itself. */
typedef struct runfile_question {
  const char *where, *name;
  field_type type; /* FIELD_TEXT, FIELD_INT64 or FIELD_DOUBLE */
  int found;
  char text[128]; /* a longer one is cut */
  int64_t whole;
  double real;
} runfile_question;
int runfile_read_attributes(const char *path, runfile_question *questions, int count);

int runfile_read_floats(const char *path, const char *where, float **values, int64_t *count);
int runfile_probe(const char *path);                  /* only whether it is a run file that can be read */
int runfile_has(const char *path, const char *where); /* 1: the object exists; 0: it does not, or the file is unreadable */

/* All rows of the table t->path as structures that `t` describes. Columns are found by name; numbers are converted, texts cut or padded with zeros; what the
 * file has beyond them is left alone. present [t->field_count]: 1 where the file has the column; the others are zero in every row. */
int runfile_read_table(const char *path, const table *t, void **rows, int64_t *count, uint8_t *present);

/* Numbers in one value of a column: 1, or the length of its array; 0: there is no such column, or it holds no numbers. Errors: no such table. */
int runfile_read_width(const char *path, const char *where, const char *column, int *width);

#endif
