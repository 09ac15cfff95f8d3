#include "store/safetensors.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "store/safetensors_private.h"

enum { PREFIX_BYTES = 8, PATH_BYTES = 4096, MAX_HEADER_BYTES = 100 * 1000 * 1000, HASH_BLOCK = 1 << 20 };

#define HINT_AGAIN "copy or download the file again"

static const struct {
  const char *name;
  int bytes;
  safetensors_type type;
} types[] = {
    {"F32", 4, TENSOR_F32}, {"F16", 2, TENSOR_F16}, {"BF16", 2, TENSOR_BF16},  {"F64", 8, TENSOR_OTHER},     {"I64", 8, TENSOR_I64},
    {"I32", 4, TENSOR_I32}, {"I16", 2, TENSOR_I16}, {"I8", 1, TENSOR_I8},      {"U64", 8, TENSOR_OTHER},     {"U32", 4, TENSOR_U32},
    {"U16", 2, TENSOR_U16}, {"U8", 1, TENSOR_U8},   {"BOOL", 1, TENSOR_OTHER}, {"F8_E4M3", 1, TENSOR_OTHER}, {"F8_E5M2", 1, TENSOR_OTHER},
};
enum { TYPE_COUNT = sizeof types / sizeof *types };

static int find_type(const char *text) {
  for (int i = 0; i < TYPE_COUNT; i++)
    if (!strcmp(types[i].name, text)) return i;
  return -1;
}

int safetensors_type_bytes(const char *type_text) {
  int i = find_type(type_text);
  return i < 0 ? 0 : types[i].bytes;
}

const char *safetensors_type_name(safetensors_type type) {
  for (int i = 0; i < TYPE_COUNT && type != TENSOR_OTHER; i++)
    if (types[i].type == type) return types[i].name;
  return NULL;
}

const char *safetensors_printable(const char *name) {
  static _Thread_local char text[2][128];
  static _Thread_local int turn;
  turn = !turn;
  char *out = text[turn];
  size_t i = 0, room = sizeof text[0] - 4;
  for (; name[i] && i < room; i++) out[i] = (unsigned char)name[i] < ' ' || name[i] == 127 ? '?' : name[i];
  strcpy(out + i, name[i] ? "..." : "");
  return out;
}

/* JSON numbers are doubles: whole up to 2^53, which is far beyond any file. */
static int whole_number(const cJSON *value, int64_t *number) {
  if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0 && value->valuedouble <= 9007199254740992.0)) return 0;
  *number = (int64_t)value->valuedouble;
  return (double)*number == value->valuedouble;
}

/* --- one tensor of a header --- */

