#include "store/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

enum { PATH_BYTES = 4096, WRITE_BYTES = 1 << 26, READ_BYTES = 1 << 16, NAME_TRIES = 100 };

struct file_writer {
  int descriptor;
  char path[PATH_BYTES], temporary[PATH_BYTES];
};

static const char *hint_for(int reason) {
  switch (reason) {
    case ENOSPC:
    case EDQUOT: return "free some space, or choose another output directory";
    case EACCES:
    case EPERM:
    case EROFS: return "choose an output directory that you may write to";
    case ENOENT: return "check the path, or make its directory";
    default: return NULL;
  }
}

/* The directory part of `path`: "." without a slash, "/" for files of the root. */
static int directory_of(const char *path, char *directory, size_t bytes) {
  const char *slash = strrchr(path, '/');
  if (!slash) return text_format(directory, bytes, ".");
  if (slash == path) return text_format(directory, bytes, "/");
  return text_format(directory, bytes, "%.*s", (int)(slash - path), path);
}

/* Network file systems report a full disk or a broken line as late as here. File systems that cannot sync directories say EINVAL. */
static int sync_path(const char *path, int flags) {
  int descriptor = open(path, flags | O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FAIL(ERROR_SYSTEM, hint_for(errno), "%s: cannot open for syncing: %s", path, strerror(errno));
  int reason = fsync(descriptor) ? errno : 0;
  close(descriptor);
  if (reason && reason != EINVAL) return FAIL(ERROR_SYSTEM, hint_for(reason), "%s: cannot sync: %s", path, strerror(reason));
  return ERROR_NONE;
}

int file_sync(const char *path) { return sync_path(path, 0); }

int file_sync_directory_of(const char *path) {
  char directory[PATH_BYTES];
  TRY(directory_of(path, directory, sizeof directory));
  return sync_path(directory, O_DIRECTORY);
}

/* A rename takes the place of whatever is there: of a device as well, if root does it. */
static int check_replaceable(const char *path) {
  struct stat status;
  if (stat(path, &status) || S_ISREG(status.st_mode)) return ERROR_NONE;
  return FAIL(ERROR_SYSTEM, "name a file", "%s: is %s: no file can take its place", path, S_ISDIR(status.st_mode) ? "a directory" : "a device or pipe");
}

int file_check_target(const char *path) {
  char directory[PATH_BYTES];
  TRY(check_replaceable(path));
  TRY(directory_of(path, directory, sizeof directory));
  return file_check_writable(directory);
}

int file_writer_create(const char *path, file_writer **result) {
  *result = NULL;
  TRY(check_replaceable(path));
  file_writer *w = calloc(1, sizeof *w);
  if (!w) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", path);
  w->descriptor = -1;
  int code = text_format(w->path, sizeof w->path, "%s", path), reason = EEXIST;
  /* The process number alone is not unique: hosts share file systems, and a killed process of the same number may have left its file. */
  for (int i = 0; !code && w->descriptor < 0 && reason == EEXIST && i < NAME_TRIES; i++) {
    code = text_format(w->temporary, sizeof w->temporary, "%s.tmp-%ld-%d", path, (long)getpid(), i);
    if (!code && (w->descriptor = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0) reason = errno;
  }
  if (!code && w->descriptor < 0) code = FAIL(ERROR_SYSTEM, hint_for(reason), "%s: cannot create: %s", path, strerror(reason));
  if (code) {
    free(w);
    return code;
  }
  *result = w;
  return ERROR_NONE;
}

int file_writer_add(file_writer *w, const void *bytes, size_t count) {
  const char *next = bytes;
  while (count > 0) {
    ssize_t done = write(w->descriptor, next, count < WRITE_BYTES ? count : WRITE_BYTES);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return FAIL(ERROR_SYSTEM, hint_for(errno), "%s: cannot write: %s", w->path, strerror(errno));
    next += done;
    count -= (size_t)done;
  }
  return ERROR_NONE;
}

int file_writer_print(file_writer *w, const char *format, ...) {
  char text[4096];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(text, sizeof text, format, list);
  va_end(list);
  if (length < 0 || (size_t)length >= sizeof text) return FAIL(ERROR_INTERNAL, NULL, "a line of text that is to be written is too long");
  return file_writer_add(w, text, (size_t)length);
}

int file_writer_commit(file_writer *w) {
  const char *step = "sync";
  int reason = fsync(w->descriptor) ? errno : 0;
  if (close(w->descriptor) && !reason) reason = errno;
  w->descriptor = -1;
  if (!reason && rename(w->temporary, w->path)) {
    reason = errno;
    step = "put the written file in place";
  }
  int code = reason ? FAIL(ERROR_SYSTEM, hint_for(reason), "%s: cannot %s: %s", w->path, step, strerror(reason)) : ERROR_NONE;
  if (code) {
    file_writer_discard(w);
    return code;
  }
  code = file_sync_directory_of(w->path);
  free(w);
  return code;
}

void file_writer_discard(file_writer *w) {
  if (!w) return;
  if (w->descriptor >= 0) close(w->descriptor);
  unlink(w->temporary);
  free(w);
}

int file_write_atomic(const char *path, const void *bytes, size_t count) {
  file_writer *w;
  TRY(file_writer_create(path, &w));
  int code = file_writer_add(w, bytes, count);
  if (code) {
    file_writer_discard(w);
    return code;
  }
  return file_writer_commit(w);
}

void file_remove_temporaries(const char *path) {
  char directory[PATH_BYTES], prefix[PATH_BYTES], name[PATH_BYTES];
  const char *slash = strrchr(path, '/');
  error kept = *error_last();
  DIR *list = NULL;
  if (!directory_of(path, directory, sizeof directory) && !text_format(prefix, sizeof prefix, "%s.tmp-", slash ? slash + 1 : path)) list = opendir(directory);
  for (struct dirent *entry; list && (entry = readdir(list));)
    if (!strncmp(entry->d_name, prefix, strlen(prefix)) && snprintf(name, sizeof name, "%s/%s", directory, entry->d_name) < PATH_BYTES) unlink(name);
  if (list) closedir(list);
  error_restore(&kept); /* a path that is too long has no such files */
}

int file_make_directory(const char *path) {
  char part[PATH_BYTES];
  TRY(text_format(part, sizeof part, "%s", path));
  size_t length = strlen(part);
  for (size_t i = 1; i <= length; i++) {
    if (i < length && part[i] != '/') continue;
    char kept = part[i];
    part[i] = 0;
    struct stat status;
    /* EEXIST also when another process was faster. Some file systems answer EROFS or EACCES for directories that are there: look first. */
    if (stat(part, &status) == 0) {
      if (!S_ISDIR(status.st_mode)) return FAIL(ERROR_SYSTEM, "choose another output directory", "%s: cannot make directory: %s is no directory", path, part);
    } else if (mkdir(part, 0777) && errno != EEXIST) {
      return FAIL(ERROR_SYSTEM, hint_for(errno), "%s: cannot make directory %s: %s", path, part, strerror(errno));
    }
    part[i] = kept;
  }
  return ERROR_NONE;
}

int file_check_writable(const char *directory) {
  struct stat status;
  if (stat(directory, &status)) return FAIL(ERROR_INPUT, hint_for(errno), "%s: cannot use as a directory: %s", directory, strerror(errno));
  if (!S_ISDIR(status.st_mode)) return FAIL(ERROR_INPUT, "name a directory", "%s: is no directory", directory);
  char name[PATH_BYTES];
  TRY(text_format(name, sizeof name, "%s/.peftscale-XXXXXX", directory));
  int descriptor = mkstemp(name);
  if (descriptor < 0) return FAIL(ERROR_INPUT, hint_for(errno), "%s: files cannot be made here: %s", directory, strerror(errno));
  /* A byte, too: names can often still be made on a full disk. */
  int reason = write(descriptor, "x", 1) == 1 ? 0 : errno;
  if (close(descriptor) && !reason) reason = errno;
  unlink(name);
  if (reason) return FAIL(ERROR_INPUT, hint_for(reason), "%s: files cannot be written here: %s", directory, strerror(reason));
  return ERROR_NONE;
}

/* Non-blocking, so that a FIFO in place of a file cannot hang the program; without effect on regular files. */
static int open_regular(const char *path, int *descriptor, struct stat *status) {
  *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*descriptor < 0) return FAIL(ERROR_INPUT, errno == ENOENT ? "check the path" : NULL, "%s: cannot open: %s", path, strerror(errno));
  int reason = fstat(*descriptor, status) ? errno : 0;
  if (!reason && S_ISREG(status->st_mode)) return ERROR_NONE;
  close(*descriptor);
  if (reason) return FAIL(ERROR_INPUT, NULL, "%s: cannot read: %s", path, strerror(reason));
  return FAIL(ERROR_INPUT, NULL, "%s: is %s, not a file", path, S_ISDIR(status->st_mode) ? "a directory" : "a device or pipe");
}

/* Reads to the end instead of trusting the size: files of /proc say 0, and a file may grow meanwhile. */
static int read_all(int descriptor, const char *path, size_t expected, size_t limit, char **bytes, size_t *count) {
  size_t room = expected < limit ? expected : limit, used = 0;
  char *buffer = malloc(room + 2); /* one more byte shows that the file is longer, one is the zero */
  if (!buffer) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for %zu bytes", path, room);
  for (;;) {
    ssize_t done = read(descriptor, buffer + used, room + 1 - used);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      int reason = errno;
      free(buffer);
      return FAIL(ERROR_INPUT, NULL, "%s: cannot read: %s", path, strerror(reason));
    }
    if (done == 0) break;
    used += (size_t)done;
    if (used > limit) {
      free(buffer);
      return FAIL(ERROR_INPUT, NULL, "%s: is larger than the %zu bytes allowed here", path, limit);
    }
    if (used == room + 1) {
      size_t wider = room < limit / 2 ? 2 * room + READ_BYTES : limit;
      room = wider < limit ? wider : limit;
      char *grown = realloc(buffer, room + 2);
      if (!grown) {
        free(buffer);
        return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for %zu bytes", path, room);
      }
      buffer = grown;
    }
  }
  buffer[used] = 0;
  *bytes = buffer;
  *count = used;
  return ERROR_NONE;
}

