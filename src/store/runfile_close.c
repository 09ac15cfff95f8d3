#define _GNU_SOURCE /* memfd_create, dup3 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "store/file.h"
#include "store/runfile_private.h"

void runfile_destroy(runfile *r) {
  for (int i = 0; i < r->note_count; i++) {
    free(r->notes[i].where);
    free(r->notes[i].name);
    free(r->notes[i].text);
  }
  for (int i = 0; i < r->series_count; i++) free(r->series[i].where);
  free(r->notes);
  free(r->series);
  runfile_lock_release(&r->lock);
  free(r);
}

/* HDF5 (1.10) cannot close a file whose last writes fail, and crashes at exit when it is left open. So it gets a copy in memory to write the rest to; the file
 * on the disk stays as the last good flush left it, readable like that of a killed writer. Where even this fails the crash is HDF5's. */
static void detach(runfile *r) {
  enum { BLOCK = 1 << 16 };
  void *handle = NULL;
  if (r->file < 0 || H5Fget_vfd_handle(r->file, H5P_DEFAULT, &handle) < 0 || !handle) return;
  int descriptor = *(int *)handle, scratch = memfd_create("peftscale-run", MFD_CLOEXEC), failed = scratch < 0;
  char *block = malloc(BLOCK);
  ssize_t count = 0;
  for (off_t place = 0; block && !failed && (count = pread(descriptor, block, BLOCK, place)) > 0; place += count)
    failed = write(scratch, block, (size_t)count) != count;
  if (block && !failed && count == 0) (void)dup3(scratch, descriptor, O_CLOEXEC);
  if (scratch >= 0) close(scratch);
  free(block);
}

int runfile_close_file(runfile *r) {
  char reason[320] = "an earlier write failed";
  if (r->file >= 0 && !r->broken && H5Fflush(r->file, H5F_SCOPE_GLOBAL) < 0) {
    snprintf(reason, sizeof reason, "%s", runfile_reason());
    r->broken = 1;
  }
  if (r->broken) detach(r);
  int failed = r->broken;
  for (int i = 0; i < r->series_count; i++) {
    if (runfile_close_handle(r->series[i].data) < 0 && !failed++) snprintf(reason, sizeof reason, "%s", runfile_reason());
    runfile_close_handle(r->series[i].type);
    r->series[i].data = r->series[i].type = H5I_INVALID_HID;
  }
  if (r->file >= 0 && H5Fclose(r->file) < 0 && !failed++) snprintf(reason, sizeof reason, "%s", runfile_reason());
  r->file = H5I_INVALID_HID;
  if (failed) return FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: cannot be closed: %s", r->partial, reason);
  return ERROR_NONE;
}

int runfile_rename(const char *from, const char *to) {
  if (rename(from, to)) return FAIL(ERROR_SYSTEM, NULL, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
  return ERROR_NONE;
}

/* --- what is only known at the end --- */

static int note(runfile *r, const char *where, const char *name, attribute a) {
  attribute *grown = realloc(r->notes, (size_t)(r->note_count + 1) * sizeof *grown);
  if (grown) r->notes = grown;
  a.where = strdup(where);
  a.name = strdup(name);
  if (a.type == ATTRIBUTE_TEXT) a.text = strdup(a.text);
  if (!grown || !a.where || !a.name || (a.type == ATTRIBUTE_TEXT && !a.text)) {
    free(a.where);
    free(a.name);
    free(a.type == ATTRIBUTE_TEXT ? a.text : NULL);
    return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", r->partial);
  }
  r->notes[r->note_count++] = a;
  return ERROR_NONE;
}

int runfile_note_text(runfile *r, const char *where, const char *name, const char *value) {
  return note(r, where, name, (attribute){.type = ATTRIBUTE_TEXT, .text = (char *)value});
}

int runfile_note_int(runfile *r, const char *where, const char *name, int64_t value) {
  return note(r, where, name, (attribute){.type = ATTRIBUTE_INT, .whole = value});
}

int runfile_note_double(runfile *r, const char *where, const char *name, double value) {
  return note(r, where, name, (attribute){.type = ATTRIBUTE_DOUBLE, .real = value});
}

/* --- the end --- */

static int write_notes(const runfile *r, const char *path, const char *status) {
  hid_t list = runfile_access(), file = list < 0 ? H5I_INVALID_HID : H5Fopen(path, H5F_ACC_RDWR, list);
  if (file < 0) {
    const char *reason = runfile_reason();
    int code = FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: cannot be opened for its closing attributes: %s", path, reason);
    runfile_close_handle(list);
    return code;
  }
  H5Pclose(list);
  int code = ERROR_NONE;
  for (int i = 0; !code && i < r->note_count; i++) code = runfile_write_attribute(path, file, &r->notes[i]);
  /* Last, so that a file that says "complete" has the rest. */
  if (!code) code = runfile_write_attribute(path, file, &(attribute){.where = "", .name = "status", .type = ATTRIBUTE_TEXT, .text = (char *)status});
  if (H5Fclose(file) < 0 && !code) {
    const char *reason = runfile_reason();
    code = FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: cannot be closed: %s", path, reason);
  }
  return code;
}

/* Attributes cannot be written in SWMR mode, and a plain writer that is killed may leave a file that never opens again. So they go into a copy, which takes
 * its final name when it is whole. */
static int close_as(runfile *r, const char *current, const char *final, const char *status) {
  file_map map;
  TRY(file_map_open(current, &map));
  int code = file_write_atomic(r->closing, map.bytes, map.count);
  file_map_close(&map);
  if (!code) code = write_notes(r, r->closing, status);
  if (!code) code = file_sync(r->closing);
  if (!code) code = runfile_rename(r->closing, final);
  if (code) {
    unlink(r->closing);
    return code;
  }
  return file_sync_directory_of(final);
}

int runfile_finish(runfile *r) {
  const char *current = r->started ? r->partial : r->fresh;
  int code = runfile_close_file(r);
  if (!code) code = close_as(r, current, r->path, "complete");
  if (!code) {
    unlink(r->partial);
    unlink(r->fresh);
  }
  runfile_destroy(r);
  return code;
}

void runfile_abandon(runfile *r, const char *reason) {
  if (!r) return;
  error kept = *error_last(); /* usually why the run ends: not to be replaced by a smaller trouble */
  int code = runfile_close_file(r);
  if (r->started) {
    if (!code) (void)close_as(r, r->partial, r->partial, reason);
  } else {
    if (!code && access(r->partial, F_OK)) (void)close_as(r, r->fresh, r->partial, reason);
    unlink(r->fresh);
  }
  runfile_destroy(r);
  error_restore(&kept);
}
