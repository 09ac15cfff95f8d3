#include "model/census.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

/* ---- what is known ---- */

enum {
  IMAGE_PATCH = 16 * 16 * 3, /* numbers in a ViT's patch                                                         */
  T5_BUCKETS = 32            /* of relative positions: a number per bucket and head in each stack's first layer */
};

/* How a family's parameters differ from the common plan: norm, attention (q, k, v, o), norm, feed-forward (up, down). */
typedef struct traits {
  const char *family;
  int has_bias;   /* linear maps have one                                           */
  int has_shift;  /* LayerNorm; 0: RMSNorm, a gain alone                            */
  int has_gate;   /* the feed-forward part has a gate beside up                     */
  int has_output; /* an output matrix of its own, not the word embeddings once more */
  int has_patch;  /* words are patches of an image, through a linear map            */
  int buckets;    /* of relative positions; 0: none                                 */
} traits;

static const traits traits_list[] = {
    {.family = "bert", .has_bias = 1, .has_shift = 1},
    {.family = "roberta", .has_bias = 1, .has_shift = 1},
    {.family = "gpt2", .has_bias = 1, .has_shift = 1},
    {.family = "llama", .has_gate = 1, .has_output = 1},
    {.family = "mistral", .has_gate = 1, .has_output = 1},
    {.family = "gemma", .has_gate = 1},
    {.family = "vit", .has_bias = 1, .has_shift = 1, .has_patch = 1},
    {.family = "t5", .buckets = T5_BUCKETS},
};

