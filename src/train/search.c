#include "train/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"

enum { DRAWS = 100, ATTEMPTS = 10 }; /* refused draws in a row before a map-by-map one; attempts per candidate that is wanted, as in the released code */

const char *const search_origin_names[4] = {"random", "mutation", "crossover", "baseline"};

typedef struct evolution {
  const method_paths *space;
  const search_options *options;
  const search_judge *judge;
  search_result *result;
  arena *memory;
  int places, paths; /* paths of one place */
  int64_t *size;     /* [places][paths] */
  int64_t *smallest; /* [places] */
  int64_t capacity;  /* of candidates */
  int64_t *slots;    /* [slot_count] candidate + 1 under its path's hash; 0: free */
  size_t slot_count;
  int64_t *parents; /* [options.parents] the best candidates, best first */
  int parent_count;
  int32_t *draft, *order; /* [places] */
  const int32_t **asked;  /* [population, or randoms if more] */
  search_value *answers;
} evolution;

/* ---- random numbers: one stream per attempt ---- */

typedef struct stream {
  random_key key;
  uint64_t high;
} stream;

static stream stream_of(const evolution *e, int generation, search_origin origin, int64_t attempt) {
  return (stream){random_key_make(e->options->seed, RANDOM_SEARCH, (uint64_t)generation), (uint64_t)origin << 56 | (uint64_t)attempt};
}

static int64_t below(const stream *s, uint64_t element, int64_t count) { return (int64_t)(random_uniform(s->key, s->high, element) * (double)count); }

/* ---- the space ---- */

static int measure(evolution *e, const adapter *a) {
  search_result *r = e->result;
  double sum = 0;
  TRY(arena_take(e->memory, (size_t)e->places * (size_t)e->paths, sizeof *e->size, &e->size));
  TRY(arena_take(e->memory, (size_t)e->places, sizeof *e->smallest, &e->smallest));
  for (int i = 0; i < e->places; i++) {
    e->smallest[i] = INT64_MAX;
    for (int p = 0; p < e->paths; p++) {
      int64_t size = e->size[(int64_t)i * e->paths + p] = e->space->size(a, i, p);
      if (size < e->smallest[i]) e->smallest[i] = size;
      sum += (double)size;
    }
    r->smallest += e->smallest[i];
  }
  r->mean_size = (int64_t)(sum / e->paths);
  r->limit = e->options->limit < 0 ? r->mean_size : e->options->limit;
  if (r->limit >= r->smallest) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "a random path has more in the mean: leave the cap out to use that", "the cap of %lld parameters is below the smallest path's %lld",
              (long long)r->limit, (long long)r->smallest);
}

static int64_t size_of(const evolution *e, const int32_t *path) {
  int64_t size = 0;
  for (int i = 0; i < e->places; i++) size += e->size[(int64_t)i * e->paths + path[i]];
  return size;
}

/* ---- the candidates so far ---- */

static size_t slot_of(const evolution *e, const int32_t *path) {
  uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
  for (int i = 0; i < e->places; i++) hash = (hash ^ (uint64_t)path[i]) * 0x100000001B3u;
  size_t slot = (size_t)(hash ^ hash >> 32) % e->slot_count;
  while (e->slots[slot] && memcmp(e->result->candidates[e->slots[slot] - 1].path, path, (size_t)e->places * sizeof *path)) slot = (slot + 1) % e->slot_count;
  return slot;
}

/* Index of the candidate with this path; -1: none. */
static int64_t find(const evolution *e, const int32_t *path) { return e->slots[slot_of(e, path)] - 1; }

/* The draft becomes a candidate, unless it was one before or is too large. */
static int add(evolution *e, int generation, search_origin origin) {
  search_result *r = e->result;
  int64_t size = size_of(e, e->draft);
  size_t slot = slot_of(e, e->draft);
  if (size > r->limit || e->slots[slot] || r->count == e->capacity) return 0;
  search_candidate *c = &r->candidates[r->count++];
  c->generation = generation;
  c->origin = origin;
  c->size = size;
  memcpy(c->path, e->draft, (size_t)e->places * sizeof *c->path);
  e->slots[slot] = r->count;
  return 1;
}

/* ---- drawing ---- */

/* Map by map in random order, among the paths that leave room for the smallest of the others. */
static void draw_fitting(evolution *e, const stream *s) {
  int64_t left = e->result->limit - e->result->smallest;
  uint64_t element = 0;
  for (int i = 0; i < e->places; i++) {
    int j = (int)below(s, element++, i + 1);
    e->order[i] = e->order[j];
    e->order[j] = i;
  }
  for (int i = 0; i < e->places; i++) {
    int place = e->order[i], fitting = 0, path = -1;
    const int64_t *size = e->size + (int64_t)place * e->paths;
    for (int p = 0; p < e->paths; p++) fitting += size[p] - e->smallest[place] <= left;
    int64_t chosen = below(s, element++, fitting);
    while (chosen >= 0) chosen -= size[++path] - e->smallest[place] <= left;
    e->draft[place] = path;
    left -= size[path] - e->smallest[place];
  }
}

