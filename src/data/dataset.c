#include "data/dataset.h"

#include <errno.h>
#include <hdf5.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/error.h"

const char *const split_names[SPLIT_COUNT] = {"train", "validation", "test"};

enum { SCHEMA_VERSION = 1, TEXT_LIMIT_BYTES = 1 << 16 };
static const char KIND[] = "peftscale dataset";

/* Deflate cannot make more than 1032 bytes of one: what a file claims to hold beyond that is not in it. */
enum { DEFLATE_LIMIT = 1040 };

typedef struct owned_dataset {
  dataset data; /* first: dataset_destroy gets from one to the other */
  arena *memory;
} owned_dataset;

typedef struct reader {
  const char *path;
  const char *place; /* "" or "split train: ", for messages */
  uint64_t file_bytes;
  hid_t file;
  arena *memory;
} reader;

#define HINT "prepare the data set again: python3 -m experiments.prepare --help"
#define REFUSE(r, format, ...) FAIL(ERROR_INPUT, HINT, "%s: %s" format, (r)->path, (r)->place, ##__VA_ARGS__)

/* ---- attributes -------------------------------------------------------------------------------------------------------------------------------- */

static int attribute_open(const reader *r, const char *name, hid_t *attribute) {
  if (H5Aexists(r->file, name) <= 0) return REFUSE(r, "the attribute '%s' is missing", name);
  *attribute = H5Aopen(r->file, name, H5P_DEFAULT);
  if (*attribute < 0) return REFUSE(r, "the attribute '%s' cannot be read: the file is damaged", name);
  hid_t space = H5Aget_space(*attribute);
  hssize_t count = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
  if (space >= 0) H5Sclose(space);
  if (count == 1) return ERROR_NONE;
  H5Aclose(*attribute);
  return REFUSE(r, "the attribute '%s' is not a single value", name);
}

static int attribute_int(const reader *r, const char *name, int64_t low, int64_t high, int *value) {
  hid_t attribute;
  TRY(attribute_open(r, name, &attribute));
  hid_t type = H5Aget_type(attribute);
  int64_t wide = 0;
  int is_integer = H5Tget_class(type) == H5T_INTEGER, is_read = is_integer && H5Aread(attribute, H5T_NATIVE_INT64, &wide) >= 0;
  H5Tclose(type);
  H5Aclose(attribute);
  if (!is_integer) return REFUSE(r, "the attribute '%s' is not a whole number", name);
  if (!is_read) return REFUSE(r, "the attribute '%s' cannot be read: the file is damaged", name);
  if (wide < low || wide > high)
    return REFUSE(r, "the attribute '%s' is %lld; it must be from %lld to %lld", name, (long long)wide, (long long)low, (long long)high);
  *value = (int)wide;
  return ERROR_NONE;
}

/* `type`: the file's. Fixed-length strings are what prepare writes; h5py's own default, variable length, is read too. */
static int attribute_read_text(const reader *r, hid_t attribute, hid_t type, const char *name, char **text) {
  if (H5Tget_class(type) != H5T_STRING) return REFUSE(r, "the attribute '%s' is not a text", name);
  int code = ERROR_NONE;
  if (H5Tis_variable_str(type) > 0) {
    char *held = NULL;
    if (H5Aread(attribute, type, &held) < 0) code = REFUSE(r, "the attribute '%s' cannot be read: the file is damaged", name);
    else code = arena_copy_text(r->memory, held ? held : "", text);
    if (held) H5free_memory(held);
  } else {
    size_t bytes = H5Tget_size(type);
    if (bytes > TEXT_LIMIT_BYTES) code = REFUSE(r, "the attribute '%s' is longer than %d bytes", name, (int)TEXT_LIMIT_BYTES);
    else if (!(code = arena_take(r->memory, bytes + 1, 1, text)) && H5Aread(attribute, type, *text) < 0)
      code = REFUSE(r, "the attribute '%s' cannot be read: the file is damaged", name); /* the byte behind a full-length text is zero already */
  }
  return code;
}

static int attribute_text(const reader *r, const char *name, char **text) {
  hid_t attribute;
  TRY(attribute_open(r, name, &attribute));
  hid_t type = H5Aget_type(attribute);
  int code = attribute_read_text(r, attribute, type, name, text);
  H5Tclose(type);
  H5Aclose(attribute);
  return code;
}

