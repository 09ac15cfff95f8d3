/* RED: representation editing, y' = l o y + beta, with one scaling and one shifting vector per edited map (Wu et al., arXiv 2402.15179).
 *
 * y is the map's whole output, its bias included, before dropout, residual sum and normalisation. RED edits the output of every feed-forward block (modules:
 * down, the paper's), RED++ also q, k, v and the attention's output (modules: q,k,v,o,down). Start: l = 1, beta = 0. Gradients: dl = colsum(G o y),
 * dbeta = colsum(G), dy = G o l. Folded in: W = diag(l) W0, b = l o b0 + beta. Trainable and stored: 2 x width per edited map.
 * Weight decay, where it is on, pulls l towards 0, as the authors' AdamW does, not towards its start.
 *
 * Cost per row and edited map: y is read, kept and written, dY and the kept y are read and dY written, 24 x out bytes; no product. Floor for MiniLM (modules:
 * down): 22 MB for a step of 397 tokens, in the second-level cache. bench_methods: 6 floors, since what was kept comes from further away; 0.6 % of the
 * head-only step with whole backward.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/lowrank.h"
#include "method/method.h"

static const option red_options[] = {
    {.name = "modules", .type = OPTION_LIST, .preset = "down", .choices = adapter_modules, .help = "maps whose output is edited (RED++: q,k,v,o,down)"},
};

typedef struct red_site {
  int slot, out, site;
  int64_t scale, shift;
} red_site;

typedef struct red_group {
  int count;
  red_site site[GROUP_MAX_SITES];
} red_group;

static int add_site(adapter *a, red_site *s) {
  const site *place = &a->sites[s->site];
  char name[METHOD_NAME_BYTES + 8];
  snprintf(name, sizeof name, "%s.scale", place->name);
  TRY(adapter_add_segment(a, name, "adapter", 1, 1, place->out, &s->scale));
  snprintf(name, sizeof name, "%s.shift", place->name);
  return adapter_add_segment(a, name, "adapter", 1, 1, place->out, &s->shift);
}

static int red_plan(adapter *a) {
  red_group *groups;
  TRY(adapter_check_modules(a));
  TRY(arena_take(a->memory, (size_t)a->group_count, sizeof *groups, &groups));
  a->state = groups;
  for (int i = 0; i < a->group_count; i++)
    for (int slot = 0; slot < a->groups[i].site_count; slot++) {
      int place = a->groups[i].site[slot];
      if (!adapter_targets(a, &a->sites[place])) continue;
      red_site *s = &groups[i].site[groups[i].count++];
      *s = (red_site){.slot = slot, .out = a->sites[place].out, .site = place};
      TRY(add_site(a, s));
      a->touched[i] = 1;
      a->saved_width[i] += s->out;
    }
  a->factor_count = a->theta_count;
  return ERROR_NONE;
}

static int red_init(const adapter *a, real *theta) {
  const red_group *groups = a->state;
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  for (int i = 0; i < a->group_count; i++)
    for (int k = 0; k < groups[i].count; k++)
      for (int j = 0; j < groups[i].site[k].out; j++) theta[groups[i].site[k].scale + j] = 1;
  return ERROR_NONE;
}

static int red_expand(adapter *a, const real *theta) {
  a->theta = theta;
  return ERROR_NONE;
}

/* row' = scale o row + shift, and the row as it was to `kept`, where that is wanted. */
static void edit_row(int count, const real *scale, const real *shift, real *row, real *kept) {
  if (!kept) {
#pragma omp simd
    for (int j = 0; j < count; j++) row[j] = scale[j] * row[j] + shift[j];
    return;
  }
#pragma omp simd
  for (int j = 0; j < count; j++) {
    real y = row[j];
    kept[j] = y;
    row[j] = scale[j] * y + shift[j];
  }
}

static int red_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const red_group *g = (const red_group *)a->state + group;
  real *kept = w->training ? w->saved[group] : NULL;
  (void)x;
  for (int k = 0; k < g->count; k++) {
    const red_site *s = &g->site[k];
    for (int i = 0; i < n; i++) {
      edit_row(s->out, a->theta + s->scale, a->theta + s->shift, y[s->slot] + (int64_t)i * y_stride, kept);
      if (kept) kept += s->out;
    }
  }
  return ERROR_NONE;
}

static int red_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const red_group *g = (const red_group *)a->state + group;
  const real *kept = w->saved[group];
  (void)x;
  (void)dx; /* x matters through y alone */
  for (int k = 0; k < g->count; k++) {
    const red_site *s = &g->site[k];
    real *d = dy[s->slot];
    linalg_scale_rows_backward(n, s->out, d, y_stride, kept, s->out, a->theta + s->scale, d, y_stride, 0, w->factor_gradient + s->scale,
                               w->factor_gradient + s->shift);
    kept += (int64_t)n * s->out;
  }
  return ERROR_NONE;
}

static int red_merge(const adapter *a, int place, real *weight, real *bias) {
  const red_group *groups = a->state;
  for (int i = 0; i < a->group_count; i++)
    for (int k = 0; k < groups[i].count; k++) {
      const red_site *s = &groups[i].site[k];
      if (s->site != place) continue;
      const real *scale = a->theta + s->scale, *shift = a->theta + s->shift;
      int in = a->sites[place].in;
      for (int64_t j = 0; weight && j < (int64_t)s->out * in; j++) weight[j] *= scale[j / in];
      for (int j = 0; bias && j < s->out; j++) bias[j] = scale[j] * bias[j] + shift[j];
    }
  return ERROR_NONE;
}

const method method_red = {
    .name = "red",
    .title = "RED",
    .paper = "Wu et al. 2024, arXiv 2402.15179",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE,
    .options = red_options,
    .option_count = sizeof red_options / sizeof *red_options,
    .plan = red_plan,
    .init = red_init,
    .expand = red_expand,
    .forward = red_forward,
    .backward = red_backward,
    .gather = lowrank_gather_plain,
    .merge = red_merge,
};