/* A random path within the cap. */
static void draw_random(evolution *e, int generation, search_origin origin, int64_t attempt) {
  stream s = {{{0, 0}}, 0};
  for (int draw = 0; draw < DRAWS; draw++) {
    s = stream_of(e, generation, origin, attempt * DRAWS + draw);
    for (int i = 0; i < e->places; i++) e->draft[i] = (int32_t)below(&s, (uint64_t)i, e->paths); /* uniform in every gene */
    if (size_of(e, e->draft) <= e->result->limit) return;
  }
  draw_fitting(e, &s);
}

static const int32_t *parent_path(const evolution *e, const stream *s, uint64_t element) {
  return e->result->candidates[e->parents[below(s, element, e->parent_count)]].path;
}

/* A child of one parent (each gene drawn anew with probability mutate_share) or of two (each gene from either). */
static void draw_child(evolution *e, int generation, search_origin origin, int64_t attempt) {
  const method_paths *space = e->space;
  stream s = stream_of(e, generation, origin, attempt);
  const int32_t *mother = parent_path(e, &s, 0), *father = parent_path(e, &s, 1);
  for (int i = 0; i < e->places; i++) {
    int32_t path = 0, digit_value = 1, from = mother[i], other = father[i];
    for (int g = 0; g < space->genes; g++) {
      int count = space->choices[g];
      uint64_t element = 2 + 2 * ((uint64_t)i * (uint64_t)space->genes + (uint64_t)g);
      double u = random_uniform(s.key, s.high, element);
      int32_t gene = from % count;
      if (origin == SEARCH_CROSSOVER) gene = u < 0.5 ? gene : other % count;
      else if (u < e->options->mutate_share) gene = (int32_t)below(&s, element + 1, count);
      path += gene * digit_value;
      digit_value *= count;
      from /= count;
      other /= count;
    }
    e->draft[i] = path;
  }
}

static void fill(evolution *e, int generation, search_origin origin, int wanted) {
  int64_t attempts = (int64_t)ATTEMPTS * wanted;
  for (int64_t attempt = 0; wanted > 0 && attempt < attempts; attempt++) {
    if (origin == SEARCH_RANDOM || origin == SEARCH_BASELINE) draw_random(e, generation, origin, attempt);
    else draw_child(e, generation, origin, attempt);
    wanted -= add(e, generation, origin);
  }
}

/* ---- judging ---- */

int search_better(const search_options *o, const search_value *a, const search_value *b) {
  for (int turn = 0; turn < 2; turn++) {
    int by_loss = turn == 0 ? o->by_loss : !o->by_loss;
    metric_kind metric = by_loss ? METRICS_LOSS : o->metric;
    double x = by_loss ? a->loss : a->value, y = by_loss ? b->loss : b->value;
    if (metrics_better(metric, x, y)) return 1;
    if (metrics_better(metric, y, x)) return 0;
  }
  return 0;
}

static int is_better(const evolution *e, int64_t a, int64_t b) {
  const search_candidate *x = &e->result->candidates[a], *y = &e->result->candidates[b];
  if (search_better(e->options, &x->value, &y->value)) return 1;
  if (search_better(e->options, &y->value, &x->value)) return 0;
  return x->size != y->size ? x->size < y->size : a < b;
}

static void keep_best(evolution *e, int64_t candidate) {
  int most = e->options->parents, at = e->parent_count;
  while (at > 0 && is_better(e, candidate, e->parents[at - 1])) at--;
  if (at == most) return;
  if (e->parent_count < most) e->parent_count++;
  memmove(e->parents + at + 1, e->parents + at, (size_t)(e->parent_count - at - 1) * sizeof *e->parents);
  e->parents[at] = candidate;
}

/* Values of the candidates from `first` on. */
static int judge(evolution *e, int64_t first) {
  search_result *r = e->result;
  int count = (int)(r->count - first);
  if (count == 0) return ERROR_NONE;
  for (int i = 0; i < count; i++) e->asked[i] = r->candidates[first + i].path;
  TRY(e->judge->score(e->judge->context, count, e->asked, e->answers));
  for (int i = 0; i < count; i++) r->candidates[first + i].value = e->answers[i];
  return ERROR_NONE;
}

static int finish_generation(evolution *e, int generation, int64_t first) {
  search_result *r = e->result;
  search_generation *g = &r->generations[r->generation_count++];
  TRY(judge(e, first));
  g->evaluated = (int)(r->count - first);
  for (int64_t i = first; i < r->count; i++) {
    keep_best(e, i);
    g->mean += r->candidates[i].value.value / g->evaluated;
  }
  if (g->evaluated == 0) g->mean = NAN;
  r->best = e->parents[0];
  g->best = r->candidates[r->best].value.value;
  if (e->judge->tell) e->judge->tell(e->judge->context, generation, g);
  return ERROR_NONE;
}

