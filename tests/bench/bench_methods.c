/* What each method costs on top of the base model: CPU time of its own parts against the head-only step with whole backward.
 *
 * MiniLM-L6's shape, steps of 32 sequences with the lengths of SST-2, two shards as on two ranks with one thread each (so expand and gather count twice, the
 * update too, as on two ranks). Both models run backward down to the first layer's maps, whatever the method touches, so that the difference is the method's.
 * Head-only and the method take turns on the same batch (A B A B), methods take turns within a round; all is CPU time of one thread.
 *
 *   own parts   expand, forward, backward, gather: timed inside the step around the method's functions; update: the optimiser on the method's numbers
 *   overhead    own parts (without update) of a step in percent of the head-only step: median over pairs
 *   whole       the same from the whole steps' difference, which includes what the method does to caches and to the base model's own work
 *   floor       FLOP of the method's products at the FMA peak probed beside them; bytes of what is no product at the bandwidth of sums in the second-level
 *               cache, and bytes that no cache can hold from step to step at that of reading memory, probed too; formulas: the methods' headers. What a
 *               product reads and writes is not counted. ratio: own parts to floor
 *
 * Frozen products: by oneDNN where the program has it and the processor AVX-512, else (or with the word openblas) by OpenBLAS; with the word bf16 their
 * operands are rounded to bfloat16, and the base step is the shorter for it.
 *
 * usage: bench_methods [ROUNDS] [openblas] [bf16] [METHOD ...]
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "linalg/linalg.h"
#include "optim/optim.h"
#include "support/workload.h"

enum { RANKS = 2, MAX_ROUNDS = 1001, ROOM = 1 << 26 }; /* ROOM: numbers, several times what a cache holds */

/* ---- methods under test ---- */

typedef struct setting {
  const char *name, *label;
  const char *key[4], *word[4]; /* options that differ from the presets */
} setting;

static const setting settings[] = {
    {"lora", "LoRA r=8", {0}, {0}},        {"red", "RED", {0}, {0}},
    {"unilora", "Uni-LoRA r=4", {0}, {0}}, {"vblora", "VB-LoRA r=4", {0}, {0}},
    {"tied", "Tied-LoRA r=8", {0}, {0}},   {"vera", "VeRA r=1024", {"rank"}, {"1024"}},
    {"glora", "GLoRA dense A", {0}, {0}},  {"glora", "GLoRA vector A", {"a"}, {"vector"}},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

enum { EXPAND, FORWARD, BACKWARD, GATHER, UPDATE, PARTS };
static const char *const part_names[PARTS] = {"expand", "forward", "backward", "gather", "update"};

typedef struct floor_cost {
  double flop_token, flop_rank;   /* per token, and per step and rank */
  double cache_token, cache_rank; /* bytes */
  double memory_rank;
} floor_cost;

typedef struct subject {
  const setting *setting;
  method timed; /* the method's table with clocks around its functions */
  option_set options;
  model *model;
  real *theta, *gradient;
  model_workspace *workspace[RANKS];
  optim *optimiser;
  floor_cost least;
  int rounds;
  double part[PARTS][MAX_ROUNDS], own[MAX_ROUNDS], head[MAX_ROUNDS], share[MAX_ROUNDS], whole[MAX_ROUNDS], tokens[MAX_ROUNDS], ratio[MAX_ROUNDS];
} subject;

/* The clocks that the wrapped functions below add to; a benchmark of one thread may keep them here. */
static double spent[PARTS];
static const method *wrapped;

static int timed_expand(adapter *a, const real *theta) {
  double start = clock_thread_cpu_s();
  int code = wrapped->expand(a, theta);
  spent[EXPAND] += clock_thread_cpu_s() - start;
  return code;
}

static int timed_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  double start = clock_thread_cpu_s();
  int code = wrapped->forward(a, w, group, n, x, y, y_stride);
  spent[FORWARD] += clock_thread_cpu_s() - start;
  return code;
}

static int timed_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  double start = clock_thread_cpu_s();
  int code = wrapped->backward(a, w, group, n, x, dy, y_stride, dx);
  spent[BACKWARD] += clock_thread_cpu_s() - start;
  return code;
}