/* An attribute that must be one of a few words. */
static int attribute_word(const reader *r, const char *name, const char *const *words, char **text) {
  TRY(attribute_text(r, name, text));
  for (int i = 0; words[i]; i++)
    if (!strcmp(*text, words[i])) return ERROR_NONE;
  return REFUSE(r, "the attribute '%s' is '%s', which this program does not know", name, *text);
}

/* ---- arrays ------------------------------------------------------------------------------------------------------------------------------------ */

typedef enum element { ELEMENT_INT32, ELEMENT_INT64, ELEMENT_FLOAT32, ELEMENT_TEXT } element;
static const char *const element_names[] = {"int32", "int64", "float32", "fixed-length text"};

static int is_element(hid_t type, element wanted) {
  H5T_class_t class = H5Tget_class(type);
  switch (wanted) {
    case ELEMENT_INT32: return class == H5T_INTEGER && H5Tget_size(type) == 4 && H5Tget_sign(type) == H5T_SGN_2;
    case ELEMENT_INT64: return class == H5T_INTEGER && H5Tget_size(type) == 8 && H5Tget_sign(type) == H5T_SGN_2;
    case ELEMENT_FLOAT32: return class == H5T_FLOAT && H5Tget_size(type) == 4;
    case ELEMENT_TEXT: return class == H5T_STRING && H5Tis_variable_str(type) <= 0;
  }
  return 0;
}

/* The type in memory; `bytes` is the size of a text with its zero byte. */
static hid_t native_type(hid_t stored, element kind, size_t bytes) {
  if (kind == ELEMENT_INT32) return H5Tcopy(H5T_NATIVE_INT32);
  if (kind == ELEMENT_INT64) return H5Tcopy(H5T_NATIVE_INT64);
  if (kind == ELEMENT_FLOAT32) return H5Tcopy(H5T_NATIVE_FLOAT);
  hid_t text = H5Tcopy(stored); /* keeps the character set */
  if (text >= 0 && H5Tset_size(text, bytes) >= 0 && H5Tset_strpad(text, H5T_STR_NULLTERM) >= 0) return text;
  if (text >= 0) H5Tclose(text);
  return -1;
}