/* A ViT's positions are its patches and the class token, which is a row more (types). */
const census_shape counted_shapes[] = {
    /* name        family     L  dec      d    h   hd  kv    ffn   vocab   pos types */
    {"gpt2", "gpt2", 12, 0, 768, 12, 64, 12, 3072, 50257, 1024, 0},
    {"gpt2-medium", "gpt2", 24, 0, 1024, 16, 64, 16, 4096, 50257, 1024, 0},
    {"gpt2-large", "gpt2", 36, 0, 1280, 20, 64, 20, 5120, 50257, 1024, 0},
    {"gpt2-xl", "gpt2", 48, 0, 1600, 25, 64, 25, 6400, 50257, 1024, 0},
    {"gpt3-175b", "gpt2", 96, 0, 12288, 96, 128, 96, 49152, 50257, 2048, 0},
    {"llama-7b", "llama", 32, 0, 4096, 32, 128, 32, 11008, 32000, 0, 0},
    {"llama2-7b", "llama", 32, 0, 4096, 32, 128, 32, 11008, 32000, 0, 0},
    {"llama2-13b", "llama", 40, 0, 5120, 40, 128, 40, 13824, 32000, 0, 0},
    {"mistral-7b", "mistral", 32, 0, 4096, 32, 128, 8, 14336, 32000, 0, 0},
    {"gemma-7b", "gemma", 28, 0, 3072, 16, 256, 16, 24576, 256000, 0, 0},
    {"vit-b", "vit", 12, 0, 768, 12, 64, 12, 3072, 0, 197, 1},
    {"vit-l", "vit", 24, 0, 1024, 16, 64, 16, 4096, 0, 197, 1},
    {"t5-base", "t5", 12, 12, 768, 12, 64, 12, 3072, 32128, 0, 0},
    {NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
};

static const traits *traits_of(const char *family_name) {
  for (size_t i = 0; i < sizeof traits_list / sizeof *traits_list; i++)
    if (!strcmp(traits_list[i].family, family_name)) return &traits_list[i];
  return NULL;
}

/* ---- building ---- */

enum { LAYER_MAX_SITES = 12, LAYER_MAX_GROUPS = 7 }; /* a decoder layer: q, k, v, o; cross q, k, v, o; gate, up, down; qkv */

typedef struct builder {
  census *census;
  const census_shape *shape;
  const traits *traits;
  int layer;
  const char *part; /* between layer and module in names: "" or "cross." */
} builder;

static void add_linear_params(builder *b, int64_t out, int64_t in) {
  b->census->params[PARAM_WEIGHT] += out * in;
  if (b->traits->has_bias) b->census->params[PARAM_BIAS] += out;
}

static void add_linear_tensors(builder *b) {
  b->census->tensors[PARAM_WEIGHT]++;
  if (b->traits->has_bias) b->census->tensors[PARAM_BIAS]++;
}

static void add_tensor(builder *b, param_kind kind, int64_t rows, int64_t cols) {
  b->census->params[kind] += rows * cols;
  if (rows * cols > 0) b->census->tensors[kind]++;
}

static void add_norm(builder *b) {
  add_tensor(b, PARAM_NORM_GAIN, 1, b->shape->width);
  if (b->traits->has_shift) add_tensor(b, PARAM_NORM_SHIFT, 1, b->shape->width);
}

static site_group *begin_group(builder *b, int in) {
  site_group *g = &b->census->groups[b->census->group_count++];
  *g = (site_group){.layer = b->layer, .in = in};
  add_linear_tensors(b);
  return g;
}

static void add_site(builder *b, site_group *g, const char *module, int out, int column) {
  census *c = b->census;
  site *s = &c->sites[c->site_count];
  *s = (site){.module = module, .layer = b->layer, .out = out, .in = g->in, .column = column};
  snprintf(s->name, sizeof s->name, "layer.%d.%s%s", b->layer, b->part, module);
  g->site[g->site_count++] = c->site_count++;
}

/* Numbers in the group's output row so far. */
static int row_width(const builder *b, const site_group *g) {
  if (!g->site_count) return 0;
  const site *last = &b->census->sites[g->site[g->site_count - 1]];
  return last->column + last->out;
}

/* Appends a map with its parameters. */
static void add_map(builder *b, site_group *g, const char *module, int out) {
  add_site(b, g, module, out, row_width(b, g));
  add_linear_params(b, out, g->in);
}

/* Returns the group of q. `crossed`: k and v read the other stack's output, so that q stands apart. */
static site_group *add_attention(builder *b, int crossed) {
  int width = b->shape->width, heads = b->shape->heads * b->shape->head_width, keys = b->shape->key_heads * b->shape->head_width;
  b->part = crossed ? "cross." : "";
  site_group *query = begin_group(b, width), *g = query;
  add_map(b, g, "q", heads);
  if (crossed) g = begin_group(b, width);
  add_map(b, g, "k", keys);
  add_map(b, g, "v", keys);
  add_map(b, begin_group(b, heads), "o", width);
  add_norm(b);
  b->part = "";
  return query;
}

static void add_ffn(builder *b) {
  site_group *g = begin_group(b, b->shape->width);
  if (b->traits->has_gate) add_map(b, g, "gate", b->shape->ffn);
  add_map(b, g, "up", b->shape->ffn);
  add_map(b, begin_group(b, b->shape->ffn), "down", b->shape->width);
  add_norm(b);
}

/* A linear map that is no site. */
static void add_end_map(builder *b, int64_t out, int64_t in) {
  add_linear_params(b, out, in);
  add_linear_tensors(b);
}

/* What lies before and behind the layers. Each stack has one normalisation there: behind the embeddings (BERT) or behind its last layer (the others). */
static void add_ends(builder *b) {
  const census_shape *s = b->shape;
  const int rows[] = {s->vocabulary, s->positions, s->types};
  int stacks = s->decoders ? 2 : 1;
  for (int i = 0; i < 3; i++) add_tensor(b, PARAM_EMBEDDING, rows[i], s->width);
  for (int i = 0; i < stacks; i++) {
    add_tensor(b, PARAM_EMBEDDING, b->traits->buckets, s->heads);
    add_norm(b);
  }
  if (b->traits->has_patch) add_end_map(b, s->width, IMAGE_PATCH);
  if (b->traits->has_output) add_end_map(b, s->vocabulary, s->width);
}

static void build(builder *b) {
  const census_shape *s = b->shape;
  for (b->layer = 0; b->layer < s->layers + s->decoders; b->layer++) {
    site_group *own = add_attention(b, 0);
    if (b->layer >= s->layers) add_attention(b, 1);
    add_ffn(b);
    add_site(b, own, "qkv", row_width(b, own), 0); /* last of the layer, as the model numbers its sites; its parameters are those of q, k and v */
  }
  add_ends(b);
}

static int census_create(const census_shape *shape, census **result) {
  arena *memory;
  census *c;
  *result = NULL;
  size_t layers = (size_t)(shape->layers + shape->decoders);
  builder b = {.shape = shape, .traits = traits_of(shape->family), .part = ""};
  if (!b.traits) return FAIL(ERROR_INTERNAL, NULL, "family '%s' has no entry in the census", shape->family);
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *c, &c);
  if (!code) {
    c->memory = memory;
    c->width = shape->width;
    code = arena_take(memory, layers * LAYER_MAX_SITES, sizeof *c->sites, &c->sites);
  }
  if (!code) code = arena_take(memory, layers * LAYER_MAX_GROUPS, sizeof *c->groups, &c->groups);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  b.census = c;
  build(&b);
  *result = c;
  return ERROR_NONE;
}

