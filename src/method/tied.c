/* Tied-LoRA: y += (((x A^T) o u_l) B^T) o v_l with A, B shared by all layers and trained, u_l and v_l per site (Renduchintala et al., arXiv 2311.09578).
 *
 * Variants: tl5 trains A and B alone (u = v = 1), tl6 trains u and v too. Which maps share a pair: all maps of one module name (tie: type; modules=qkv is the
 * paper's fused map, A r x d, B 3d x r), or all of them (tie: square, only for maps of one shape). alpha = r, so there is no scale. Start: A kaiming as LoRA's,
 * B = 0, u = v = 1. The gradients of A and B are sums over layers before they travel, so they go once; that also makes them grow with the number of layers,
 * which lr_tied can answer. Trainable and stored: sum over pairs of r (in + out), and for tl6 the sum over sites of out + r. Weight decay, where it is
 * on, pulls u and v towards 0, not towards their start.
 *
 * Each site has the factors A and B_l = diag(v_l) B diag(u_l) of LoRA's product (lowrank.h), made in expand. With their gradients dA and N = dB_l:
 *   dA += dA,  dB += diag(v) N diag(u),  dv = rowsum(N o B o u),  du = colsum(N o B o v), summed over sites in their order.
 * Cost: the product's, that is LoRA's of the same rank, and D = sum of r (in + out) numbers a step and rank in expand (8 bytes each) and in gather (16 bytes).
 * Floor for MiniLM, r = 8 on q and v: 171 MFLOP for a step of 397 tokens, 1.8 MB a rank. bench_methods: 1.9 % of the head-only step with whole backward.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/lowrank.h"

static const char *const variants[] = {"tl6", "tl5", NULL};
static const char *const ties[] = {"type", "square", NULL};
static const option tied_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "8", .low = 1, .high = 65536, .help = "rank r of the tied pair"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "variant", .type = OPTION_CHOICE, .preset = "tl6", .choices = variants, .help = "tl6: also vectors u, v per site; tl5: the tied pair alone"},
    {.name = "tie", .type = OPTION_CHOICE, .preset = "type", .choices = ties, .help = "one pair per module name, or one for all maps of one square shape"},
    {.name = "lr_tied", .type = OPTION_REAL, .preset = "auto", .low = 1e-12, .high = 1000, .may_be_auto = 1, .help = "peak rate of A and B; auto: train.lr"},
};

typedef struct tied_pair {
  const char *module; /* NULL: every map */
  int in, out;
  int64_t a, b;
} tied_pair;

/* Where the numbers of low.pairs[i] are in theta; -1: not trained, all ones. */
typedef struct tied_site {
  int64_t a, b, inner, outer;
} tied_site;

enum { PAIRS_MAX = 16 };

typedef struct tied_state {
  lowrank low;
  tied_site *sites; /* [low.pair_count] */
  int pair_count;
  tied_pair pair[PAIRS_MAX];
} tied_state;

static int add_pair(adapter *a, tied_state *state, const char *module, const site *place) {
  tied_pair *p = &state->pair[state->pair_count++];
  const char *stem = module ? module : "square";
  double own = option_is_auto(a->options, "lr_tied") ? 0 : option_real(a->options, "lr_tied");
  char name[METHOD_NAME_BYTES];
  *p = (tied_pair){.module = module, .in = place->in, .out = place->out};
  snprintf(name, sizeof name, "tied.%s.A", stem);
  TRY(adapter_add_segment(a, name, "tied", 1, state->low.rank, place->in, &p->a));
  adapter_last_segment(a)->rate_own = own;
  snprintf(name, sizeof name, "tied.%s.B", stem);
  TRY(adapter_add_segment(a, name, "tied", 1, place->out, state->low.rank, &p->b));
  adapter_last_segment(a)->rate_own = own;
  return ERROR_NONE;
}

/* The pair of a site, made by its first one. */
static int pair_of(adapter *a, tied_state *state, const site *place, const tied_pair **result) {
  int square = !strcmp(option_text(a->options, "tie"), "square"), i = 0;
  while (i < state->pair_count && !square && strcmp(state->pair[i].module, place->module)) i++;
  if (i == state->pair_count) TRY(add_pair(a, state, square ? NULL : place->module, place));
  *result = &state->pair[i];
  if (state->pair[i].in != place->in || state->pair[i].out != place->out)
    return FAIL(ERROR_USAGE, square ? "use method.tie=type, which ties maps of one name" : NULL,
                "method.tie=%s: %s is %d x %d, but the pair it would share is for %d x %d", option_text(a->options, "tie"), place->name, place->out, place->in,
                state->pair[i].out, state->pair[i].in);
  return ERROR_NONE;
}

static int add_vectors(adapter *a, const lowrank_pair *pair, int rank, tied_site *s) {
  const char *stem = a->sites[pair->site].name;
  char name[METHOD_NAME_BYTES + 8];
  snprintf(name, sizeof name, "%s.u", stem);
  TRY(adapter_add_segment(a, name, "adapter", 1, 1, rank, &s->inner));
  snprintf(name, sizeof name, "%s.v", stem);
  return adapter_add_segment(a, name, "adapter", 1, 1, pair->out, &s->outer);
}