static int timed_gather(const adapter *a, method_workspace *w, real *grad) {
  double start = clock_thread_cpu_s();
  int code = wrapped->gather(a, w, grad);
  spent[GATHER] += clock_thread_cpu_s() - start;
  return code;
}

/* ---- arithmetic floors, from the adapter's sites ---- */

static int is_adapted(const adapter *a, int place) { return adapter_targets(a, &a->sites[place]); }

/* Every product of a low-rank pair is 2 r in or 2 r out FLOP per token: H and y forward; dB, dH, dA, dX backward. The first layer's q, k, v want no dX. */
static double lowrank_flop(const adapter *a, double rank, int frozen_pair, int shares_a) {
  double flop = 0;
  for (int g = 0; g < a->group_count; g++) {
    int sites = 0;
    for (int k = 0; k < a->groups[g].site_count; k++) {
      const site *s = &a->sites[a->groups[g].site[k]];
      if (!is_adapted(a, a->groups[g].site[k])) continue;
      int wants_dx = g > 0, outs = frozen_pair ? 2 : 3, ins = shares_a && sites ? 0 : (frozen_pair ? 1 : 2) + wants_dx;
      flop += 2 * rank * (outs * (double)s->out + ins * (double)s->in);
      sites++;
    }
  }
  return flop;
}

static void glora_floor(const adapter *a, floor_cost *f) {
  double rank = (double)option_int(a->options, "rank");
  int dense = !strcmp(option_text(a->options, "a"), "lora");
  f->flop_token = lowrank_flop(a, rank, 0, 0);
  for (int g = 0; g < a->group_count; g++)
    for (int k = 0; k < a->groups[g].site_count; k++) {
      const site *s = &a->sites[a->groups[g].site[k]];
      double map = 2 * (double)s->in * s->out;
      int wants_dx = g > 0;
      if (!is_adapted(a, a->groups[g].site[k])) continue;
      if (dense) f->flop_token += (2 + wants_dx) * map;
      if (dense) f->flop_rank += ((1 + wants_dx) * (rank + 0.5) + 2 * rank + 0.5) * map; /* Xd Xu o W0 there and back; Q o W0 and its two products */
      f->flop_rank += 2 * map;                                                           /* W0 C and W0^T g */
      f->memory_rank += (dense ? 3 + wants_dx : 2) * 4.0 * s->in * s->out;               /* W0 for each of these */
    }
}

/* What a floor can be stated for: products' FLOP and the bytes of what is no product. */
static floor_cost find_floor(const adapter *a) {
  floor_cost f = {0};
  const char *name = a->method->name;
  double number = sizeof(real);
  const option_value *rank = option_find(a->options, "rank");
  if (!strcmp(name, "vera")) f.flop_token = lowrank_flop(a, (double)rank->integer, 1, 1);
  else if (!strcmp(name, "glora")) glora_floor(a, &f);
  else if (strcmp(name, "red")) f.flop_token = lowrank_flop(a, (double)rank->integer, 0, 0);
  else /* there y is read and written and its copy written, back dy likewise and the copy read */
    for (int i = 0; i < a->site_count; i++) f.cache_token += is_adapted(a, i) ? 6 * number * a->sites[i].out : 0;
  const double factors = (double)a->factor_count;
  if (!strcmp(name, "unilora")) f.cache_rank = (2 * (4 + number) + number) * factors; /* an index and a number each way, and clearing */
  else if (!strcmp(name, "tied")) f.cache_rank = 6 * number * factors;                /* factors made; their gradient read, added and cleared */
  else if (strcmp(name, "vblora")) f.cache_rank = 4 * number * factors;               /* gather: read, add, clear */
  else {
    const double top_k = (double)option_int(a->options, "top_k"), bank = (double)a->segments[0].rows * a->segments[0].cols;
    f.cache_rank = number * ((double)a->theta_count - bank + (4 * top_k + 3) * factors); /* logits once; vectors read there, read and added to back */
  }
  return f;
}

