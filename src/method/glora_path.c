/* Which path every map of GLoRA takes, and how theta is laid out so that a path is a set of whole segments: options, plan, choice of a step, counts, and what
 * a search needs to know. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "method/glora_private.h"

enum { PATHS = 4 * 4 * 3 * 3 * 3, PATH_BITS = 9 };

static const char *const support_names[] = {"lora", "vector", "constant", "none"};
static const char *const tensor_names[] = {"A", "B", "C", "D", "E"};

/* What each tensor may be, in the order of a path id's digits. */
static const support allowed[TENSORS][SUPPORTS] = {
    {LORA, VECTOR, CONSTANT, NONE}, {LORA, VECTOR, CONSTANT, NONE}, {LORA, VECTOR, NONE}, {VECTOR, CONSTANT, NONE}, {VECTOR, CONSTANT, NONE}};
static const int digits[TENSORS] = {4, 4, 3, 3, 3};

static const char *const path_kinds[] = {"fixed", "random", "listed", NULL};
static const char *const wide_words[] = {"lora", "vector", "constant", "none", NULL};
static const char *const column_words[] = {"lora", "vector", "none", NULL};
static const char *const bias_words[] = {"vector", "constant", "none", NULL};
const option glora_options[GLORA_OPTIONS] = {
    {.name = "rank", .type = OPTION_INT, .preset = "4", .low = 1, .high = 65536, .help = "rank r of low-rank supports"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "path",
     .type = OPTION_CHOICE,
     .preset = "fixed",
     .choices = path_kinds,
     .help = "fixed: a .. e for all maps; random: drawn per map and step; listed: paths"},
    {.name = "a", .type = OPTION_CHOICE, .preset = "lora", .choices = wide_words, .help = "support of A (W0 o A) of a fixed path"},
    {.name = "b", .type = OPTION_CHOICE, .preset = "lora", .choices = wide_words, .help = "support of B"},
    {.name = "c", .type = OPTION_CHOICE, .preset = "lora", .choices = column_words, .help = "support of C (bias W0 C)"},
    {.name = "d", .type = OPTION_CHOICE, .preset = "vector", .choices = bias_words, .help = "support of D (bias D o b0)"},
    {.name = "e", .type = OPTION_CHOICE, .preset = "vector", .choices = bias_words, .help = "support of E (bias)"},
    {.name = "paths", .type = OPTION_LIST, .preset = "none", .help = "path listed: ids 0 .. 431 of the adapted maps, in their order"},
};

/* ---- paths ---- */

static void read_path(int id, support path[TENSORS]) {
  for (int t = 0; t < TENSORS; t++) {
    path[t] = allowed[t][id % digits[t]];
    id /= digits[t];
  }
}

static int path_id(const support path[TENSORS]) {
  int id = 0;
  for (int t = TENSORS - 1; t >= 0; t--) {
    int digit = 0;
    while (allowed[t][digit] != path[t]) digit++;
    id = id * digits[t] + digit;
  }
  return id;
}

static support support_of(const char *word) {
  for (int s = 0; s < SUPPORTS; s++)
    if (!strcmp(word, support_names[s])) return (support)s;
  return NONE;
}

static int fixed_path(const adapter *a, support path[TENSORS]) {
  static const char *const keys[] = {"a", "b", "c", "d", "e"};
  for (int t = 0; t < TENSORS; t++) path[t] = support_of(option_text(a->options, keys[t]));
  return path_id(path);
}

/* Ids of option `paths`, one per site. */
static int listed_paths(const adapter *a, const glora_state *s) {
  if (!s->is_listed && !strcmp(option_text(a->options, "paths"), "none")) return ERROR_NONE;
  if (!s->is_listed)
    return FAIL(ERROR_USAGE, "set method.path=listed, or leave method.paths out", "method.paths has no effect with method.path=%s",
                option_text(a->options, "path"));
  const char *place = option_text(a->options, "paths");
  int count = 0;
  for (char word[24]; *place; count++) {
    size_t length = strcspn(place, ",");
    int64_t id = -1;
    snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), place);
    if (length >= sizeof word || text_to_int(word, &id) || id < 0 || id >= PATHS)
      return FAIL(ERROR_USAGE, "ids are what peftscale search prints", "method.paths: '%s' is no path id (0 .. %d)", word, PATHS - 1);
    if (count < s->site_count) read_path((int)id, s->sites[count].path);
    place += length + (place[length] == ',');
  }
  if (count == s->site_count) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "name one path id per adapted map", "method.paths names %d paths for %d adapted maps", count, s->site_count);
}

