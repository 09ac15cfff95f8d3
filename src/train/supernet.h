/* The search for the best path of a trained super-network, on data that neither trained it nor judge the result.
 *
 * Data. The validation split is cut in two by a hash of the example id, the same way for every run and seed. The search half scores candidates; the unseen half
 * says what the choice is worth on examples that the search has not chosen by; the test split is read once, at the end. A run trained with train.keep=best has
 * looked at both halves to choose its epoch; train.keep=last has not.
 *
 * Reference. Random paths under the same cap on parameters: their mean, spread and best, and the one that is best on the search half, are what a search has to
 * beat. The widest path is above the cap and says what all parameters together do.
 *
 * Work. A rank evaluates whole candidates alone, without messages; values are gathered and every rank then evolves the same (train/search.h). A candidate's
 * groups of sequences follow from the lengths alone, so the result is the same, bit for bit, for any number of ranks and threads.
 */
#ifndef PEFTSCALE_SUPERNET_H
#define PEFTSCALE_SUPERNET_H

#include "train/run.h"
#include "train/search.h"

typedef enum supernet_part { SUPERNET_SEARCH, SUPERNET_UNSEEN, SUPERNET_TEST, SUPERNET_PARTS } supernet_part;

/* Of the random paths, by the run's metric. best: the best one's value on this part. chosen: the value here of the path that is best on the search half, which
 * is what a search by random draws alone would have found. */
typedef struct supernet_random {
  double mean, deviation, best, chosen;
} supernet_random;

typedef struct supernet_report {
  int64_t examples[SUPERNET_PARTS]; /* test may have none: NaN below */
  search_result evolution;
  double found[SUPERNET_PARTS], widest[SUPERNET_PARTS];
  double found_loss[SUPERNET_PARTS], random_loss[SUPERNET_PARTS]; /* the latter in the mean */
  supernet_random random[SUPERNET_PARTS];
  int64_t widest_size, chosen_size; /* chosen: of the random path that is best on the search half */
  double random_size;               /* of the random paths, mean                                    */
} supernet_report;

/* The super-network's paths; NULL with an error where the run's method trains none. Not collective. Errors: ERROR_USAGE. */
int supernet_paths(const run *r, const method_paths **paths);

/* Collective. r->chosen is the trained theta; r is used for nothing else meanwhile. examples: of the search half at most so many, always the same ones (0:
 * all). The report's arrays belong to `memory`. Errors: ERROR_USAGE (no super-network, options), ERROR_INPUT (a half without examples), those of
 * evaluations. */
int supernet_search(run *r, const search_options *options, int64_t examples, arena *memory, supernet_report *report);

/* Not collective. Evaluations, and an export of r, use this path from now on (NULL: the widest). */
int supernet_follow(run *r, const int32_t *path);

#endif