/* Bytes per second of adding up what no cache holds. */
static double probe_memory(const real *memory, int64_t count) {
  static volatile real kept;
  double start = clock_thread_cpu_s();
  real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) sum += memory[i];
  kept = sum;
  (void)kept;
  return (double)sizeof(real) * (double)count / (clock_thread_cpu_s() - start);
}

/* Bytes per second of y += x on arrays that fit the second-level cache: two are read, one is written. */
static double probe_cache(real *memory) {
  enum { COUNT = 32768, TURNS = 64, TRIES = 9 };
  double best = 0;
  for (int i = 0; i < TRIES; i++) {
    double start = clock_thread_cpu_s();
    for (int t = 0; t < TURNS; t++) linalg_add(COUNT, memory, memory + COUNT);
    double rate = 3.0 * sizeof(real) * COUNT * TURNS / (clock_thread_cpu_s() - start);
    if (rate > best) best = rate;
  }
  return best;
}

/* ---- setting up ---- */

static int make_optimiser(subject *s) {
  const adapter *a = model_adapter(s->model);
  static optim_segment segments[4096];
  if (a->segment_count > 4096) return FAIL(ERROR_INTERNAL, NULL, "%s has %d segments", s->setting->label, a->segment_count);
  for (int i = 0; i < a->segment_count; i++) {
    const segment *g = model_segment(s->model, model_adapter_segment(s->model) + i);
    segments[i] = (optim_segment){.offset = g->offset, .count = (int64_t)g->rows * g->cols, .rate = 1e-9};
  }
  optim_options options = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .schedule = OPTIM_CONSTANT, .steps = 1};
  return optim_create(&options, segments, a->segment_count, model_theta_count(s->model), &s->optimiser);
}

static model_options whole = {.objective = MODEL_CLASSIFY, .classes = 2, .seed = 1, .whole_backward = 1};

static int make_subject(const setting *chosen, const model_shape *shape, const workload *w, real *store, arena *memory, subject *s) {
  const method *m;
  TRY(method_find(chosen->name, &m));
  s->setting = chosen;
  s->timed = *m;
  if (m->expand) s->timed.expand = timed_expand;
  if (m->forward) s->timed.forward = timed_forward;
  if (m->backward) s->timed.backward = timed_backward;
  if (m->gather) s->timed.gather = timed_gather;
  TRY(workload_options(m, memory, &s->options));
  for (int k = 0; k < 4 && chosen->key[k]; k++)
    for (int i = 0; i < s->options.count; i++) {
      option_value *v = (option_value *)&s->options.values[i]; /* made above, ours */
      if (!strcmp(v->declared->name, chosen->key[k])) TRY(option_parse(v->declared, chosen->word[k], v));
    }
  TRY(model_create(shape, &whole, &s->timed, &s->options, &s->model));
  TRY(model_attach(s->model, store));
  TRY(arena_take(memory, (size_t)model_theta_count(s->model), sizeof(real), &s->theta));
  TRY(arena_take(memory, (size_t)model_theta_count(s->model), sizeof(real), &s->gradient));
  wrapped = m;
  TRY(model_init_theta(s->model, s->theta));
  for (int r = 0; r < RANKS; r++) TRY(model_workspace_create(s->model, w->sizes.tokens, w->sizes.sequences, 0, w->sizes.squares, 1, &s->workspace[r]));
  if (!model_adapter(s->model)->segment_count) return ERROR_NONE; /* head-only */
  s->least = find_floor(model_adapter(s->model));
  return make_optimiser(s);
}

/* What the machine can do, the median of the probes. */
typedef struct machine {
  double peak, cache, memory; /* FLOP/s, bytes/s */
} machine;

/* Probed again and again between the rounds, so that a noisy machine disturbs both sides alike. */
enum { PROBES_MAX = MAX_ROUNDS / 8 + 2 };
typedef struct probes {
  int count;
  double peak[PROBES_MAX], cache[PROBES_MAX], memory[PROBES_MAX];
} probes;

static void probe(real *room, int64_t count, probes *p) {
  p->peak[p->count] = linalg_peak(LINALG_F32, 0.2);
  p->cache[p->count] = probe_cache(room);
  p->memory[p->count++] = probe_memory(room, count);
}