int census_of_shape(const model_shape *s, census **result) {
  *result = NULL;
  TRY(model_shape_check(s, "model"));
  const census_shape shape = {.family = s->family->name,
                              .layers = s->layers,
                              .width = s->width,
                              .heads = s->heads,
                              .head_width = s->width / s->heads,
                              .key_heads = s->heads,
                              .ffn = s->ffn,
                              .vocabulary = s->vocabulary,
                              .positions = s->positions,
                              .types = s->types};
  return census_create(&shape, result);
}

int census_of_name(const char *name, census **result) {
  const char *names[64];
  int count = 0;
  *result = NULL;
  for (const census_shape *s = counted_shapes; s->name; s++) {
    if (!strcmp(s->name, name)) return census_create(s, result);
    names[count++] = s->name;
  }
  for (const known_shape *k = known_shapes; k->name; k++) {
    model_shape shape;
    names[count++] = k->name;
    if (strcmp(k->name, name)) continue;
    TRY(model_shape_known(name, &shape));
    return census_of_shape(&shape, result);
  }
  int near = text_nearest(name, names, count);
  char hint[128];
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  else snprintf(hint, sizeof hint, "see: peftscale list models");
  return FAIL(ERROR_USAGE, hint, "there is no known model shape '%s'", name);
}

void census_destroy(census *c) {
  if (c) arena_destroy(c->memory);
}

/* ---- counting ---- */

int64_t census_base_count(const census *c) {
  int64_t count = 0;
  for (int kind = 0; kind < PARAM_KINDS; kind++) count += c->params[kind];
  return count;
}

int census_count(const census *c, const method *chosen, const option_set *options, method_counts *counts) {
  adapter *a;
  TRY(adapter_create(chosen, options, &(adapter_settings){0}, c->sites, c->site_count, c->groups, c->group_count, &a));
  int code = adapter_counts(a, counts);
  adapter_destroy(a);
  TRY(code);
  int64_t base = 0; /* a trained base parameter is stored and sent as it is */
  for (int kind = 0; kind < PARAM_KINDS; kind++) {
    if (!chosen->trains || !chosen->trains((param_kind)kind)) continue;
    base += c->params[kind];
    counts->segments += c->tensors[kind];
  }
  counts->trainable += base;
  counts->stored_bytes += 4 * base;
  counts->sent_floats += base;
  return ERROR_NONE;
}

int64_t census_head_count(const census *c, int deep, int classes) {
  int64_t d = c->width;
  return d * classes + classes + (deep ? d * d + d : 0);
}

int census_head_segments(int deep) { return deep ? 4 : 2; } /* a weight and a bias of each map */
