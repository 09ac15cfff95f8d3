/* LoRA: W = W0 + (alpha / r) B A, A [r][in], B [out][r] (Hu et al., arXiv 2106.09685).
 *
 * Start: B = 0; A uniform in +-1/sqrt(in) (kaiming, as the authors' code and PEFT do) or normal with deviation 1/r (gaussian). Dropout, where asked for,
 * acts on the branch's input; the sites of a group share the mask, since they share the product. Trainable and stored: r (in + out) per site.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/lowrank.h"

static const char *const inits[] = {"kaiming", "gaussian", NULL};
static const char *const modules[] = {"q", "k", "v", "o", "gate", "up", "down", "qkv", "all", NULL};
static const option lora_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "8", .low = 1, .high = 65536, .help = "rank r of the update"},
    {.name = "alpha", .type = OPTION_REAL, .preset = "8", .low = 0, .high = 1e6, .help = "the update is scaled by alpha / rank"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = modules, .help = "adapted linear maps"},
    {.name = "init", .type = OPTION_CHOICE, .preset = "kaiming", .choices = inits, .help = "distribution of A at the start"},
};

typedef struct lora_state {
  lowrank_group *groups; /* [adapter.group_count] */
} lora_state;

static int lora_plan(adapter *a) {
  lora_state *state;
  int rank = (int)option_int(a->options, "rank"), targets = 0;
  TRY(arena_take(a->memory, 1, sizeof *state, &state));
  TRY(arena_take(a->memory, (size_t)a->group_count, sizeof *state->groups, &state->groups));
  a->state = state;
  for (int i = 0; i < a->group_count; i++) {
    const site_group *from = &a->groups[i];
    lowrank_group *g = &state->groups[i];
    *g = (lowrank_group){.rank = rank, .in = from->in, .scale = (real)(option_real(a->options, "alpha") / rank)};
    for (int s = 0; s < from->site_count; s++) {
      const site *place = &a->sites[from->site[s]];
      if (!adapter_targets(a, place)) continue;
      g->slot[g->count] = s;
      g->out[g->count++] = place->out;
    }
    if (!g->count) continue;
    targets += g->count;
    a->touched[i] = a->keeps_input[i] = 1;
    int width = g->count * rank;
    a->saved_width[i] = width;
    int scratch = width + (a->dropout > 0 ? from->in : 0);
    if (scratch > a->scratch_width) a->scratch_width = scratch;
    /* All A factors of the group first: stacked, they are one matrix. */
    for (int part = 0; part < 2; part++)
      for (int s = 0; s < g->count; s++) {
        const site *place = &a->sites[from->site[g->slot[s]]];
        char name[METHOD_NAME_BYTES + 8];
        int64_t offset;
        snprintf(name, sizeof name, "%s.lora_%c", place->name, part ? 'B' : 'A');
        TRY(adapter_add_segment(a, name, "adapter", 1, part ? place->out : rank, part ? rank : place->in, &offset));
        if (part) g->b[s] = offset;
        else if (s == 0) g->a = offset;
      }
  }
  if (!targets)
    return FAIL(ERROR_USAGE, "see: peftscale list families", "method.modules=%s names no linear map of this model", option_text(a->options, "modules"));
  a->factor_count = a->theta_count; /* the factors are theta itself */
  return ERROR_NONE;
}

static int lora_init(const adapter *a, real *theta) {
  int gaussian = !strcmp(option_text(a->options, "init"), "gaussian");
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  for (int i = 0; i < a->segment_count; i++) {
    const segment *s = &a->segments[i];
    if (s->name[strlen(s->name) - 1] != 'A') continue;
    random_key key = random_key_make(a->seed, RANDOM_ADAPTER, (uint64_t)i);
    int64_t count = (int64_t)s->rows * s->cols;
    double bound = 1 / sqrt((double)s->cols);
    if (gaussian) random_fill_normal(key, 0, count, (real)(1.0 / s->rows), theta + s->offset);
    else random_fill_uniform(key, 0, count, (real)-bound, (real)bound, theta + s->offset);
  }
  return ERROR_NONE;
}

static int lora_expand(adapter *a, const real *theta) {
  a->theta = theta;
  return ERROR_NONE;
}

/* The branch's input of this pass: x itself, or its dropped-out copy in scratch behind the `width` floats per row that backward needs for dH. */
static const real *branch_input(const adapter *a, method_workspace *w, int group, int n, const real *x, int width) {
  if (!w->training || a->dropout <= 0) return x;
  int in = a->groups[group].in;
  real *dropped = w->scratch + (int64_t)n * width;
  for (int i = 0; i < n; i++) w->element[i] = w->keys.position[i] * (uint64_t)in;
  linalg_dropout(n, in, a->dropout, random_key_make(a->seed, RANDOM_DROP_ADAPTER, (uint64_t)group), w->keys.stream, w->element, x, in, dropped, in, 0);
  return dropped;
}

static int lora_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const lora_state *state = a->state;
  const lowrank_group *g = &state->groups[group];
  int width = g->count * g->rank;
  const real *input = branch_input(a, w, group, n, x, width);
  lowrank_forward(g, a->theta, n, input, w->training ? w->saved[group] : w->scratch, y, y_stride);
  return ERROR_NONE;
}

static int lora_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const lora_state *state = a->state;
  const lowrank_group *g = &state->groups[group];
  int width = g->count * g->rank, in = g->in;
  real *dh = w->scratch;
  const real *input = branch_input(a, w, group, n, x, width);
  int dropped = input != x;
  lowrank_backward(g, a->theta, w->factor_gradient, n, input, w->saved[group], dh, dy, y_stride, dropped ? NULL : dx);
  if (dropped && dx) { /* the gradient for the dropped-out input passes through the same mask */
    real *through = w->scratch + (int64_t)n * width;
    linalg_product_nn(n, in, width, 1, dh, width, a->theta + g->a, in, 0, through, in);
    linalg_dropout(n, in, a->dropout, random_key_make(a->seed, RANDOM_DROP_ADAPTER, (uint64_t)group), w->keys.stream, w->element, through, in, dx, in, 1);
  }
  return ERROR_NONE;
}

static int lora_gather(const adapter *a, method_workspace *w, real *grad) {
  linalg_add(a->theta_count, w->factor_gradient, grad);
  memset(w->factor_gradient, 0, (size_t)a->factor_count * sizeof(real));
  return ERROR_NONE;
}

static int lora_count(const adapter *a, method_counts *counts) {
  *counts = (method_counts){.trainable = a->theta_count, .stored_bytes = 4 * a->theta_count, .sent_floats = a->theta_count};
  return ERROR_NONE;
}

static int lora_merge(const adapter *a, int place, real *weight, real *bias) {
  const lora_state *state = a->state;
  (void)bias;
  for (int i = 0; weight && i < a->group_count; i++) {
    const lowrank_group *g = &state->groups[i];
    for (int s = 0; s < g->count; s++)
      if (a->groups[i].site[g->slot[s]] == place) lowrank_merge(g, s, a->theta, weight);
  }
  return ERROR_NONE;
}

const method method_lora = {
    .name = "lora",
    .title = "LoRA",
    .paper = "Hu et al. 2021, arXiv 2106.09685",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE,
    .options = lora_options,
    .option_count = sizeof lora_options / sizeof *lora_options,
    .plan = lora_plan,
    .init = lora_init,
    .expand = lora_expand,
    .forward = lora_forward,
    .backward = lora_backward,
    .gather = lora_gather,
    .count = lora_count,
    .merge = lora_merge,
};