static double flop_of(const floor_cost *f, double tokens) { return f->flop_token * tokens + RANKS * f->flop_rank; }
static double cache_of(const floor_cost *f, double tokens) { return f->cache_token * tokens + RANKS * f->cache_rank; }

/* Seconds of a step on all ranks. */
static double floor_of(const floor_cost *f, double tokens, const machine *m) {
  return flop_of(f, tokens) / m->peak + cache_of(f, tokens) / m->cache + RANKS * f->memory_rank / m->memory;
}

/* One step of all ranks on batch b: CPU seconds, the update apart. */
static int run_step(subject *s, workload *w, int b, int64_t step, double *seconds) {
  method_find(s->setting->name, &wrapped);
  memset(spent, 0, sizeof spent);
  double start = clock_thread_cpu_s();
  for (int r = 0; r < RANKS; r++) {
    model_sums sums = {0};
    TRY(model_expand(s->model, s->theta));
    memset(s->gradient, 0, (size_t)model_theta_count(s->model) * sizeof(real));
    TRY(model_gradient(s->model, s->workspace[r], workload_shard(w, b, r), s->gradient, &sums, NULL));
    TRY(model_gather(s->model, s->workspace[r], s->gradient));
  }
  double middle = clock_thread_cpu_s();
  *seconds = middle - start;
  for (int r = 0; r < RANKS && s->optimiser; r++) optim_step(s->optimiser, step, s->theta, s->gradient, 1.0 / BATCH, model_active(s->model));
  spent[UPDATE] = clock_thread_cpu_s() - middle;
  return ERROR_NONE;
}

static int run_pair(subject *head, subject *s, workload *w, int round) {
  double before, with, own = 0;
  int b = round % BATCHES;
  TRY(run_step(head, w, b, 0, &before));
  TRY(run_step(s, w, b, round, &with));
  int i = s->rounds++;
  for (int p = 0; p < PARTS; p++) s->part[p][i] = spent[p];
  for (int p = 0; p < UPDATE; p++) own += spent[p];
  s->own[i] = own;
  s->head[i] = before;
  s->share[i] = own / before;
  s->whole[i] = (with - before) / before;
  s->tokens[i] = w->batch_tokens[b];
  return ERROR_NONE;
}

/* ---- the table ---- */

static void print_subject(subject *s, double tokens, const machine *m) {
  for (int i = 0; i < s->rounds; i++) s->ratio[i] = s->own[i] / floor_of(&s->least, s->tokens[i], m);
  printf("%-15s", s->setting->label);
  for (int p = 0; p < PARTS; p++) printf(" %8.3f", 1e3 * workload_median(s->part[p], s->rounds));
  printf(" | %8.3f %8.2f", 1e3 * workload_median(s->own, s->rounds), 1e3 * workload_median(s->head, s->rounds));
  double share = workload_median(s->share, s->rounds), difference = workload_median(s->whole, s->rounds);
  printf(" %7.2f %% %7.2f %% | %8.1f %8.0f %8.0f %8.3f %6.2f\n", 100 * share, 100 * difference, flop_of(&s->least, tokens) / 1e6,
         cache_of(&s->least, tokens) / 1e3, RANKS * s->least.memory_rank / 1e3, 1e3 * floor_of(&s->least, tokens, m), workload_median(s->ratio, s->rounds));
}

static int is_wanted(const setting *s, int count, char **names) {
  int any = 0;
  for (int i = 0; i < count; i++) {
    if (!strcmp(names[i], s->name)) return 1;
    any |= strcmp(names[i], "openblas") && strcmp(names[i], "bf16");
  }
  return !any;
}

static int choose_backend(int count, char **names) {
  int asked = 0;
  for (int i = 0; i < count; i++) {
    if (!strcmp(names[i], "bf16")) whole.precision = LINALG_BF16;
    asked |= !strcmp(names[i], "openblas");
  }
  whole.backend = asked || linalg_backend_check(LINALG_ONEDNN, whole.precision) ? LINALG_OPENBLAS : LINALG_ONEDNN;
  return linalg_backend_check(whole.backend, whole.precision);
}