int file_read(const char *path, size_t limit, char **bytes, size_t *count) {
  int descriptor;
  struct stat status;
  *bytes = NULL;
  *count = 0;
  TRY(open_regular(path, &descriptor, &status));
  int code = read_all(descriptor, path, (size_t)status.st_size, limit, bytes, count);
  close(descriptor);
  return code;
}

int file_map_open(const char *path, file_map *map) {
  int descriptor;
  struct stat status;
  *map = (file_map){0};
  TRY(open_regular(path, &descriptor, &status));
  size_t count = (size_t)status.st_size;
  void *bytes = count ? mmap(NULL, count, PROT_READ, MAP_PRIVATE, descriptor, 0) : NULL;
  int reason = errno;
  close(descriptor);
  if (!count) return FAIL(ERROR_INPUT, "copy or download it again", "%s: is empty", path);
  if (bytes == MAP_FAILED) return FAIL(ERROR_INPUT, NULL, "%s: cannot map %zu bytes: %s", path, count, strerror(reason));
  *map = (file_map){.bytes = bytes, .count = count};
  return ERROR_NONE;
}

void file_map_close(file_map *map) {
  if (map->bytes) munmap((void *)(uintptr_t)map->bytes, map->count);
  *map = (file_map){0};
}

void file_map_forget(const file_map *map, size_t first, size_t count) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), begin = (first + page - 1) / page * page, end = (first + count) / page * page; /* whole pages of it */
  if (end > begin) madvise((void *)(uintptr_t)(map->bytes + begin), end - begin, MADV_DONTNEED);
}
