/* The evolutionary search over the paths of a super-network (Chavan et al., arXiv 2306.07967; the settings of its released code): which sub-network within a
 * cap on parameters scores best, without any training.
 *
 * It knows only method_paths (genes, choices, places, sizes) and asks a callback for the values of new paths, so that it serves every method with a
 * super-network, and tests with a landscape of their own.
 *
 *   generation 0    `population` random paths
 *   generation g    `mutations` mutated parents (each gene drawn anew with probability mutate_share), `crossovers` of two parents (each gene from either), and
 *                   random paths until there are `population`; parents are the `parents` best of all paths so far
 *
 * Every path is within the cap, the random ones to compare with included: draws are uniform and refused above it; where that fails DRAWS times in a row (a
 * low cap), map by map in random order among what still fits. A path that was seen is not a candidate again and never evaluated twice.
 *
 * Random numbers are a function of (seed, generation, origin, attempt, gene): all ranks that call with the same values evolve the same.
 *
 * Not collective by itself, but `judge` may be: all ranks then call together. Not thread-safe.
 */
#ifndef PEFTSCALE_SEARCH_H
#define PEFTSCALE_SEARCH_H

#include "base/arena.h"
#include "method/method.h"
#include "train/metrics.h"

typedef struct search_options {
  uint64_t seed;
  int population, generations, parents, mutations, crossovers;
  int randoms;         /* random paths to compare with: the first ones of generation 0, and more of them behind the last generation if need be */
  double mutate_share; /* in [0, 1] */
  int64_t limit;       /* the cap on a path's parameters; below 0: the mean size of a random path */
  metric_kind metric;  /* what `value` is, and so which is better */
  int by_loss;         /* the loss decides and the metric only where losses are equal: it is smoother, so that few examples say more */
} search_options;

/* What a path is worth. Equal values are told apart by the loss (by_loss: equal losses by the value), then by size, then by age. */
typedef struct search_value {
  double value, loss;
} search_value;

/* origin baseline: a random path beyond generation 0 that was drawn for the comparison alone and took no part in the evolution. */
typedef enum search_origin { SEARCH_RANDOM, SEARCH_MUTATION, SEARCH_CROSSOVER, SEARCH_BASELINE } search_origin;
extern const char *const search_origin_names[4];

typedef struct search_candidate {
  int generation;
  search_origin origin;
  int64_t size;
  search_value value;
  int32_t *path; /* [places] */
} search_candidate;

typedef struct search_generation {
  int evaluated;     /* paths that were new                                               */
  double best, mean; /* value of the best path so far; mean of this generation's new ones */
} search_generation;

/* Owned by the arena that was given. */
typedef struct search_result {
  int places;
  int64_t limit, mean_size, smallest; /* the cap; parameters of a random path in the mean, and of the smallest one */
  search_candidate *candidates;       /* [count] in the order of their evaluation */
  int64_t count, best;
  search_generation *generations; /* [generation_count], generation 0 first */
  int generation_count;
  int64_t *randoms; /* [random_count] candidates: the random paths to compare with; fewer than asked for where there are no more */
  int random_count;
} search_result;

typedef struct search_judge {
  /* values [count] of the paths [count][places]. Errors go up. */
  int (*score)(void *context, int count, const int32_t *const *paths, search_value *values);
  int (*agree)(void *context, int code); /* once, when all memory is taken: the worst code of those who evolve together; may be NULL */
  void (*tell)(void *context, int generation, const search_generation *g); /* after each generation; may be NULL */
  void *context;
} search_judge;

/* a: the adapter whose places are searched (for sizes alone). Errors: ERROR_USAGE (an option out of range, a cap below the smallest path), ERROR_MEMORY,
 * those of the judge. */
int search_evolve(const method_paths *paths, const adapter *a, const search_options *options, const search_judge *judge, arena *memory, search_result *result);

/* Whether value a is better than b, by the options' metric and by_loss. */
int search_better(const search_options *o, const search_value *a, const search_value *b);

#endif