/* ---- plan ---- */

static int add_piece(adapter *a, const glora_site *s, int t, const char *piece, int rows, int cols, int64_t *offset) {
  char name[METHOD_NAME_BYTES + 16];
  if (rows == 0 || cols == 0) { /* rank 1 has no other columns, a map with one output no rest */
    if (offset && *offset < 0) *offset = a->theta_count;
    return ERROR_NONE;
  }
  snprintf(name, sizeof name, "%s.%s.%s", a->sites[s->site].name, tensor_names[t], piece);
  int64_t at;
  TRY(adapter_add_segment(a, name, "adapter", 1, rows, cols, &at));
  if (offset && *offset < 0) *offset = at;
  return ERROR_NONE;
}

/* The segments of a tensor that its widest planned support needs. */
static int add_tensor(adapter *a, glora_site *s, int t, int rank, support widest) {
  tensor *x = &s->tensor[t];
  int length = t == TENSOR_C ? a->sites[s->site].in : a->sites[s->site].out, in = t == TENSOR_C ? 1 : a->sites[s->site].in;
  *x = (tensor){.down = -1, .up = -1, .first_segment = a->segment_count};
  if (widest == NONE) return ERROR_NONE;
  if (t == TENSOR_C) {
    TRY(add_piece(a, s, t, "vector", 1, length, &x->down));
  } else {
    TRY(add_piece(a, s, t, "constant", 1, 1, &x->down));
    x->segments[CONSTANT] = a->segment_count - x->first_segment;
    if (widest <= VECTOR) TRY(add_piece(a, s, t, "vector", 1, length - 1, NULL));
  }
  x->segments[VECTOR] = a->segment_count - x->first_segment;
  if (widest > LORA) return ERROR_NONE;
  TRY(add_piece(a, s, t, "lora_d", rank - 1, length, NULL));
  TRY(add_piece(a, s, t, "lora_u", rank, in, &x->up));
  x->segments[LORA] = a->segment_count - x->first_segment;
  return ERROR_NONE;
}

/* What backward wants of a map: its base output for a vector or constant A, the narrow rows of a low-rank B, its input for either of them in low rank. */
static void plan_kept(adapter *a, const glora_state *s, glora_site *place) {
  support in_a = place->path[TENSOR_A], in_b = place->path[TENSOR_B];
  place->base_width = s->is_random || in_a == VECTOR || in_a == CONSTANT ? a->sites[place->site].out : 0;
  place->narrow_width = s->is_random || in_b == LORA ? s->rank : 0;
  a->saved_width[place->group] += place->base_width + place->narrow_width + 1;
  if (s->is_random || in_a == LORA || in_b == LORA) a->keeps_input[place->group] = 1;
  if (s->is_random || in_a == LORA || in_b != NONE) a->adds_input[place->group] = 1;
}

static int find_sites(adapter *a, glora_state *s) {
  TRY(adapter_check_modules(a));
  TRY(arena_take(a->memory, (size_t)a->site_count, sizeof *s->sites, &s->sites));
  TRY(arena_take(a->memory, (size_t)a->group_count + 1, sizeof *s->first, &s->first));
  for (int i = 0; i < a->group_count; i++) {
    for (int slot = 0; slot < a->groups[i].site_count; slot++) {
      int place = a->groups[i].site[slot];
      if (!adapter_targets(a, &a->sites[place])) continue;
      s->sites[s->site_count++] = (glora_site){.site = place, .group = i, .slot = slot, .bias = s->bias_count};
      s->bias_count += a->sites[place].out;
      a->touched[i] = 1;
      if (a->groups[i].in > s->widest_in) s->widest_in = a->groups[i].in;
      if (a->sites[place].out > s->widest_out) s->widest_out = a->sites[place].out;
    }
    s->first[i + 1] = s->site_count;
  }
  a->scratch_width = s->rank + 1;
  a->scratch_fixed = (int64_t)ROW_BLOCK * (s->widest_in + s->rank) + 2 * s->widest_out;
  return arena_take(a->memory, (size_t)s->site_count, sizeof *s->follow, &s->follow);
}

