/* VeRA: y += (((x A^T) o d) B^T) o b with ONE frozen random pair A, B for the whole model and two trained vectors per site, d [r] and b [out] (Kopiczko et
 * al., arXiv 2310.11454).
 *
 * A is r x (widest input), B (widest output) x r; a narrower site uses the left columns of A and the top rows of B, as PEFT does. Both are uniform with the
 * bound of Kaiming for gain sqrt(2) on the STORED shape: A in +-sqrt(6 / in), B in +-sqrt(6 / r). They are drawn from the seed (projection: seed) and never
 * stored, or come from an adapter file (projection: file). Start: d = d_initial, b = 0, so the first step moves b alone. No alpha. Trainable: sum of out + r
 * over sites; stored: that and the seed.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "method/lowrank.h"
#include "method/scaled.h"

enum { RANK_MAX_AUTO = 1024 };

static const char *const projections[] = {"seed", "file", NULL};
static const option vera_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "auto", .low = 1, .high = 65536, .may_be_auto = 1, .help = "rank r; auto: 4 x width, at most 1024"},
    {.name = "d_initial", .type = OPTION_REAL, .preset = "0.1", .low = 1e-12, .high = 100, .help = "start of the vectors d"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "projection", .type = OPTION_CHOICE, .preset = "seed", .choices = projections, .help = "the frozen pair: drawn, or of the file train.start"},
    {.name = "projection_seed", .type = OPTION_INT, .preset = "auto", .low = 0, .high = 4294967295.0, .may_be_auto = 1, .help = "of a drawn one; auto: seed"},
};

typedef struct vera_state {
  scaled low;
  int in, out; /* of the frozen pair */
} vera_state;

enum { CONSTANT_A, CONSTANT_B };

static int rank_of(adapter *a) {
  int64_t width = a->site_count ? a->sites[0].in : 1; /* q's input: the model's width */
  return (int)adapter_settle(a, "rank", 4 * width < RANK_MAX_AUTO ? 4 * width : RANK_MAX_AUTO);
}

static int add_site(adapter *a, scaled_site *s, int rank) {
  const site *place = &a->sites[s->site];
  char name[METHOD_NAME_BYTES + 8];
  snprintf(name, sizeof name, "%s.d", place->name);
  TRY(adapter_add_segment(a, name, "adapter", 1, 1, rank, &s->inner));
  snprintf(name, sizeof name, "%s.b", place->name);
  return adapter_add_segment(a, name, "adapter", 1, 1, place->out, &s->outer);
}

static int vera_plan(adapter *a) {
  vera_state *state;
  int rank = rank_of(a), from_file = !strcmp(option_text(a->options, "projection"), "file");
  TRY(arena_take(a->memory, 1, sizeof *state, &state));
  a->state = state;
  TRY(scaled_plan(a, rank, &state->low));
  for (int i = 0; i < a->group_count; i++) {
    scaled_group *g = &state->low.groups[i];
    g->shares_a = 1;
    for (int k = 0; k < g->count; k++) {
      TRY(add_site(a, &g->site[k], rank));
      if (g->in > state->in) state->in = g->in;
      if (g->site[k].out > state->out) state->out = g->site[k].out;
    }
  }
  for (int i = 0; i < a->group_count; i++) state->low.groups[i].a_stride = state->in;
  TRY(adapter_add_constant(a, "shared.A", from_file, rank, state->in, 0));
  TRY(adapter_add_constant(a, "shared.B", from_file, state->out, rank, 0));
  scaled_plan_widths(a, &state->low);
  return ERROR_NONE;
}

static int vera_prepare(adapter *a) {
  const vera_state *state = a->state;
  const double fan_in[] = {state->in, state->low.rank};
  for (int i = CONSTANT_A; i <= CONSTANT_B; i++) {
    const method_constant *c = &a->constants[i];
    if (c->from_file) continue;
    real bound = (real)sqrt(6 / fan_in[i]);
    random_fill_uniform(random_key_make(adapter_projection_seed(a), RANDOM_PROJECTION, (uint64_t)i), 0, c->rows * c->cols, -bound, bound, c->value);
  }
  return ERROR_NONE;
}

static int vera_init(const adapter *a, real *theta) {
  const vera_state *state = a->state;
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  real start = (real)option_real(a->options, "d_initial");
  for (int i = 0; i < a->group_count; i++)
    for (int k = 0; k < state->low.groups[i].count; k++)
      for (int j = 0; j < state->low.rank; j++) theta[state->low.groups[i].site[k].inner + j] = start;
  return ERROR_NONE;
}

static int vera_expand(adapter *a, const real *theta) {
  vera_state *state = a->state;
  a->theta = theta;
  for (int i = 0; i < a->group_count; i++)
    for (int k = 0; k < state->low.groups[i].count; k++) {
      scaled_site *s = &state->low.groups[i].site[k];
      s->a_value = a->constants[CONSTANT_A].value;
      s->b_value = a->constants[CONSTANT_B].value;
      s->inner_value = theta + s->inner;
      s->outer_value = theta + s->outer;
    }
  return ERROR_NONE;
}

const method method_vera = {
    .name = "vera",
    .title = "VeRA",
    .paper = "Kopiczko et al. 2023, arXiv 2310.11454",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_SEEDED | METHOD_DROPS_INPUT,
    .options = vera_options,
    .option_count = sizeof vera_options / sizeof *vera_options,
    .training_options = "d_initial",
    .plan = vera_plan,
    .prepare = vera_prepare,
    .init = vera_init,
    .expand = vera_expand,
    .forward = scaled_method_forward,
    .backward = scaled_method_backward,
    .gather = lowrank_gather_plain,
    .merge = scaled_method_merge,
};
