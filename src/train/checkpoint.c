#include "train/checkpoint_private.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "store/safetensors.h"

#define KIND "peftscale checkpoint"
#define ANEW "remove it to start the run anew"
enum { VERSION = 1, VALUE_BYTES = 64, TENSORS_MAX = 7 };

/* ---- the head, entry by entry ---- */

typedef enum entry_kind { ENTRY_TEXT, ENTRY_WHOLE, ENTRY_REAL } entry_kind;

typedef struct entry {
  const char *name;
  entry_kind kind;
  size_t offset; /* in checkpoint_head */
  int64_t least; /* of a whole number  */
  int may_be_nan;
} entry;

#define TEXT_OF(name) \
  { #name, ENTRY_TEXT, offsetof(checkpoint_head, name), 0, 0 }
#define WHOLE_OF(name, least) \
  { #name, ENTRY_WHOLE, offsetof(checkpoint_head, name), least, 0 }
#define TOTAL_OF(name) \
  { #name, ENTRY_REAL, offsetof(checkpoint_head, totals.name), 0, 0 }
#define METERS_OF(purpose, index)                                                                                                \
  {#purpose "_payload_bytes", ENTRY_WHOLE, offsetof(checkpoint_head, totals.payload_bytes) + (index) * sizeof(int64_t), 0, 0}, { \
#purpose "_wire_bytes", ENTRY_WHOLE, offsetof(checkpoint_head, totals.wire_bytes) + (index) * sizeof(int64_t), -1, 0         \
  }

static const entry entries[] = {
    TEXT_OF(experiment_id),
    TEXT_OF(run_id),
    TEXT_OF(binary_hash),
    WHOLE_OF(ranks, 1),
    WHOLE_OF(threads, 1),
    WHOLE_OF(nodes, 1),
    WHOLE_OF(attempt, 1),
    WHOLE_OF(step, 1),
    WHOLE_OF(steps, 1),
    WHOLE_OF(validated, 0),
    WHOLE_OF(best_step, 0),
    {"best", ENTRY_REAL, offsetof(checkpoint_head, best), 0, 1},
    {"last_validation", ENTRY_REAL, offsetof(checkpoint_head, last_validation), 0, 1},
    TOTAL_OF(train_s),
    TOTAL_OF(total_s),
    TOTAL_OF(start_s),
    TOTAL_OF(step_s),
    TOTAL_OF(communication_s),
    TOTAL_OF(checkpoint_s),
    {"energy_j", ENTRY_REAL, offsetof(checkpoint_head, totals.energy_j), 0, 1},
    {"tokens", ENTRY_WHOLE, offsetof(checkpoint_head, totals.tokens), 0, 0},
    {"checkpoints", ENTRY_WHOLE, offsetof(checkpoint_head, totals.checkpoints), 0, 0},
    {"contaminated", ENTRY_WHOLE, offsetof(checkpoint_head, totals.contaminated), 0, 0},
    METERS_OF(gradient, COMM_GRADIENT),
    METERS_OF(evaluation, COMM_EVALUATION),
    METERS_OF(control, COMM_CONTROL),
    METERS_OF(checkpoint, COMM_CHECKPOINT),
};
enum { ENTRIES = sizeof entries / sizeof *entries };
_Static_assert(COMM_PURPOSES == 4, "each purpose has its meters above");

/* Numbers come back bit for bit. */
static void write_entry(const checkpoint_head *head, const entry *e, char text[VALUE_BYTES]) {
  const char *place = (const char *)head + e->offset;
  int64_t whole;
  double number;
  switch (e->kind) {
    case ENTRY_TEXT: snprintf(text, VALUE_BYTES, "%s", place); return;
    case ENTRY_WHOLE:
      memcpy(&whole, place, sizeof whole);
      snprintf(text, VALUE_BYTES, "%lld", (long long)whole);
      return;
    case ENTRY_REAL:
      memcpy(&number, place, sizeof number);
      if (isnan(number)) snprintf(text, VALUE_BYTES, "nan");
      else snprintf(text, VALUE_BYTES, "%a", number);
  }
}

static int is_hash(const char *text) { return strlen(text) == HASH_TEXT_BYTES - 1 && strspn(text, "0123456789abcdef") == HASH_TEXT_BYTES - 1; }

/* Non-zero: the text is no such value. */
static int read_entry(checkpoint_head *head, const entry *e, const char *text) {
  char *place = (char *)head + e->offset;
  int64_t whole;
  double number = NAN;
  switch (e->kind) {
    case ENTRY_TEXT:
      if (!is_hash(text)) return 1;
      memcpy(place, text, HASH_TEXT_BYTES);
      return 0;
    case ENTRY_WHOLE:
      if (text_to_int(text, &whole) || whole < e->least) return 1;
      memcpy(place, &whole, sizeof whole);
      return 0;
    case ENTRY_REAL:
      if (!(e->may_be_nan && !strcmp(text, "nan")) && (text_to_double(text, &number) || !isfinite(number) || (!e->may_be_nan && number < 0))) return 1;
      memcpy(place, &number, sizeof number);
      return 0;
  }
  return 1;
}

/* ---- the content's hash ---- */

static void add_arrays(hash *h, const checkpoint_arrays *a) {
  size_t bytes = (size_t)a->numbers * sizeof(real);
  hash_add(h, a->theta, bytes);
  hash_add(h, a->first_moment, bytes);
  hash_add(h, a->second_moment, bytes);
  hash_add(h, a->chosen, bytes);
  hash_add(h, a->step_counts, (size_t)a->segments * sizeof *a->step_counts);
  hash_add(h, a->rank_wire_bytes, (size_t)a->ranks * sizeof *a->rank_wire_bytes);
  if (a->levels) hash_add(h, a->level, (size_t)a->levels);
}

/* Of all entries and arrays, in their order here. */
static int content_hash(const checkpoint_head *head, const checkpoint_arrays *a, char digits[HASH_TEXT_BYTES]) {
  hash *h;
  TRY(hash_create(&h));
  for (int i = 0; i < ENTRIES; i++) {
    char text[VALUE_BYTES];
    write_entry(head, &entries[i], text);
    hash_add_text(h, text);
  }
  add_arrays(h, a);
  hash_finish(h, digits);
  return ERROR_NONE;
}

/* ---- writing ---- */

static int keeps_another(const checkpoint_head *head, const checkpoint_arrays *a) {
  return head->best_step > 0 && memcmp(a->chosen, a->theta, (size_t)a->numbers * sizeof(real)) != 0;
}

static int list_tensors(const checkpoint_head *head, const checkpoint_arrays *a, safetensors_output tensors[TENSORS_MAX]) {
  int count = 0;
  tensors[count++] = (safetensors_output){"theta", TENSOR_F32, 1, {a->numbers}, a->theta};
  tensors[count++] = (safetensors_output){"first_moment", TENSOR_F32, 1, {a->numbers}, a->first_moment};
  tensors[count++] = (safetensors_output){"second_moment", TENSOR_F32, 1, {a->numbers}, a->second_moment};
  tensors[count++] = (safetensors_output){"step_counts", TENSOR_I64, 1, {a->segments}, a->step_counts};
  tensors[count++] = (safetensors_output){"rank_wire_bytes", TENSOR_I64, 1, {a->ranks}, a->rank_wire_bytes};
  if (a->levels) tensors[count++] = (safetensors_output){"levels", TENSOR_U8, 1, {a->levels}, a->level};
  if (keeps_another(head, a)) tensors[count++] = (safetensors_output){"chosen", TENSOR_F32, 1, {a->numbers}, a->chosen};
  return count;
}

int checkpoint_write(const char *path, const checkpoint_head *head, const checkpoint_arrays *a) {
  char values[ENTRIES][VALUE_BYTES], version[VALUE_BYTES], now[VALUE_BYTES], theta[HASH_TEXT_BYTES], content[HASH_TEXT_BYTES];
  const char *metadata[2 * (ENTRIES + 5) + 1] = {"kind", KIND, "version", version, "created", now, "theta_hash", theta, "content_hash", content};
  safetensors_output tensors[TENSORS_MAX];
  snprintf(version, sizeof version, "%d", VERSION);
  clock_utc(now, sizeof now);
  hash_bytes(a->theta, (size_t)a->numbers * sizeof(real), theta);
  TRY(content_hash(head, a, content));
  for (int i = 0; i < ENTRIES; i++) {
    write_entry(head, &entries[i], values[i]);
    metadata[10 + 2 * i] = entries[i].name;
    metadata[11 + 2 * i] = values[i];
  }
  return safetensors_write(path, tensors, list_tensors(head, a, tensors), metadata);
}

/* ---- reading ---- */

struct checkpoint_file {
  safetensors *file;
};

static int wrong(const checkpoint_file *f, const char *what) { return FAIL(ERROR_INPUT, ANEW, "%s: %s", safetensors_path(f->file), what); }

/* What any reader of the format may have found. */
static int with_hint(int code) { return code == ERROR_INPUT ? FAIL(code, ANEW, "%s", error_last()->text) : code; }

static int check_kind(const checkpoint_file *f) {
  const char *kind = safetensors_metadata(f->file, "kind"), *text = safetensors_metadata(f->file, "version");
  int64_t version;
  if (!kind || strcmp(kind, KIND)) return wrong(f, "is no checkpoint of peftscale");
  if (!text || text_to_int(text, &version) || version < 1) return wrong(f, "is damaged: it does not say its version");
  if (version <= VERSION) return ERROR_NONE;
  return FAIL(ERROR_INPUT, "use a newer peftscale, or " ANEW, "%s: has version %lld; this program reads versions up to %d", safetensors_path(f->file),
              (long long)version, VERSION);
}

static int check_head(const checkpoint_file *f, const checkpoint_head *h) {
  if (h->step > h->steps || h->validated > h->step || h->best_step > h->validated) return wrong(f, "is damaged: its steps contradict each other");
  return ERROR_NONE;
}

static int read_head(const checkpoint_file *f, checkpoint_head *head) {
  char what[128];
  *head = (checkpoint_head){.totals = {.validation = NAN, .test = NAN}};
  TRY(check_kind(f));
  for (int i = 0; i < ENTRIES; i++) {
    const char *text = safetensors_metadata(f->file, entries[i].name);
    if (text && !read_entry(head, &entries[i], text)) continue;
    snprintf(what, sizeof what, "is damaged: %s %s", entries[i].name, text ? "is not what it can be" : "is missing");
    return wrong(f, what);
  }
  return check_head(f, head);
}

int checkpoint_open(const char *path, checkpoint_file **result, checkpoint_head *head) {
  *result = NULL;
  checkpoint_file *f = calloc(1, sizeof *f);
  if (!f) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", path);
  int code = with_hint(safetensors_open(path, &f->file));
  if (!code) code = read_head(f, head);
  if (code) checkpoint_close(f);
  else *result = f;
  return code;
}

void checkpoint_close(checkpoint_file *f) {
  if (!f) return;
  safetensors_close(f->file);
  free(f);
}

static int read_chosen(const checkpoint_file *f, const checkpoint_head *head, const checkpoint_arrays *a) {
  size_t bytes = (size_t)a->numbers * sizeof(real);
  if (safetensors_find(f->file, "chosen") >= 0) return safetensors_read_bits(f->file, "chosen", TENSOR_F32, a->numbers, a->chosen);
  if (head->best_step) memcpy(a->chosen, a->theta, bytes);
  else memset(a->chosen, 0, bytes);
  return ERROR_NONE;
}

static int read_arrays(const checkpoint_file *f, const checkpoint_head *head, const checkpoint_arrays *a) {
  const safetensors *s = f->file;
  TRY(safetensors_read_bits(s, "theta", TENSOR_F32, a->numbers, a->theta));
  TRY(safetensors_read_bits(s, "first_moment", TENSOR_F32, a->numbers, a->first_moment));
  TRY(safetensors_read_bits(s, "second_moment", TENSOR_F32, a->numbers, a->second_moment));
  TRY(safetensors_read_bits(s, "step_counts", TENSOR_I64, a->segments, a->step_counts));
  TRY(safetensors_read_bits(s, "rank_wire_bytes", TENSOR_I64, a->ranks, a->rank_wire_bytes));
  if (a->levels) TRY(safetensors_read_bits(s, "levels", TENSOR_U8, a->levels, a->level));
  return read_chosen(f, head, a);
}

static int check_arrays(const checkpoint_file *f, const checkpoint_head *head, const checkpoint_arrays *a) {
  for (int i = 0; i < a->segments; i++)
    if (a->step_counts[i] < 0 || a->step_counts[i] > head->step) return wrong(f, "is damaged: a segment has made more steps than the training");
  for (int i = 0; i < a->ranks; i++)
    if (a->rank_wire_bytes[i] < -1) return wrong(f, "is damaged: a rank has sent less than nothing");
  return ERROR_NONE;
}

int checkpoint_read(const checkpoint_file *f, const checkpoint_head *head, const checkpoint_arrays *a) {
  char digits[HASH_TEXT_BYTES];
  const char *content = safetensors_metadata(f->file, "content_hash"), *theta = safetensors_metadata(f->file, "theta_hash");
  TRY(with_hint(read_arrays(f, head, a)));
  TRY(content_hash(head, a, digits));
  if (!content || strcmp(content, digits)) return wrong(f, "is damaged: its content is not what its hash says");
  hash_bytes(a->theta, (size_t)a->numbers * sizeof(real), digits);
  if (!theta || strcmp(theta, digits)) return wrong(f, "is damaged: theta is not what its hash says");
  return check_arrays(f, head, a);
}