int glora_plan(adapter *a) {
  glora_state *s;
  const char *kind = option_text(a->options, "path");
  TRY(arena_take(a->memory, 1, sizeof *s, &s));
  a->state = s;
  s->rank = (int)option_int(a->options, "rank");
  s->is_random = !strcmp(kind, "random");
  s->is_listed = !strcmp(kind, "listed");
  TRY(find_sites(a, s));
  support widest[TENSORS];
  if (s->is_random) read_path(0, widest);
  else fixed_path(a, widest);
  for (int i = 0; i < s->site_count; i++) {
    memcpy(s->sites[i].path, widest, sizeof widest);
    s->follow[i] = -1;
  }
  TRY(listed_paths(a, s));
  for (int i = 0; i < s->site_count; i++) {
    plan_kept(a, s, &s->sites[i]);
    for (int t = 0; t < TENSORS; t++) TRY(add_tensor(a, &s->sites[i], t, s->rank, s->sites[i].path[t]));
  }
  if (a->theta_count == 0) return FAIL(ERROR_USAGE, "use method=head", "the path none in all five supports trains nothing");
  a->factor_count = a->theta_count + s->bias_count;
  if (!s->is_random) return ERROR_NONE;
  TRY(arena_take(a->memory, (size_t)a->segment_count, sizeof *a->active, &a->active));
  return glora_choose(a, METHOD_EVALUATION);
}

int glora_choose(adapter *a, int64_t step) {
  glora_state *s = a->state;
  if (!s->is_random) return ERROR_NONE;
  memset(a->active, 0, (size_t)a->segment_count);
  for (int i = 0; i < s->site_count; i++) {
    glora_site *place = &s->sites[i];
    int id = s->follow[i] < 0 ? 0 : s->follow[i]; /* 0: the widest */
    if (step != METHOD_EVALUATION) id = (int)(((uint64_t)random_bits(random_key_make(a->set.seed, RANDOM_PATH, (uint64_t)i), 0, (uint64_t)step) * PATHS) >> 32);
    read_path(id, place->path);
    for (int t = 0; t < TENSORS; t++)
      if (place->path[t] != NONE) memset(a->active + place->tensor[t].first_segment, 1, (size_t)place->tensor[t].segments[place->path[t]]);
  }
  return ERROR_NONE;
}

/* ---- counting, searching ---- */

static int64_t tensor_size(int t, support kind, int64_t out, int64_t in, int64_t rank) {
  int64_t length = t == TENSOR_C ? in : out;
  if (kind == LORA) return rank * (length + (t == TENSOR_C ? 1 : in));
  return kind == VECTOR ? length : kind == CONSTANT;
}

static int path_places(const adapter *a) { return ((const glora_state *)a->state)->site_count; }

static const char *path_place_name(const adapter *a, int place) {
  const glora_state *s = a->state;
  return a->sites[s->sites[place].site].name;
}

static int64_t path_size(const adapter *a, int place, int path) {
  const glora_state *s = a->state;
  const site *map = &a->sites[s->sites[place].site];
  support kind[TENSORS];
  int64_t size = 0;
  read_path(path, kind);
  for (int t = 0; t < TENSORS; t++) size += tensor_size(t, kind[t], map->out, map->in, s->rank);
  return size;
}