static int parse_entry(const safetensors_part *part, arena *memory, const cJSON *node, safetensors_item *item) {
  const char *path = part->path, *name = safetensors_printable(node->string);
  safetensors_entry *e = &item->entry;
  item->part = part;
  if (!cJSON_IsObject(node)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': its description is no object", path, name);
  const cJSON *type = cJSON_GetObjectItemCaseSensitive(node, "dtype"), *shape = cJSON_GetObjectItemCaseSensitive(node, "shape");
  const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(node, "data_offsets");
  if (!cJSON_IsString(type)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': dtype is missing or no text", path, name);
  if (!cJSON_IsArray(shape)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': shape is missing or no list", path, name);

  int known = find_type(type->valuestring);
  e->count = 1;
  const cJSON *value;
  cJSON_ArrayForEach(value, shape) {
    int64_t extent;
    if (e->dims == SAFETENSORS_MAX_DIMS) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': has more than %d dimensions", path, name, SAFETENSORS_MAX_DIMS);
    if (!whole_number(value, &extent))
      return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': dimension %d of its shape is no whole number of 0 or more", path, name, e->dims + 1);
    if (__builtin_mul_overflow(e->count, extent, &e->count) || e->count > INT64_MAX / 8)
      return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': its shape has more elements than a file can hold (overflow)", path, name);
    e->shape[e->dims++] = extent;
  }

  int64_t begin = 0, end = 0;
  const cJSON *first = cJSON_IsArray(offsets) ? offsets->child : NULL, *second = first ? first->next : NULL;
  if (!second || second->next || !whole_number(first, &begin) || !whole_number(second, &end))
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': data_offsets is not a list of two whole numbers", path, name);
  if (begin > end)
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': its data end (%lld) before they begin (%lld)", path, name, (long long)end, (long long)begin);
  if (known >= 0 && end - begin != e->count * types[known].bytes)
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': its shape of %lld elements of %s needs %lld bytes, but data_offsets give it %lld", path, name,
                (long long)e->count, types[known].name, (long long)(e->count * types[known].bytes), (long long)(end - begin));
  if ((uint64_t)end > part->data_bytes)
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': bytes %lld..%lld lie beyond the end of the file (%llu bytes of data); the file is truncated", path,
                name, (long long)begin, (long long)end, (unsigned long long)part->data_bytes);
  item->begin = (uint64_t)begin;
  item->end = (uint64_t)end;
  e->type = known < 0 ? TENSOR_OTHER : types[known].type;
  char *copy;
  TRY(arena_copy_text(memory, node->string, &copy));
  e->name = copy;
  TRY(arena_copy_text(memory, type->valuestring, &copy));
  e->type_text = copy;
  return ERROR_NONE;
}

/* --- one file --- */

static int compare_data(const void *a, const void *b) {
  const safetensors_item *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1; /* empty tensors before the one that begins at the same byte */
  return strcmp(x->entry.name, y->entry.name);
}

static int compare_names(const void *a, const void *b) {
  return strcmp((*(const safetensors_item *const *)a)->entry.name, (*(const safetensors_item *const *)b)->entry.name);
}

/* The format wants the data to be covered exactly once: an overlap or a gap means that header and data do not belong together. */
static int check_coverage(const safetensors_part *part, safetensors_item *items, int count) {
  qsort(items, (size_t)count, sizeof *items, compare_data);
  uint64_t reached = 0;
  for (int i = 0; i < count; i++) {
    const char *name = safetensors_printable(items[i].entry.name);
    if (items[i].begin < reached)
      return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': its data (bytes %llu..%llu) overlap those of '%s'", part->path, name,
                  (unsigned long long)items[i].begin, (unsigned long long)items[i].end, safetensors_printable(items[i - 1].entry.name));
    if (items[i].begin > reached)
      return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': there is a gap of bytes %llu..%llu before its data that belongs to no tensor", part->path, name,
                  (unsigned long long)reached, (unsigned long long)items[i].begin);
    reached = items[i].end;
  }
  if (reached != part->data_bytes)
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: %llu bytes behind the last tensor belong to no tensor", part->path,
                (unsigned long long)(part->data_bytes - reached));
  return ERROR_NONE;
}

static int check_names(const safetensors_part *part, safetensors_item *items, int count) {
  const safetensors_item **sorted = malloc((size_t)(count ? count : 1) * sizeof *sorted);
  if (!sorted) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", part->path);
  for (int i = 0; i < count; i++) sorted[i] = &items[i];
  qsort(sorted, (size_t)count, sizeof *sorted, compare_names);
  int code = ERROR_NONE;
  for (int i = 1; !code && i < count; i++)
    if (!compare_names(&sorted[i - 1], &sorted[i]))
      code = FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s' is listed twice", part->path, safetensors_printable(sorted[i]->entry.name));
  free(sorted);
  return code;
}

static int make_room(safetensors *s, int more) {
  if (s->items && s->count + more <= s->room) return ERROR_NONE;
  int room = s->count + more > 2 * s->room ? s->count + more + 1 : 2 * s->room;
  safetensors_item *grown = realloc(s->items, (size_t)room * sizeof *grown);
  if (!grown) return FAIL(ERROR_MEMORY, NULL, "out of memory for %d tensors", room);
  s->items = grown;
  s->room = room;
  return ERROR_NONE;
}