/* The random paths to compare with that generation 0 does not hold. One that the evolution came upon is compared with, too, and not evaluated again. */
static int add_randoms(evolution *e) {
  search_result *r = e->result;
  int64_t first = r->count;
  int64_t zero = r->generations[0].evaluated;
  for (int64_t i = 0; i < zero && r->random_count < e->options->randoms; i++) r->randoms[r->random_count++] = i;
  int64_t attempts = (int64_t)ATTEMPTS * (e->options->randoms - r->random_count);
  for (int64_t attempt = 0; r->random_count < e->options->randoms && attempt < attempts; attempt++) {
    draw_random(e, 0, SEARCH_BASELINE, attempt);
    int64_t known = find(e, e->draft);
    int is_listed = known >= first || (known >= 0 && known < zero);
    for (int i = (int)zero; known >= 0 && !is_listed && i < r->random_count; i++) is_listed = r->randoms[i] == known;
    if (is_listed || (known < 0 && !add(e, 0, SEARCH_BASELINE))) continue;
    r->randoms[r->random_count++] = known < 0 ? r->count - 1 : known;
  }
  return judge(e, first);
}

/* ---- the whole ---- */

static int check(const search_options *o) {
  if (o->population < 1 || o->parents < 1 || o->generations < 0 || o->mutations < 0 || o->crossovers < 0 || o->randoms < 1)
    return FAIL(ERROR_USAGE, NULL, "a search needs a population, parents and random paths of at least 1, and no negative numbers");
  if (o->mutations > o->population - o->crossovers)
    return FAIL(ERROR_USAGE, "a larger population, or fewer mutations and crossovers", "%d mutations and %d crossovers are more than the population of %d",
                o->mutations, o->crossovers, o->population);
  if (!(o->mutate_share >= 0 && o->mutate_share <= 1)) return FAIL(ERROR_USAGE, NULL, "the share of mutated genes is %g, not in 0 .. 1", o->mutate_share);
  return ERROR_NONE;
}

static int take_memory(evolution *e) {
  const search_options *o = e->options;
  search_result *r = e->result;
  size_t places = (size_t)e->places, most = (size_t)(o->population > o->randoms ? o->population : o->randoms);
  e->capacity = (int64_t)o->population * (o->generations + 1) + o->randoms;
  e->slot_count = 2 * (size_t)e->capacity + 1;
  TRY(arena_take(e->memory, (size_t)e->capacity, sizeof *r->candidates, &r->candidates));
  TRY(arena_take(e->memory, e->slot_count, sizeof *e->slots, &e->slots));
  TRY(arena_take(e->memory, (size_t)o->parents + 1, sizeof *e->parents, &e->parents));
  TRY(arena_take(e->memory, places, sizeof *e->draft, &e->draft));
  TRY(arena_take(e->memory, places, sizeof *e->order, &e->order));
  TRY(arena_take(e->memory, most, sizeof *e->asked, &e->asked));
  TRY(arena_take(e->memory, most, sizeof *e->answers, &e->answers));
  TRY(arena_take(e->memory, (size_t)o->generations + 1, sizeof *r->generations, &r->generations));
  TRY(arena_take(e->memory, (size_t)o->randoms, sizeof *r->randoms, &r->randoms));
  int32_t *pool;
  TRY(arena_take(e->memory, (size_t)e->capacity * places, sizeof *pool, &pool));
  for (int64_t i = 0; i < e->capacity; i++) r->candidates[i].path = pool + i * e->places;
  return ERROR_NONE;
}

int search_evolve(const method_paths *paths, const adapter *a, const search_options *options, const search_judge *decider, arena *memory,
                  search_result *result) {
  *result = (search_result){.places = paths->places(a)};
  evolution e = {.space = paths, .options = options, .judge = decider, .result = result, .memory = memory, .places = result->places, .paths = 1};
  for (int g = 0; g < paths->genes; g++) e.paths *= paths->choices[g];
  int code = check(options);
  if (!code) code = measure(&e, a);
  if (!code) code = take_memory(&e);
  if (decider->agree) code = decider->agree(decider->context, code);
  if (code) return code;
  for (int generation = 0; generation <= options->generations; generation++) {
    int64_t first = result->count;
    if (generation > 0) {
      fill(&e, generation, SEARCH_MUTATION, options->mutations);
      fill(&e, generation, SEARCH_CROSSOVER, options->crossovers);
    }
    fill(&e, generation, SEARCH_RANDOM, options->population - (int)(result->count - first));
    TRY(finish_generation(&e, generation, first));
  }
  return add_randoms(&e);
}
