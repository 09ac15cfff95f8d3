#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "store/runfile_private.h"

enum { SIGNATURE_BYTES = 8, REASON_BYTES = 320 };

/* Superblock of HDF5 1.10 (version 3): byte 8 its version, byte 11 who has the file open. */
enum { VERSION_BYTE = 8, FLAGS_BYTE = 11, SUPERBLOCK_BYTES = 48, SUPERBLOCK_VERSION = 3, FLAG_WRITER = 1, FLAG_SWMR_WRITER = 4 };

/* A SWMR reader that meets a half-written piece of metadata waits 1 ns, 2 ns, 4 ns ... and tries again. HDF5's 100 tries are for ever when the file is simply
 * cut off; 24 give a live writer 30 ms. */
enum { READ_TRIES = 24 };

void runfile_silence(void) { H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

/* "file write failed: time = ..., filename = ..., errno = 28, error message = 'No space left on device', ..." becomes what people want of it. */
static herr_t take_innermost(unsigned number, const H5E_error2_t *e, void *text) {
  if (number || !e->desc) return 0;
  const char *message = strstr(e->desc, "error message = '"), *colon = strchr(e->desc, ':');
  if (message && colon && colon < message) {
    message += strlen("error message = '");
    snprintf(text, REASON_BYTES, "%.*s: %.*s", (int)(colon - e->desc), e->desc, (int)strcspn(message, "'"), message);
  } else {
    snprintf(text, REASON_BYTES, "%s", e->desc);
  }
  return 0;
}

const char *runfile_reason(void) {
  static _Thread_local char text[REASON_BYTES];
  *text = 0;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, text);
  return *text ? text : "HDF5 gave no reason";
}

const char *runfile_hint(const char *reason) {
  if (strstr(reason, "No space left") || strstr(reason, "quota")) return "free some space, or choose another output directory (output.dir, --out)";
  if (strstr(reason, "lock"))
    return "set HDF5_USE_FILE_LOCKING=FALSE if the file system cannot lock files, or choose another output directory (output.dir, --out)";
  if (strstr(reason, "Permission denied") || strstr(reason, "Read-only")) return "choose an output directory that you may write to (output.dir, --out)";
  return NULL;
}

int runfile_close_handle(hid_t handle) { return handle < 0 ? 0 : H5Idec_ref(handle); }

hid_t runfile_access(void) {
  hid_t list = H5Pcreate(H5P_FILE_ACCESS);
  if (list < 0) return list;
  if (H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 || H5Pset_file_locking(list, 0, 1) < 0) {
    H5Pclose(list);
    return H5I_INVALID_HID;
  }
  return list;
}

hid_t runfile_links(void) {
  static hid_t list = H5I_INVALID_HID;
  if (list < 0 && (list = H5Pcreate(H5P_LINK_CREATE)) >= 0) H5Pset_create_intermediate_group(list, 1);
  return list;
}