static int bench(int rounds, int name_count, char **names) {
  static workload work;
  static subject head, subjects[SETTINGS];
  static const setting head_only = {"head", "head-only", {0}, {0}};
  arena *memory;
  real *store, *room;
  model *first;
  model_shape shape;
  const method *m;
  option_set none;
  int count = 0;
  TRY(linalg_setup());
  TRY(choose_backend(name_count, names));
  TRY(arena_create(&memory));
  TRY(model_shape_known("minilm-l6", &shape));
  TRY(workload_make(shape.vocabulary, RANKS, memory, &work));
  TRY(method_find("head", &m)); /* the base values are the same for every method */
  TRY(workload_options(m, memory, &none));
  TRY(model_create(&shape, &whole, m, &none, &first));
  TRY(arena_take(memory, (size_t)model_store_count(first), sizeof *store, &store));
  TRY(arena_take(memory, ROOM, sizeof *room, &room));
  TRY(model_attach(first, store));
  TRY(model_randomize(first));
  model_destroy(first);
  TRY(make_subject(&head_only, &shape, &work, store, memory, &head));
  for (int i = 0; i < SETTINGS; i++)
    if (is_wanted(&settings[i], name_count, names)) TRY(make_subject(&settings[i], &shape, &work, store, memory, &subjects[count++]));
  static probes found;
  probe(room, ROOM, &found);
  for (int round = -BATCHES; round < rounds; round++) { /* rounds below 0 warm up */
    for (int i = 0; i < count; i++) {
      TRY(run_pair(&head, &subjects[i], &work, round + BATCHES));
      if (round < 0) subjects[i].rounds = 0;
    }
    if (round % 8 == 7) probe(room, ROOM, &found);
  }
  const machine limits = {.peak = workload_median(found.peak, found.count),
                          .cache = workload_median(found.cache, found.count),
                          .memory = workload_median(found.memory, found.count)};
  double tokens = work.tokens / BATCHES;
  printf("MiniLM-L6 shape, batch %d, %.0f tokens a step, %d ranks of one thread: CPU milliseconds of a step on all ranks, medians of %d pairs\n", BATCH, tokens,
         RANKS, rounds);
  printf(
      "FMA peak of a core %.1f GFLOP/s (%d bits), sums in the second-level cache %.0f GB/s, memory %.0f GB/s; kernels for %s, frozen products by %s in %s\n\n",
      limits.peak / 1e9, linalg_peak_bits(LINALG_F32), limits.cache / 1e9, limits.memory / 1e9, linalg_core(), linalg_backend_names[whole.backend],
      linalg_precision_names[whole.precision]);
  printf("%-15s", "method");
  for (int p = 0; p < PARTS; p++) printf(" %8s", part_names[p]);
  printf(" | %8s %8s %9s %9s | %8s %8s %8s %8s %6s\n", "own", "head", "overhead", "whole", "MFLOP", "cache kB", "mem. kB", "floor", "ratio");
  for (int i = 0; i < count; i++) print_subject(&subjects[i], tokens, &limits);
  for (int i = 0; i <= count; i++) {
    subject *s = i < count ? &subjects[i] : &head;
    for (int r = 0; r < RANKS; r++) model_workspace_destroy(s->workspace[r]);
    optim_destroy(s->optimiser);
    model_destroy(s->model);
  }
  arena_destroy(memory);
  return ERROR_NONE;
}

int main(int argc, char **argv) {
  int64_t rounds = 41;
  if ((argc > 1 && text_to_int(argv[1], &rounds)) || rounds < 1 || rounds > MAX_ROUNDS - BATCHES) {
    fprintf(stderr, "usage: bench_methods [ROUNDS 1..%d] [openblas] [bf16] [METHOD ...]\n", MAX_ROUNDS - BATCHES);
    return 2;
  }
  if (bench((int)rounds, argc > 2 ? argc - 2 : 0, argv + 2)) {
    log_error(error_last());
    return 1;
  }
  return 0;
}
