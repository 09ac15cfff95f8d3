/* What the writer and the readers of run files share. The only place, with the .c files beside it, that knows HDF5's handles. */
#ifndef PEFTSCALE_RUNFILE_PRIVATE_H
#define PEFTSCALE_RUNFILE_PRIVATE_H

#include <hdf5.h>
#include <stddef.h>
#include <stdint.h>

#include "store/runfile.h"

#define RUNFILE_KIND "peftscale run"

enum { RUNFILE_PATH_BYTES = 4096 };

/* HDF5 prints its errors unless told otherwise. Called on every way in; cheap. */
void runfile_silence(void);

/* The innermost description of HDF5's last failure ("No space left on device" rather than "can't close"); valid until the next call. To be asked before the
 * next HDF5 call, which forgets it. */
const char *runfile_reason(void);

/* What to do about runfile_reason(), or NULL. */
const char *runfile_hint(const char *reason);

/* File access list: format of HDF5 1.10 (SWMR needs it, later libraries keep to it), without HDF5's own locks: PATH.partial.lock stands between writers, and
 * a reader must never keep a writer from closing its file. The caller closes it. */
hid_t runfile_access(void);

/* Link creation list that makes the groups on the way; made once, kept until the program's end. */
hid_t runfile_links(void);

/* Opens a run file of any state for reading, checks kind and schema version. Errors: ERROR_INPUT naming the file. The caller closes *file. */
int runfile_open(const char *path, hid_t *file);

/* 1 if the object is there; "" is the root. */
int runfile_exists(hid_t file, const char *where);

/* Whether a file can hold so many elements of a data set. A length that was damaged, or set by hand, must not make us take all memory: what is stored as it is
 * cannot be longer than the file, what is packed (by other tools) not a thousand times as long. -1: HDF5 does not say. */
int runfile_can_hold(hid_t file, hid_t data, hid_t type, uint64_t elements);

typedef enum attribute_type { ATTRIBUTE_TEXT, ATTRIBUTE_INT, ATTRIBUTE_DOUBLE } attribute_type;

typedef struct attribute {
  char *where, *name;
  attribute_type type;
  char *text;
  int64_t whole;
  double real;
} attribute;

/* Writes an attribute, replacing one of the same name; an absent `where` becomes a group. `path` is for messages. */
int runfile_write_attribute(const char *path, hid_t file, const attribute *a);

/* Fixed-length text type of `bytes` bytes: ended by a zero byte, or padded with them. -1 on failure. */
hid_t runfile_text_type(size_t bytes, H5T_str_t padding);

/* A table's row as it lies in the C structure; `path` is for messages. Errors: ERROR_INTERNAL (columns that overlap or lie outside the row). */
int runfile_row_type(const char *path, const table *t, hid_t *type);

/* Closes any handle; negative ones are passed over. Negative on failure. */
int runfile_close_handle(hid_t handle);

/* The lock of PATH.partial: a file of its own, because HDF5 replaces, renames and (as some readers are set up) locks the data file itself. */
typedef struct runfile_lock {
  int descriptor;
  char path[RUNFILE_PATH_BYTES];
} runfile_lock;
int runfile_lock_take(const char *partial, runfile_lock *lock);
void runfile_lock_release(runfile_lock *lock);

/* A data set that is written after the start. */
typedef struct series {
  char *where;
  hid_t data, type; /* type: of a row, or of an element, in memory */
  size_t row_bytes;
  int64_t rows;
  int is_table;
} series;

struct runfile {
  char path[RUNFILE_PATH_BYTES], partial[RUNFILE_PATH_BYTES], fresh[RUNFILE_PATH_BYTES], closing[RUNFILE_PATH_BYTES];
  runfile_lock lock;
  hid_t file;
  int started;
  int broken; /* a write failed: what HDF5 still holds back cannot be written any more */
  series *series;
  int series_count;
  attribute *notes;
  int note_count;
};

/* Closes the HDF5 side; the paths, notes and the lock stay. Errors: ERROR_SYSTEM. */
int runfile_close_file(runfile *r);
/* Frees r and gives the lock back. */
void runfile_destroy(runfile *r);
int runfile_rename(const char *from, const char *to);

#endif
