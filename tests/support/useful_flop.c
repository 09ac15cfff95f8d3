#include "support/useful_flop.h"

#include <string.h>

/* A layer's maps in forward order; levels as numbers of places from the embeddings (0) up. */
enum { MAPS_QKV, MAPS_O, MAPS_UP, MAPS_DOWN, MAPS };
static int level_at(int layer, int maps) { return 1 + layer * MAPS + maps; }

static int trains(const model *m, param_kind kind) {
  const method *ops = model_adapter(m)->method;
  return ops->trains && ops->trains(kind);
}

/* The lowest place that anything trained hangs on; above all layers: the head alone is trained. */
static int lowest_level(const model *m) {
  const adapter *a = model_adapter(m);
  int groups = model_shape_of(m)->layers * MAPS;
  if (trains(m, PARAM_EMBEDDING) || trains(m, PARAM_NORM_GAIN) || trains(m, PARAM_NORM_SHIFT)) return 0; /* the embeddings have a norm */
  if (trains(m, PARAM_WEIGHT) || trains(m, PARAM_BIAS)) return level_at(0, MAPS_QKV);
  for (int g = 0; g < groups; g++)
    if (a->touched[g]) return 1 + g;
  return 1 + groups;
}

/* Rank of a method whose whole effect is a low-rank product at its sites; 0: of another kind. */
static int rank_of(const adapter *a) {
  static const char *const names[] = {"lora", "vera", "tied", "vblora", "unilora"};
  int is_low = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) is_low |= !strcmp(a->method->name, names[i]);
  if (!is_low) return 0;
  for (int i = 0; i < a->resolved_count; i++)
    if (!strcmp(a->resolved[i].name, "rank")) return (int)a->resolved[i].value;
  return (int)option_int(a->options, "rank");
}

static int touches(const adapter *a, int group, const char *module) {
  const site_group *g = &a->groups[group];
  for (int i = 0; a->touched[group] && i < g->site_count; i++)
    if (!strcmp(a->sites[g->site[i]].module, module) && adapter_targets(a, &a->sites[g->site[i]])) return 1;
  return 0;
}

typedef struct layer_rows {
  double all, read; /* rows of the layer's k and v, and of everything that only the layer's output needs */
  double pairs;     /* query-key pairs */
} layer_rows;

static double rows_of(const layer_rows *rows, const char *module) {
  return !strcmp(module, "k") || !strcmp(module, "v") || !strcmp(module, "qkv") ? rows->all : rows->read;
}

static void count_maps(const model *m, const layer_rows *rows, int layer, int lowest, useful_flop *f) {
  double d = model_shape_of(m)->width, wide = d * model_shape_of(m)->ffn;
  const double work[MAPS] = {2 * (rows->read + 2 * rows->all) * d * d, 2 * rows->read * d * d, 2 * rows->read * wide, 2 * rows->read * wide};
  for (int i = 0; i < MAPS; i++) {
    f->maps_forward += work[i];
    if (lowest < level_at(layer, i)) f->maps_backward += work[i];
    if (trains(m, PARAM_WEIGHT)) f->maps_trained += work[i];
  }
}

static void count_attention(const model *m, const layer_rows *rows, int layer, int lowest, useful_flop *f) {
  const adapter *a = model_adapter(m);
  int group = layer * MAPS + MAPS_QKV, all = lowest < level_at(layer, MAPS_QKV) || trains(m, PARAM_WEIGHT) || trains(m, PARAM_BIAS) || touches(a, group, "qkv");
  double product = 2 * rows->pairs * model_shape_of(m)->width;
  f->attention_forward += 2 * product;
  if (lowest > level_at(layer, MAPS_QKV)) return;
  int q = all || touches(a, group, "q"), k = all || touches(a, group, "k"), v = all || touches(a, group, "v");
  f->attention_backward += product * (v + (q || k) + q + k);
}

static void count_adapter(const model *m, const layer_rows *rows, int layer, int lowest, useful_flop *f) {
  const adapter *a = model_adapter(m);
  double rank = rank_of(a), trains_factors = strcmp(a->method->name, "vera") != 0;
  if (rank == 0) return;
  for (int i = 0; i < MAPS; i++) {
    int group = layer * MAPS + i;
    const site_group *g = &a->groups[group];
    if (!a->touched[group]) continue;
    for (int j = 0; j < g->site_count; j++) {
      const site *s = &a->sites[g->site[j]];
      if (!adapter_targets(a, s)) continue;
      double once = 2 * rows_of(rows, s->module) * rank, both = once * (s->in + s->out);
      f->adapter_forward += both;
      f->adapter_backward += once * s->out + (lowest < level_at(layer, i) ? once * s->in : 0) + trains_factors * both;
    }
  }
}

static void count_head(const model *m, double sequences, int head_alone, useful_flop *f) {
  const model_options *o = model_options_of(m);
  double d = model_shape_of(m)->width, out = 2 * sequences * d * o->classes, dense = 2 * sequences * d * d;
  if (o->objective == MODEL_MLM) return;
  int has_dense = o->head == MODEL_HEAD_TANH;
  f->head = out * (head_alone && !has_dense ? 2 : 3) + (has_dense ? dense * (head_alone ? 2 : 3) : 0);
}

useful_flop useful_flop_count(const model *m, double tokens, double squares, double sequences) {
  const int layers = model_shape_of(m)->layers, lowest = lowest_level(m);
  const model_options *o = model_options_of(m);
  useful_flop f = {0};
  for (int l = 0; l < layers; l++) {
    int reads_first = l == layers - 1 && o->objective != MODEL_MLM && o->pooling == MODEL_POOL_FIRST;
    layer_rows rows = {.all = tokens, .read = reads_first ? sequences : tokens, .pairs = reads_first ? tokens : squares};
    count_maps(m, &rows, l, lowest, &f);
    count_attention(m, &rows, l, lowest, &f);
    count_adapter(m, &rows, l, lowest, &f);
  }
  count_head(m, sequences, lowest > layers * MAPS, &f);
  f.total = f.maps_forward + f.maps_backward + f.maps_trained + f.attention_forward + f.attention_backward + f.adapter_forward + f.adapter_backward + f.head;
  return f;
}