static int tied_plan(adapter *a) {
  tied_state *state;
  int rank = (int)option_int(a->options, "rank"), has_vectors = !strcmp(option_text(a->options, "variant"), "tl6");
  TRY(arena_take(a->memory, 1, sizeof *state, &state));
  a->state = state;
  TRY(lowrank_plan(a, rank, 1, &state->low));
  TRY(arena_take(a->memory, (size_t)state->low.pair_count, sizeof *state->sites, &state->sites));
  for (int i = 0; i < state->low.pair_count; i++) {
    const tied_pair *p;
    TRY(pair_of(a, state, &a->sites[state->low.pairs[i].site], &p));
    state->sites[i] = (tied_site){.a = p->a, .b = p->b, .inner = -1, .outer = -1};
  }
  for (int i = 0; has_vectors && i < state->low.pair_count; i++) TRY(add_vectors(a, &state->low.pairs[i], rank, &state->sites[i]));
  return ERROR_NONE;
}

static int tied_init(const adapter *a, real *theta) {
  const tied_state *state = a->state;
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  for (int i = 0; i < state->pair_count; i++) {
    const tied_pair *p = &state->pair[i];
    real bound = (real)(1 / sqrt((double)p->in));
    random_fill_uniform(random_key_make(a->set.seed, RANDOM_ADAPTER, (uint64_t)i), 0, (int64_t)state->low.rank * p->in, -bound, bound, theta + p->a);
  }
  for (int i = 0; i < state->low.pair_count; i++) {
    const tied_site *s = &state->sites[i];
    for (int j = 0; s->inner >= 0 && j < state->low.rank; j++) theta[s->inner + j] = 1;
    for (int j = 0; s->outer >= 0 && j < state->low.pairs[i].out; j++) theta[s->outer + j] = 1;
  }
  return ERROR_NONE;
}

static int tied_expand(adapter *a, const real *theta) {
  tied_state *state = a->state;
  const int rank = state->low.rank;
  a->theta = theta;
  for (int i = 0; i < state->low.pair_count; i++) {
    const lowrank_pair *p = &state->low.pairs[i];
    const tied_site *s = &state->sites[i];
    real *made = state->low.made;
    memcpy(made + p->a, theta + s->a, (size_t)rank * (size_t)p->in * sizeof *made);
    if (s->inner < 0) {
      memcpy(made + p->b, theta + s->b, (size_t)rank * (size_t)p->out * sizeof *made);
      continue;
    }
    for (int o = 0; o < p->out; o++) {
      const real *from = theta + s->b + (int64_t)o * rank, *u = theta + s->inner, v = theta[s->outer + o];
      real *to = made + p->b + (int64_t)o * rank;
#pragma omp simd
      for (int k = 0; k < rank; k++) to[k] = from[k] * u[k] * v;
    }
  }
  state->low.factors = state->low.made;
  return ERROR_NONE;
}

static int tied_gather(const adapter *a, method_workspace *w, real *grad) {
  const tied_state *state = a->state;
  const int rank = state->low.rank;
  const real *theta = a->theta;
  for (int i = 0; i < state->low.pair_count; i++) {
    const lowrank_pair *p = &state->low.pairs[i];
    const tied_site *s = &state->sites[i];
    linalg_add((int64_t)rank * p->in, w->factor_gradient + p->a, grad + s->a);
    if (s->inner < 0) {
      linalg_add((int64_t)rank * p->out, w->factor_gradient + p->b, grad + s->b);
      continue;
    }
    for (int o = 0; o < p->out; o++) {
      const real *g = w->factor_gradient + p->b + (int64_t)o * rank, *b = theta + s->b + (int64_t)o * rank, *u = theta + s->inner, v = theta[s->outer + o];
      real *db = grad + s->b + (int64_t)o * rank, *du = grad + s->inner, dv = 0;
#pragma omp simd reduction(+ : dv)
      for (int k = 0; k < rank; k++) {
        db[k] += g[k] * u[k] * v;
        du[k] += g[k] * b[k] * v;
        dv += g[k] * b[k] * u[k];
      }
      grad[s->outer + o] += dv;
    }
  }
  memset(w->factor_gradient, 0, (size_t)a->factor_count * sizeof(real));
  return ERROR_NONE;
}

const method method_tied = {
    .name = "tied",
    .title = "Tied-LoRA",
    .paper = "Renduchintala et al. 2023, arXiv 2311.09578",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_DROPS_INPUT,
    .options = tied_options,
    .option_count = sizeof tied_options / sizeof *tied_options,
    .training_options = "lr_tied",
    .plan = tied_plan,
    .prepare = lowrank_prepare,
    .init = tied_init,
    .expand = tied_expand,
    .forward = lowrank_method_forward,
    .backward = lowrank_method_backward,
    .gather = tied_gather,
    .merge = lowrank_method_merge,
};
