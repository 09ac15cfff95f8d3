/* Files that are either whole or absent.
 *
 * Not collective: one process calls. Not thread-safe for one path.
 */
#ifndef PEFTSCALE_FILE_H
#define PEFTSCALE_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Writes `count` bytes to PATH.tmp-PID, syncs, renames it over `path` and syncs the directory. Errors: ERROR_SYSTEM with path and reason; nothing is left
 * behind. */
int file_write_atomic(const char *path, const void *bytes, size_t count);

/* Makes the directory and its parents. Errors: ERROR_SYSTEM with path and reason. */
int file_make_directory(const char *path);

/* Whether files can be made in the directory (tried, not guessed). Errors: ERROR_INPUT with path and reason. */
int file_check_writable(const char *directory);

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

#endif