static int path_follow(adapter *a, const int32_t *path) {
  glora_state *s = a->state;
  if (!s->is_random) return FAIL(ERROR_USAGE, "train it with method.path=random", "there is no super-network to choose from: method.path is not random");
  for (int i = 0; i < s->site_count; i++) s->follow[i] = path ? path[i] : -1;
  return ERROR_NONE;
}

static void path_describe(int path, char text[METHOD_PATH_BYTES]) {
  support kind[TENSORS];
  read_path(path, kind);
  text[0] = 0;
  for (int t = 0; t < TENSORS; t++) {
    size_t used = strlen(text);
    snprintf(text + used, METHOD_PATH_BYTES - used, "%s%s:%s", t ? " " : "", tensor_names[t], support_names[kind[t]]);
  }
}

const method_paths glora_paths = {.genes = TENSORS,
                                  .choices = digits,
                                  .places = path_places,
                                  .place_name = path_place_name,
                                  .size = path_size,
                                  .follow = path_follow,
                                  .describe = path_describe,
                                  .words = "method.path=listed method.paths="};

static int64_t path_bytes(const glora_state *s) { return ((int64_t)PATH_BITS * s->site_count + 7) / 8; }

/* A super-network sends a path drawn anew in each step: counted in the mean over all paths. */
static int64_t mean_path(const adapter *a, const glora_state *s) {
  double sum = 0;
  for (int i = 0; i < s->site_count; i++) {
    const site *map = &a->sites[s->sites[i].site];
    for (int t = 0; t < TENSORS; t++)
      for (int k = 0; k < digits[t]; k++) sum += (double)tensor_size(t, allowed[t][k], map->out, map->in, s->rank) / digits[t];
  }
  return (int64_t)(sum + 0.5);
}

int glora_count(const adapter *a, method_counts *counts) {
  const glora_state *s = a->state;
  *counts = (method_counts){.trainable = a->theta_count,
                            .stored_bytes = 4 * a->theta_count + (s->is_listed ? path_bytes(s) : 0),
                            .sent_floats = s->is_random ? mean_path(a, s) : a->theta_count};
  return ERROR_NONE;
}

/* ---- the stored result: theta's segments; listed paths, which differ from map to map, belong to it, 9 bits each, the lowest first ---- */

int glora_stored(const adapter *a, int index, stored_array *array) {
  const glora_state *s = a->state;
  if (index < a->segment_count) *array = adapter_stored_segment(a, index);
  else *array = (stored_array){.type = STORED_U8, .name = "paths", .rows = s->is_listed && index == a->segment_count, .cols = path_bytes(s)};
  return ERROR_NONE;
}

static void pack_paths(const glora_state *s, uint8_t *bytes) {
  memset(bytes, 0, (size_t)path_bytes(s));
  for (int i = 0; i < s->site_count; i++) {
    int id = path_id(s->sites[i].path);
    for (int b = 0; b < PATH_BITS; b++) {
      int64_t at = (int64_t)PATH_BITS * i + b;
      bytes[at / 8] |= (uint8_t)((id >> b & 1) << at % 8);
    }
  }
}

int glora_save(const adapter *a, const real *theta, int index, void *values) {
  if (index < a->segment_count) adapter_save_segment(a, theta, index, values);
  else pack_paths(a->state, values);
  return ERROR_NONE;
}

int glora_load(const adapter *a, int index, const void *values, real *theta) {
  const glora_state *s = a->state;
  const uint8_t *bytes = values;
  if (index < a->segment_count) return adapter_load_segment(a, index, values, theta);
  for (int i = 0; i < s->site_count; i++) {
    int id = 0;
    for (int b = 0; b < PATH_BITS; b++) {
      int64_t at = (int64_t)PATH_BITS * i + b;
      id |= (bytes[at / 8] >> at % 8 & 1) << b;
    }
    if (id != path_id(s->sites[i].path))
      return FAIL(ERROR_INPUT, "set method.paths to what it was trained with", "'paths': %s has path %d, not %d", a->sites[s->sites[i].site].name, id,
                  path_id(s->sites[i].path));
  }
  return ERROR_NONE;
}
