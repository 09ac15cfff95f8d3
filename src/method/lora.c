/* LoRA: W = W0 + (alpha / r) B A, A [r][in], B [out][r] (Hu et al., arXiv 2106.09685).
 *
 * Start: B = 0; A uniform in +-1/sqrt(in) (kaiming, as the authors' code and PEFT do) or normal with deviation 1/r (gaussian). Dropout, where asked for,
 * acts on the branch's input; the sites of a group share the mask, since they share the product (adapter_dropout: per_site gives each its own). Trainable and
 * stored: r (in + out) per site.
 *
 * Cost: the product's (lowrank.h); expand nothing; gather adds and clears r (in + out) numbers per site, 16 bytes each. Floor for MiniLM, r = 8 on q and v: 171
 * MFLOP for a step of 397 tokens, 1.2 MB a rank. bench_methods: 1.9 % of the head-only step with whole backward.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "method/lowrank.h"

static const char *const inits[] = {"kaiming", "gaussian", NULL};
static const option lora_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "8", .low = 1, .high = 65536, .help = "rank r of the update"},
    {.name = "alpha", .type = OPTION_REAL, .preset = "8", .low = 0, .high = 1e6, .help = "the update is scaled by alpha / rank"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "init", .type = OPTION_CHOICE, .preset = "kaiming", .choices = inits, .help = "distribution of A at the start"},
};

typedef struct lora_state {
  lowrank low;
} lora_state;

static int add_segments(adapter *a, const lowrank *l, const lowrank_group *g, const lowrank_pair *first) {
  for (int part = 0; part < 2; part++) /* in the order of the factors, which are theta itself */
    for (int s = 0; s < g->count; s++) {
      char name[METHOD_NAME_BYTES + 8];
      snprintf(name, sizeof name, "%s.lora_%c", a->sites[first[s].site].name, part ? 'B' : 'A');
      TRY(adapter_add_segment(a, name, "adapter", 1, part ? g->out[s] : l->rank, part ? l->rank : g->in, NULL));
    }
  return ERROR_NONE;
}

static int lora_plan(adapter *a) {
  lora_state *state;
  int rank = (int)option_int(a->options, "rank");
  TRY(arena_take(a->memory, 1, sizeof *state, &state));
  a->state = state;
  const lowrank *l = &state->low;
  TRY(lowrank_plan(a, rank, option_real(a->options, "alpha") / rank, &state->low));
  for (int i = 0; i < l->pair_count; i++)
    if (l->pairs[i].index == 0) TRY(add_segments(a, l, &l->groups[l->pairs[i].group], &l->pairs[i]));
  return ERROR_NONE;
}

static int lora_init(const adapter *a, real *theta) {
  int gaussian = !strcmp(option_text(a->options, "init"), "gaussian");
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  for (int i = 0; i < a->segment_count; i++) {
    const segment *s = &a->segments[i];
    if (s->name[strlen(s->name) - 1] != 'A') continue;
    random_key key = random_key_make(a->set.seed, RANDOM_ADAPTER, (uint64_t)i);
    int64_t count = (int64_t)s->rows * s->cols;
    double bound = 1 / sqrt((double)s->cols);
    if (gaussian) random_fill_normal(key, 0, count, (real)(1.0 / s->rows), theta + s->offset);
    else random_fill_uniform(key, 0, count, (real)-bound, (real)bound, theta + s->offset);
  }
  return ERROR_NONE;
}

static int lora_expand(adapter *a, const real *theta) {
  lora_state *state = a->state;
  a->theta = state->low.factors = theta;
  return ERROR_NONE;
}

const method method_lora = {
    .name = "lora",
    .title = "LoRA",
    .paper = "Hu et al. 2021, arXiv 2106.09685",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_DROPS_INPUT,
    .options = lora_options,
    .option_count = sizeof lora_options / sizeof *lora_options,
    .training_options = "init",
    .plan = lora_plan,
    .init = lora_init,
    .expand = lora_expand,
    .forward = lowrank_method_forward,
    .backward = lowrank_method_backward,
    .gather = lowrank_gather_plain,
    .merge = lowrank_method_merge,
};