/* Texts only, each key once. */
static int parse_notes(safetensors *s, const safetensors_part *part, const cJSON *group) {
  if (!cJSON_IsObject(group)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: __metadata__ is no object", part->path);
  TRY(arena_take(s->memory, (size_t)cJSON_GetArraySize(group), sizeof *s->notes, &s->notes));
  const cJSON *node;
  cJSON_ArrayForEach(node, group) {
    const char *key = safetensors_printable(node->string);
    char *copy;
    if (!cJSON_IsString(node)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: metadata '%s' is no text", part->path, key);
    if (safetensors_metadata(s, node->string)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: metadata '%s' is given twice", part->path, key);
    TRY(arena_copy_text(s->memory, node->string, &copy));
    s->notes[s->note_count].key = copy;
    TRY(arena_copy_text(s->memory, node->valuestring, &copy));
    s->notes[s->note_count++].value = copy;
  }
  return ERROR_NONE;
}

static int parse_header(safetensors *s, const safetensors_part *part, const cJSON *header) {
  if (!cJSON_IsObject(header)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: the header is JSON, but no object", part->path);
  int first = s->count;
  TRY(make_room(s, cJSON_GetArraySize(header)));
  const cJSON *node;
  cJSON_ArrayForEach(node, header) {
    if (!strcmp(node->string, "__metadata__")) {
      if (part == s->parts && !s->notes) TRY(parse_notes(s, part, node));
      continue;
    }
    s->items[s->count] = (safetensors_item){0};
    TRY(parse_entry(part, s->memory, node, &s->items[s->count]));
    s->count++;
  }
  TRY(check_names(part, s->items + first, s->count - first));
  return check_coverage(part, s->items + first, s->count - first);
}

/* Opens the file of parts[index], whose path is set, and adds its tensors. */
static int open_part(safetensors *s, int index) {
  safetensors_part *part = &s->parts[index];
  TRY(file_map_open(part->path, &part->map));
  const unsigned char *bytes = part->map.bytes;
  if (part->map.count < PREFIX_BYTES)
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: has only %zu bytes: no safetensors file, or truncated", part->path, part->map.count);
  uint64_t length = 0;
  for (int i = PREFIX_BYTES - 1; i >= 0; i--) length = length << 8 | bytes[i];
  if (length > MAX_HEADER_BYTES)
    return FAIL(ERROR_INPUT, "give a .safetensors file or its directory; PyTorch .bin files have to be converted first",
                "%s: is no safetensors file (it would have a header of %llu bytes; the format's limit is %d)", part->path, (unsigned long long)length,
                MAX_HEADER_BYTES);
  if (length > part->map.count - PREFIX_BYTES)
    return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: its header should have %llu bytes, but only %zu follow; the file is truncated or no safetensors file", part->path,
                (unsigned long long)length, part->map.count - PREFIX_BYTES);
  part->data_start = PREFIX_BYTES + length;
  part->data_bytes = part->map.count - part->data_start;

  /* Parsed from a copy with a zero behind it: cJSON releases differ in how closely they keep to the given length. */
  char *text = malloc((size_t)length + 1);
  if (!text) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for a header of %llu bytes", part->path, (unsigned long long)length);
  memcpy(text, bytes + PREFIX_BYTES, (size_t)length);
  text[length] = 0;
  const char *end = NULL;
  cJSON *header = cJSON_ParseWithLengthOpts(text, (size_t)length, &end, 0);
  int code = ERROR_NONE;
  long long place = end ? (long long)(end - text) : 0;
  while (header && place < (long long)length && text[place] && strchr(" \t\r\n", text[place])) place++;
  if (!header) code = FAIL(ERROR_INPUT, HINT_AGAIN, "%s: the header is no valid JSON (at byte %lld of %llu)", part->path, place, (unsigned long long)length);
  else if (place < (long long)length) code = FAIL(ERROR_INPUT, HINT_AGAIN, "%s: bytes other than blanks follow the header's JSON", part->path);
  else code = parse_header(s, part, header);
  cJSON_Delete(header);
  free(text);
  return code;
}

/* --- a checkpoint in parts --- */

typedef struct place {
  const char *tensor, *file;
  int found;
} place;

static int compare_places(const void *a, const void *b) { return strcmp(((const place *)a)->tensor, ((const place *)b)->tensor); }

static int compare_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* A name from outside becomes part of a path only if it stays in the directory. */
static int is_plain_name(const char *name) { return *name && !strchr(name, '/') && !strstr(name, "..") && strcmp(name, "."); }

/* places = the index file's weight map in the order of tensor names; their texts belong to the JSON. */
static int read_weight_map(const char *index, const cJSON *json, place **places, int *count) {
  const cJSON *map = cJSON_GetObjectItemCaseSensitive(json, "weight_map"), *node;
  int room = cJSON_IsObject(map) ? cJSON_GetArraySize(map) : 0, used = 0;
  if (!room) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: has no weight_map, or an empty one", index);
  if (!(*places = calloc((size_t)room, sizeof **places))) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", index);
  cJSON_ArrayForEach(node, map) {
    if (!cJSON_IsString(node)) return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s': its file name is no text", index, safetensors_printable(node->string));
    if (!is_plain_name(node->valuestring))
      return FAIL(ERROR_INPUT, "only files beside the index are read", "%s: tensor '%s': '%s' is not a plain file name", index,
                  safetensors_printable(node->string), safetensors_printable(node->valuestring));
    (*places)[used++] = (place){.tensor = node->string, .file = node->valuestring};
  }
  qsort(*places, (size_t)used, sizeof **places, compare_places);
  for (int i = 1; i < used; i++)
    if (!compare_places(&(*places)[i - 1], &(*places)[i]))
      return FAIL(ERROR_INPUT, HINT_AGAIN, "%s: tensor '%s' is listed twice", index, safetensors_printable((*places)[i].tensor));
  *count = used;
  return ERROR_NONE;
}

static int add_parts(safetensors *s, const char *directory, const char *index, const place *places, int count) {
  const char **files = malloc((size_t)count * sizeof *files);
  if (!files) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", index);
  for (int i = 0; i < count; i++) files[i] = places[i].file;
  qsort(files, (size_t)count, sizeof *files, compare_texts);
  int distinct = 0, code = ERROR_NONE;
  for (int i = 0; i < count; i++)
    if (!distinct || strcmp(files[distinct - 1], files[i])) files[distinct++] = files[i];
  code = arena_take(s->memory, (size_t)distinct, sizeof *s->parts, &s->parts);
  for (int i = 0; !code && i < distinct; i++) {
    char path[PATH_BYTES], *copy = NULL;
    struct stat status;
    code = text_format(path, sizeof path, "%s/%s", directory, files[i]);
    if (!code && stat(path, &status))
      code = FAIL(ERROR_INPUT, "copy or download all parts of the model", "%s: names the part '%s', which is missing", index, safetensors_printable(files[i]));
    if (!code) code = arena_copy_text(s->memory, path, &copy);
    s->parts[i].path = copy;
    if (!code) s->part_count++;
  }
  free(files);
  return code;
}

/* Keeps the tensors that the index expects in the part they are in; the rest of a part is not of this model. */
static int match_index(safetensors *s, const char *directory, const char *index, place *places, int count) {
  int kept = 0;
  for (int i = 0; i < s->count; i++) {
    place key = {.tensor = s->items[i].entry.name}, *p = bsearch(&key, places, (size_t)count, sizeof *places, compare_places);
    if (!p || strcmp(p->file, s->items[i].part->path + strlen(directory) + 1)) continue;
    p->found = 1;
    s->items[kept++] = s->items[i];
  }
  s->count = kept;
  for (int i = 0; i < count; i++)
    if (!places[i].found)
      return FAIL(ERROR_INPUT, "the index and the parts are not of the same model; download all again", "%s: tensor '%s' should be in '%s', but is not", index,
                  safetensors_printable(places[i].tensor), safetensors_printable(places[i].file));
  return ERROR_NONE;
}

static int open_index(safetensors *s, const char *directory, const char *index) {
  char *text = NULL;
  size_t length;
  place *places = NULL;
  int count = 0;
  TRY(file_read(index, MAX_HEADER_BYTES, &text, &length));
  cJSON *json = cJSON_ParseWithLength(text, length);
  int code = json ? read_weight_map(index, json, &places, &count) : FAIL(ERROR_INPUT, HINT_AGAIN, "%s: is no valid JSON", index);
  if (!code) code = add_parts(s, directory, index, places, count);
  for (int i = 0; !code && i < s->part_count; i++) code = open_part(s, i);
  if (!code) code = match_index(s, directory, index, places, count);
  free(places);
  cJSON_Delete(json);
  free(text);
  return code;
}

/* --- opening --- */

static int open_file(safetensors *s, const char *path) {
  char *copy;
  TRY(arena_take(s->memory, 1, sizeof *s->parts, &s->parts));
  TRY(arena_copy_text(s->memory, path, &copy));
  s->parts[0].path = copy;
  s->part_count = 1;
  return open_part(s, 0);
}

static int has_suffix(const char *name, const char *suffix) {
  size_t n = strlen(name), m = strlen(suffix);
  return n > m && !strcmp(name + n - m, suffix);
}

static int open_directory(safetensors *s, const char *directory) {
  char path[PATH_BYTES];
  struct stat status;
  TRY(text_format(path, sizeof path, "%s/model.safetensors", directory));
  if (!stat(path, &status)) return open_file(s, path);
  TRY(text_format(path, sizeof path, "%s/model.safetensors.index.json", directory));
  if (!stat(path, &status)) return open_index(s, directory, path);

  DIR *list = opendir(directory);
  if (!list) return FAIL(ERROR_INPUT, NULL, "%s: cannot list the directory", directory);
  int found = 0, code = ERROR_NONE;
  for (struct dirent *e; !code && (e = readdir(list));) {
    if (!has_suffix(e->d_name, ".safetensors") || e->d_name[0] == '.') continue;
    if (found++ == 0) code = text_format(path, sizeof path, "%s/%s", directory, e->d_name);
  }
  closedir(list);
  TRY(code);
  if (found == 1) return open_file(s, path);
  if (found) return FAIL(ERROR_INPUT, "name the file itself", "%s: holds %d .safetensors files, but neither model.safetensors nor its index", directory, found);
  return FAIL(ERROR_INPUT, "name the directory or the file of a model in safetensors format", "%s: holds no .safetensors file", directory);
}

static int sort_names(safetensors *s) {
  TRY(arena_take(s->memory, (size_t)s->count, sizeof *s->by_name, &s->by_name));
  for (int i = 0; i < s->count; i++) s->by_name[i] = &s->items[i];
  qsort(s->by_name, (size_t)s->count, sizeof *s->by_name, compare_names);
  return ERROR_NONE;
}

int safetensors_open(const char *path, safetensors **result) {
  *result = NULL;
  safetensors *s = calloc(1, sizeof *s);
  if (!s) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", path);
  struct stat status;
  char trimmed[PATH_BYTES];
  int code = arena_create(&s->memory);
  if (!code) code = text_format(trimmed, sizeof trimmed, "%s", path);
  for (size_t n = code ? 0 : strlen(trimmed); n > 1 && trimmed[n - 1] == '/'; n--) trimmed[n - 1] = 0;
  if (!code) code = !stat(trimmed, &status) && S_ISDIR(status.st_mode) ? open_directory(s, trimmed) : open_file(s, trimmed);
  if (!code) code = sort_names(s);
  if (code) {
    safetensors_close(s);
    return code;
  }
  s->path = s->parts[0].path;
  *result = s;
  return ERROR_NONE;
}

void safetensors_close(safetensors *s) {
  if (!s) return;
  for (int i = 0; i < s->part_count; i++) file_map_close(&s->parts[i].map);
  free(s->items);
  arena_destroy(s->memory);
  free(s);
}

int safetensors_count(const safetensors *s) { return s->count; }

const safetensors_entry *safetensors_entry_at(const safetensors *s, int index) { return index >= 0 && index < s->count ? &s->items[index].entry : NULL; }

int safetensors_find(const safetensors *s, const char *name) {
  for (int low = 0, high = s->count; low < high;) {
    int middle = low + (high - low) / 2, order = strcmp(name, s->by_name[middle]->entry.name);
    if (!order) return (int)(s->by_name[middle] - s->items);
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return -1;
}

const char *safetensors_path(const safetensors *s) { return s->path; }

const char *safetensors_metadata(const safetensors *s, const char *key) {
  for (int i = 0; i < s->note_count; i++)
    if (!strcmp(s->notes[i].key, key)) return s->notes[i].value;
  return NULL;
}

int safetensors_metadata_at(const safetensors *s, int index, const char **key, const char **value) {
  if (index < 0 || index >= s->note_count) return 0;
  *key = s->notes[index].key;
  *value = s->notes[index].value;
  return 1;
}

int safetensors_hash(const safetensors *s, char *text) {
  hash *h;
  TRY(hash_create(&h));
  for (int i = 0; i < s->part_count; i++) {
    const file_map *map = &s->parts[i].map;
    for (size_t first = 0; first < map->count; first += HASH_BLOCK) {
      size_t count = map->count - first < HASH_BLOCK ? map->count - first : HASH_BLOCK;
      hash_add(h, map->bytes + first, count);
      file_map_forget(map, first, count);
    }
  }
  hash_finish(h, text);
  return ERROR_NONE;
}
