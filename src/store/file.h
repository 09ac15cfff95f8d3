/* Files that are either whole or absent.
 *
 * Not collective: one process calls. Not thread-safe for one path.
 */
#ifndef PEFTSCALE_FILE_H
#define PEFTSCALE_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Writes `count` bytes to PATH.tmp-PID-N, syncs, renames it over `path` and syncs the directory. A file is replaced, anything else (a directory, a device) is
 * refused. Errors: ERROR_SYSTEM with path and reason; nothing is left behind. */
int file_write_atomic(const char *path, const void *bytes, size_t count);

/* The same in pieces, for files too large to hold twice: create, add ..., then commit, or discard after an error of the caller. A writer is gone after
 * commit (also a failed one) and after discard; discard(NULL) is allowed. Errors as above. */
typedef struct file_writer file_writer;
int file_writer_create(const char *path, file_writer **result);
int file_writer_add(file_writer *w, const void *bytes, size_t count);
/* A line of text, at most 4095 bytes. */
int file_writer_print(file_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
int file_writer_commit(file_writer *w);
void file_writer_discard(file_writer *w);

/* Removes what writers of `path` that were killed have left (PATH.tmp-...). Only for who knows that nobody else writes it: the holder of a lock. What cannot be
 * removed stays. */
void file_remove_temporaries(const char *path);

/* Makes a file's data, and a rename or a new name in the directory that holds `path`, survive a loss of power. Errors: ERROR_SYSTEM with path and reason. */
int file_sync(const char *path);
int file_sync_directory_of(const char *path);

/* Makes the directory and its parents. Errors: ERROR_SYSTEM with path and reason. */
int file_make_directory(const char *path);

/* Whether files can be made in the directory (tried, not guessed). Errors: ERROR_INPUT with path and reason. */
int file_check_writable(const char *directory);

/* Whether a file could be written to `path`: for work that takes long before it writes. Errors: ERROR_SYSTEM or ERROR_INPUT with path and reason. */
int file_check_target(const char *path);

/* The bytes of a small file, with a zero byte behind them. *bytes is malloc'ed; the caller frees it. Errors: ERROR_INPUT (missing, unreadable, larger than
 * `limit`). */
int file_read(const char *path, size_t limit, char **bytes, size_t *count);

/* A read-only map of a whole file. Errors: ERROR_INPUT (missing, unreadable, empty). */
typedef struct file_map {
  const unsigned char *bytes;
  size_t count;
} file_map;
int file_map_open(const char *path, file_map *map);
void file_map_close(file_map *map);

/* What lies in bytes first .. first + count will not be looked at again soon: it no longer counts as this process's memory. */
void file_map_forget(const file_map *map, size_t first, size_t count);

#endif