/* An extent is only a claim: compares it with the bytes that the file really holds, so that a small file cannot ask for a large memory. */
static int array_check_storage(const reader *r, hid_t set, hid_t list, const char *name, uint64_t count, uint64_t size) {
  uint64_t stored = H5Dget_storage_size(set), expansion = 1, chunk_rows = 0;
  H5D_layout_t layout = H5Pget_layout(list);
  if (layout == H5D_VIRTUAL || H5Pget_external_count(list) > 0) return REFUSE(r, "'%s' keeps its numbers in another file", name);
  if (layout == H5D_CHUNKED) {
    hsize_t chunk = 0;
    if (H5Pget_chunk(list, 1, &chunk) != 1) return REFUSE(r, "'%s' is damaged", name);
    chunk_rows = chunk;
  }
  int filters = H5Pget_nfilters(list);
  for (int i = 0; i < filters; i++) {
    size_t values = 0;
    unsigned flags, config;
    H5Z_filter_t filter = H5Pget_filter2(list, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
    if (filter == H5Z_FILTER_DEFLATE && expansion == 1) expansion = DEFLATE_LIMIT;
    else if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
      return REFUSE(r, "'%s' uses HDF5 filter %d; only gzip (once), shuffle and fletcher32 are read", name, (int)filter);
  }
  if (stored > r->file_bytes)
    return REFUSE(r, "'%s' claims %llu stored bytes in a file of %llu", name, (unsigned long long)stored, (unsigned long long)r->file_bytes);
  uint64_t rows = count > chunk_rows ? count : chunk_rows; /* a chunk is unpacked whole */
  if (rows > stored * expansion / size)                    /* file sizes are far below 2^64 / DEFLATE_LIMIT */
    return REFUSE(r, "'%s' claims %llu rows but only %llu bytes are stored", name, (unsigned long long)count, (unsigned long long)stored);
  return ERROR_NONE;
}

typedef struct array {
  hid_t set, type, space, list, native; /* type: the file's; native: the memory's */
} array;

static void array_close(array *a) {
  if (a->native >= 0) H5Tclose(a->native);
  if (a->list >= 0) H5Pclose(a->list);
  if (a->space >= 0) H5Sclose(a->space);
  if (a->type >= 0) H5Tclose(a->type);
  if (a->set >= 0) H5Dclose(a->set);
}

/* A link to another file is refused: what the trainer reads must be what the content hash covers. */
static int link_check(const reader *r, hid_t group, const char *name, const char *kind) {
  H5L_info_t info;
  if (H5Lexists(group, name, H5P_DEFAULT) <= 0) return REFUSE(r, "the %s '%s' is missing", kind, name);
  if (H5Lget_info(group, name, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) return REFUSE(r, "the %s '%s' is a link to elsewhere", kind, name);
  return ERROR_NONE;
}

/* Opens, checks and reads a one-dimensional array. `expected`: its rows, or -1 for any. Texts come one after the other, each with a zero byte; *width is
 * their distance. */
static int array_take(const reader *r, array *a, hid_t group, const char *name, element kind, int64_t expected, int64_t *count, size_t *width, void *result) {
  TRY(link_check(r, group, name, "data set"));
  if ((a->set = H5Dopen2(group, name, H5P_DEFAULT)) < 0) return REFUSE(r, "'%s' is not a data set, or damaged", name);
  a->type = H5Dget_type(a->set);
  a->space = H5Dget_space(a->set);
  a->list = H5Dget_create_plist(a->set);
  if (a->type < 0 || a->space < 0 || a->list < 0) return REFUSE(r, "'%s' is damaged", name);
  if (!is_element(a->type, kind)) return REFUSE(r, "'%s' is not of type %s", name, element_names[kind]);
  if (H5Sget_simple_extent_ndims(a->space) != 1) return REFUSE(r, "'%s' is not one-dimensional", name);
  hsize_t rows = 0;
  H5Sget_simple_extent_dims(a->space, &rows, NULL);
  if (rows > INT64_MAX) return REFUSE(r, "'%s' claims too many rows", name);
  if (expected >= 0 && (int64_t)rows != expected) return REFUSE(r, "'%s' has %lld rows where %lld belong", name, (long long)rows, (long long)expected);
  size_t size = H5Tget_size(a->type), step = size;
  if (rows > 0) TRY(array_check_storage(r, a->set, a->list, name, rows, size));
  if (kind == ELEMENT_TEXT) step++;
  if ((a->native = native_type(a->type, kind, step)) < 0) return REFUSE(r, "'%s' has a type that cannot be converted", name);
  void *values;
  TRY(arena_take(r->memory, rows, step, &values));
  if (rows > 0 && H5Dread(a->set, a->native, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) return REFUSE(r, "'%s' cannot be read: the file is damaged", name);
  *(void **)result = values;
  *count = (int64_t)rows;
  if (width) *width = step;
  return ERROR_NONE;
}

static int array_read(const reader *r, hid_t group, const char *name, element kind, int64_t expected, int64_t *count, size_t *width, void *result) {
  array a = {-1, -1, -1, -1, -1};
  int code = array_take(r, &a, group, name, kind, expected, count, width, result);
  array_close(&a);
  return code;
}

/* ---- meaning ----------------------------------------------------------------------------------------------------------------------------------- */

static int check_offsets(const reader *r, const split *s, int64_t tokens, int *longest) {
  if (s->offset[0] != 0) return REFUSE(r, "offsets begin at %lld, not at 0", (long long)s->offset[0]);
  for (int64_t i = 0; i < s->count; i++) {
    int64_t begin = s->offset[i], end = s->offset[i + 1];
    if (end < begin) return REFUSE(r, "row %lld: offsets are not ascending (%lld, %lld)", (long long)i, (long long)begin, (long long)end);
    if (end > tokens) return REFUSE(r, "row %lld ends at token %lld, but there are %lld", (long long)i, (long long)end, (long long)tokens);
    if (end == begin) return REFUSE(r, "row %lld has no tokens", (long long)i);
    if (end - begin > INT32_MAX) return REFUSE(r, "row %lld has %lld tokens", (long long)i, (long long)(end - begin));
    if (end - begin > *longest) *longest = (int)(end - begin);
  }
  if (s->offset[s->count] != tokens) return REFUSE(r, "offsets end at %lld, but there are %lld tokens", (long long)s->offset[s->count], (long long)tokens);
  return ERROR_NONE;
}

static int check_label(const reader *r, const dataset *d, int64_t row, float label) {
  if (strcmp(d->objective, "classify")) return isfinite(label) ? ERROR_NONE : REFUSE(r, "row %lld: the score is not finite", (long long)row);
  if (label >= 0 && label < (float)d->class_count && label == floorf(label)) return ERROR_NONE;
  return REFUSE(r, "row %lld: the label %g is no class number from 0 to %d", (long long)row, (double)label, d->class_count - 1);
}

static int check_rows(const reader *r, const dataset *d, const split *s) {
  for (int64_t i = 0; i < s->count; i++) {
    int64_t length = s->offset[i + 1] - s->offset[i];
    const int32_t *token = s->token + s->offset[i];
    for (int64_t t = 0; t < length; t++)
      if (token[t] < 0 || token[t] >= d->vocabulary)
        return REFUSE(r, "row %lld: token %lld is %d, outside the vocabulary of %d", (long long)i, (long long)t, token[t], d->vocabulary);
    if (s->segment_start[i] < 0 || s->segment_start[i] > length)
      return REFUSE(r, "row %lld: segment_start %d is outside its %lld tokens", (long long)i, s->segment_start[i], (long long)length);
    if (s->target_start[i] < 0 || s->target_start[i] > length)
      return REFUSE(r, "row %lld: target_start %d is outside its %lld tokens", (long long)i, s->target_start[i], (long long)length);
    if (s->example[i] < 0) return REFUSE(r, "row %lld: the example id is negative", (long long)i);
    TRY(check_label(r, d, i, s->label[i]));
  }
  return ERROR_NONE;
}

static int split_read(const reader *r, hid_t group, dataset *d, split *s) {
  int64_t tokens, same;
  TRY(array_read(r, group, "label", ELEMENT_FLOAT32, -1, &s->count, NULL, &s->label));
  TRY(array_read(r, group, "offsets", ELEMENT_INT64, s->count + 1, &same, NULL, &s->offset));
  TRY(array_read(r, group, "tokens", ELEMENT_INT32, -1, &tokens, NULL, &s->token));
  TRY(array_read(r, group, "segment_start", ELEMENT_INT32, s->count, &same, NULL, &s->segment_start));
  TRY(array_read(r, group, "target_start", ELEMENT_INT32, s->count, &same, NULL, &s->target_start));
  TRY(array_read(r, group, "example_id", ELEMENT_INT64, s->count, &same, NULL, &s->example));
  if (s == &d->splits[SPLIT_TRAIN] && s->count == 0) return REFUSE(r, "the data set has no training examples");
  TRY(check_offsets(r, s, tokens, &d->longest));
  return check_rows(r, d, s);
}

static int split_open(reader *r, dataset *d, split_name which) {
  static const char *const places[SPLIT_COUNT] = {"split train: ", "split validation: ", "split test: "};
  TRY(link_check(r, r->file, split_names[which], "split"));
  hid_t group = H5Gopen2(r->file, split_names[which], H5P_DEFAULT);
  if (group < 0) return REFUSE(r, "'%s' is not a group, or damaged", split_names[which]);
  r->place = places[which];
  int code = split_read(r, group, d, &d->splits[which]);
  r->place = "";
  H5Gclose(group);
  return code;
}

static int class_names_read(const reader *r, dataset *d) {
  int64_t count;
  size_t width;
  char *texts;
  TRY(array_read(r, r->file, "class_names", ELEMENT_TEXT, d->class_count, &count, &width, &texts));
  TRY(arena_take(r->memory, (size_t)count, sizeof *d->class_names, &d->class_names));
  for (int64_t i = 0; i < count; i++) d->class_names[i] = texts + (size_t)i * width;
  return ERROR_NONE;
}

static int header_read(const reader *r, dataset *d) {
  static const char *const objectives[] = {"classify", "regress", "mlm", NULL};
  static const char *const metrics[] = {"accuracy", "f1", "matthews", "pearson", "spearman", "loss", NULL};
  char *kind;
  int version;
  if (H5Aexists(r->file, "kind") <= 0) return REFUSE(r, "an HDF5 file, but not a prepared data set (it has no attribute 'kind')");
  TRY(attribute_text(r, "kind", &kind));
  if (strcmp(kind, KIND)) return REFUSE(r, "not a prepared data set but '%s'", kind);
  TRY(attribute_int(r, "schema_version", 1, INT_MAX, &version));
  if (version > SCHEMA_VERSION)
    return FAIL(ERROR_INPUT, "use a newer peftscale, or prepare the data set with this one", "%s: schema version %d is newer than this program's (%d)", r->path,
                version, (int)SCHEMA_VERSION);
  TRY(attribute_text(r, "name", &d->name));
  TRY(attribute_word(r, "objective", objectives, &d->objective));
  TRY(attribute_word(r, "metric", metrics, &d->metric));
  int is_classify = !strcmp(d->objective, "classify");
  TRY(attribute_int(r, "class_count", is_classify ? 2 : 1, is_classify ? 1 << 24 : 1, &d->class_count)); /* float32 labels are exact to 2^24 */
  TRY(attribute_int(r, "vocabulary_size", 1, INT_MAX, &d->vocabulary));
  TRY(attribute_int(r, "first_word", 0, d->vocabulary, &d->first_word));
  TRY(attribute_int(r, "mask_token", -1, d->vocabulary - 1, &d->mask_token));
  TRY(attribute_text(r, "tokenizer", &d->tokenizer));
  TRY(attribute_text(r, "tokenizer_hash", &d->tokenizer_hash));
  return class_names_read(r, d);
}

/* ---- opening ----------------------------------------------------------------------------------------------------------------------------------- */

static int contents_read(reader *r, dataset *d) {
  TRY(header_read(r, d));
  for (int which = 0; which < SPLIT_COUNT; which++) TRY(split_open(r, d, which));
  return ERROR_NONE;
}

static int file_read_all(reader *r, dataset *d) {
  struct stat status;
  if (stat(r->path, &status)) return FAIL(ERROR_INPUT, errno == ENOENT ? HINT : NULL, "%s: cannot open: %s", r->path, strerror(errno));
  if (!S_ISREG(status.st_mode)) return FAIL(ERROR_INPUT, NULL, "%s: not a file", r->path);
  r->file_bytes = (uint64_t)status.st_size;
  TRY(hash_file(r->path, d->hash)); /* also finds out whether it can be read, with the system's reason */
  if (H5Fis_hdf5(r->path) <= 0) return REFUSE(r, "not an HDF5 file");
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, 0, 1); /* nobody writes it, and network file systems may refuse locks */
  r->file = H5Fopen(r->path, H5F_ACC_RDONLY, access);
  H5Pclose(access);
  if (r->file < 0) return REFUSE(r, "the HDF5 file is damaged or cut off");
  int code = contents_read(r, d);
  H5Fclose(r->file);
  return code;
}

static int quietly_read(reader *r, dataset *d) {
  H5E_auto2_t print;
  void *data;
  H5Eget_auto2(H5E_DEFAULT, &print, &data); /* HDF5 would print every failed call by itself */
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  int code = file_read_all(r, d);
  H5Eset_auto2(H5E_DEFAULT, print, data);
  return code;
}

int dataset_open(const char *path, dataset **result) {
  *result = NULL;
  arena *memory;
  owned_dataset *owned;
  TRY(arena_create(&memory));
  reader r = {.path = path, .place = "", .file = -1, .memory = memory};
  int code = arena_take(memory, 1, sizeof *owned, &owned);
  if (!code) code = arena_copy_text(memory, path, &owned->data.path);
  if (!code) code = quietly_read(&r, &owned->data);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  owned->memory = memory;
  *result = &owned->data;
  return ERROR_NONE;
}

void dataset_destroy(dataset *d) {
  if (d) arena_destroy(((owned_dataset *)d)->memory);
}

void dataset_mark_tokens(const dataset *d, uint8_t *seen) {
  for (int k = 0; k < SPLIT_COUNT; k++)
    for (int64_t i = 0, count = d->splits[k].offset[d->splits[k].count]; i < count; i++) seen[d->splits[k].token[i]] = 1;
}