hid_t runfile_text_type(size_t bytes, H5T_str_t padding) {
  hid_t type = H5Tcopy(H5T_C_S1);
  if (type >= 0 && (H5Tset_size(type, bytes) < 0 || H5Tset_strpad(type, padding) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
    H5Tclose(type);
    return H5I_INVALID_HID;
  }
  return type;
}

/* HDF5 wants every step of a path looked up by itself. */
int runfile_exists(hid_t file, const char *where) {
  char path[RUNFILE_PATH_BYTES];
  while (*where == '/') where++;
  size_t length = strlen(where);
  if (!length) return 1;
  if (length >= sizeof path) return 0;
  memcpy(path, where, length + 1);
  for (size_t i = 1; i <= length; i++) {
    if (i < length && path[i] != '/') continue;
    char kept = path[i];
    path[i] = 0;
    if (H5Lexists(file, path, H5P_DEFAULT) <= 0) return 0;
    path[i] = kept;
  }
  return H5Oexists_by_name(file, path, H5P_DEFAULT) > 0;
}

/* --- attributes --- */

static hid_t open_or_make(hid_t file, const char *where) {
  while (*where == '/') where++;
  if (!*where) return H5Gopen2(file, "/", H5P_DEFAULT);
  if (runfile_exists(file, where)) return H5Oopen(file, where, H5P_DEFAULT);
  return H5Gcreate2(file, where, runfile_links(), H5P_DEFAULT, H5P_DEFAULT);
}

int runfile_write_attribute(const char *path, hid_t file, const attribute *a) {
  hid_t object = open_or_make(file, a->where), file_type = H5I_INVALID_HID, space = H5I_INVALID_HID, handle = H5I_INVALID_HID;
  int code = ERROR_NONE;
  if (object >= 0) space = H5Screate(H5S_SCALAR);
  if (space >= 0) {
    if (a->type == ATTRIBUTE_TEXT) file_type = runfile_text_type(strlen(a->text) + 1, H5T_STR_NULLTERM);
    else file_type = H5Tcopy(a->type == ATTRIBUTE_INT ? H5T_STD_I64LE : H5T_IEEE_F64LE);
  }
  if (file_type >= 0 && H5Aexists(object, a->name) > 0 && H5Adelete(object, a->name) < 0) {
    H5Tclose(file_type);
    file_type = H5I_INVALID_HID;
  }
  if (file_type >= 0) handle = H5Acreate2(object, a->name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t written = -1;
  if (handle >= 0 && a->type == ATTRIBUTE_TEXT) written = H5Awrite(handle, file_type, a->text);
  else if (handle >= 0 && a->type == ATTRIBUTE_INT) written = H5Awrite(handle, H5T_NATIVE_INT64, &a->whole);
  else if (handle >= 0) written = H5Awrite(handle, H5T_NATIVE_DOUBLE, &a->real);
  if (written < 0) {
    const char *reason = runfile_reason();
    code = FAIL(ERROR_SYSTEM, runfile_hint(reason), "%s: /%s: cannot write attribute '%s': %s", path, a->where, a->name, reason);
  }
  const hid_t handles[] = {handle, file_type, space, object};
  for (int i = 0; i < 4; i++) runfile_close_handle(handles[i]);
  return code;
}

/* --- opening for reading --- */

/* *flags: of the superblock, 0 for a file of an older kind (then not ours, which HDF5 and check_kind will tell). */
static int check_signature(const char *path, int *flags) {
  static const unsigned char wanted[SIGNATURE_BYTES] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  unsigned char found[SUPERBLOCK_BYTES];
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return FAIL(ERROR_INPUT, errno == ENOENT ? "check the path; a run that has not ended is in NAME.h5.partial" : NULL, "%s: cannot open: %s", path,
                strerror(errno));
  ssize_t count = read(descriptor, found, sizeof found);
  int reason = errno;
  close(descriptor);
  if (count < 0) return FAIL(ERROR_INPUT, NULL, "%s: cannot read: %s", path, strerror(reason));
  if (count < SIGNATURE_BYTES || memcmp(found, wanted, sizeof wanted)) return FAIL(ERROR_INPUT, NULL, "%s: is not an HDF5 file, so not a run file", path);
  if (count < SUPERBLOCK_BYTES) return FAIL(ERROR_INPUT, "copy it again", "%s: has only %zd bytes; it is truncated", path, count);
  *flags = found[VERSION_BYTE] == SUPERBLOCK_VERSION ? found[FLAGS_BYTE] : 0;
  return ERROR_NONE;
}

static int read_int(hid_t file, const char *name, int64_t *value) {
  hid_t handle = H5Aopen(file, name, H5P_DEFAULT);
  if (handle < 0) return 0;
  hid_t type = H5Aget_type(handle), space = H5Aget_space(handle);
  int right = H5Tget_class(type) == H5T_INTEGER && H5Sget_simple_extent_npoints(space) == 1 && H5Aread(handle, H5T_NATIVE_INT64, value) >= 0;
  runfile_close_handle(space);
  runfile_close_handle(type);
  H5Aclose(handle);
  return right;
}

static int is_run(hid_t file) {
  char kind[64] = "";
  hid_t handle = H5Aopen(file, "kind", H5P_DEFAULT);
  if (handle < 0) return 0;
  hid_t type = H5Aget_type(handle), space = H5Aget_space(handle);
  int right = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && H5Tget_size(type) < sizeof kind &&
              H5Sget_simple_extent_npoints(space) == 1 && H5Aread(handle, type, kind) >= 0 && !strcmp(kind, RUNFILE_KIND);
  runfile_close_handle(space);
  runfile_close_handle(type);
  H5Aclose(handle);
  return right;
}

static int check_kind(const char *path, hid_t file) {
  int64_t version = 0;
  if (!is_run(file) || !read_int(file, "schema_version", &version) || version < 1)
    return FAIL(ERROR_INPUT, NULL, "%s: is an HDF5 file, but not a run file of peftscale", path);
  if (version > RUNFILE_SCHEMA_VERSION)
    return FAIL(ERROR_INPUT, "use a newer peftscale", "%s: has schema version %lld; this program reads versions up to %d", path, (long long)version,
                RUNFILE_SCHEMA_VERSION);
  return ERROR_NONE;
}

int runfile_open(const char *path, hid_t *file) {
  int flags = 0;
  *file = H5I_INVALID_HID;
  runfile_silence();
  TRY(check_signature(path, &flags));
  if ((flags & FLAG_WRITER) && !(flags & FLAG_SWMR_WRITER))
    return FAIL(ERROR_INPUT, "if no program has it open, try h5clear -s on a copy", "%s: is open for writing, or its writer was killed", path);
  hid_t access = runfile_access();
  if (access < 0 || H5Pset_metadata_read_attempts(access, READ_TRIES) < 0) {
    int code = FAIL(ERROR_SYSTEM, NULL, "%s: HDF5 cannot open files: %s", path, runfile_reason());
    runfile_close_handle(access);
    return code;
  }
  /* A live file, and one whose writer was killed, open for a SWMR reader only. */
  hid_t handle = H5Fopen(path, flags & FLAG_SWMR_WRITER ? H5F_ACC_RDONLY | H5F_ACC_SWMR_READ : H5F_ACC_RDONLY, access);
  char reason[REASON_BYTES];
  if (handle < 0) snprintf(reason, sizeof reason, "%s", runfile_reason());
  H5Pclose(access);
  if (handle < 0) return FAIL(ERROR_INPUT, runfile_hint(reason), "%s: cannot be opened, it may be truncated or damaged: %s", path, reason);
  int code = check_kind(path, handle);
  if (code) H5Fclose(handle);
  else *file = handle;
  return code;
}

int runfile_can_hold(hid_t file, hid_t data, hid_t type, uint64_t elements) {
  enum { MOST_PACKED = 1100 }; /* deflate reaches 1032 */
  hsize_t bytes = 0;
  size_t width = H5Tget_size(type);
  hid_t creation = H5Dget_create_plist(data);
  int filters = creation < 0 ? 0 : H5Pget_nfilters(creation);
  runfile_close_handle(creation);
  if (!width || H5Fget_filesize(file, &bytes) < 0) return -1;
  return elements <= (filters > 0 ? bytes * MOST_PACKED : bytes) / width;
}
