/* Measuring all-reduces: one case is a communicator of the first n ranks, an algorithm, and the messages of one step.
 *
 * A repetition begins at a common start: fresh numbers, then a barrier, from which each rank takes its time until it holds the sums. The repetition's time is
 * that of the slowest rank; the barrier's own skew (about the time of one small message) is in it. Bytes on the wire are taken around it, between barriers of
 * their own, whose bytes were measured before and are left out. Two messages of a case have a start each, and their times and bytes add up. Ranks outside the
 * communicator sleep meanwhile.
 *
 * Collective functions are called by all ranks with the same arguments, and agree on errors.
 */
#ifndef PEFTSCALE_BENCH_H
#define PEFTSCALE_BENCH_H

#include "comm/comm.h"
#include "comm/element.h"
#include "comm/plan.h"

/* MPI's own choice; MPI, forced (force.h); the suite's own (allreduce.h). */
typedef enum bench_algorithm {
  BENCH_MPI,
  BENCH_MPI_DOUBLING,
  BENCH_MPI_RING,
  BENCH_MPI_SEGMENTED_RING,
  BENCH_MPI_RABENSEIFNER,
  BENCH_DOUBLING,
  BENCH_RING,
  BENCH_RABENSEIFNER,
  BENCH_ALGORITHMS
} bench_algorithm;
extern const char *const bench_algorithm_names[BENCH_ALGORITHMS]; /* "mpi", "mpi:ring", "ring" ... */

/* Not collective. Of an own algorithm. */
int bench_is_own(bench_algorithm a);

/* Not collective. Whether it exists with this MPI library: those that are forced are Open MPI's alone. */
int bench_exists(bench_algorithm a);

enum { BENCH_MESSAGES = 2, BENCH_LEAST = 3 };

typedef struct bench_message {
  element_kind kind;
  int64_t count; /* 0: left out */
} bench_message;

typedef struct bench_case {
  int ranks; /* 1 .. all */
  bench_algorithm algorithm;
  bench_message messages[BENCH_MESSAGES]; /* one after the other */
} bench_case;

typedef struct bench_limits {
  int repetitions;
  double seconds; /* no further repetition once so long was spent on a case, but for BENCH_LEAST of them */
} bench_limits;

typedef struct bench_sample {
  double seconds, seconds_mean; /* of the slowest rank; mean over ranks                   */
  double wire_mean;             /* bytes on the wire per rank; NaN where not measured     */
  int64_t wire_max;             /* of one rank; -1 likewise                               */
} bench_sample;

typedef struct bench_result {
  int nodes;           /* hosts of these ranks                                                                   */
  int samples;         /* repetitions made                                                                       */
  int rounds;          /* own algorithms, as counted in every repetition; -1 else                                */
  double counted_mean; /* bytes sent per rank, likewise; NaN else                                                */
  int64_t counted_max; /* -1 else                                                                                */
} bench_result;

/* Over the repetitions of a case. p90: the least time that nine in ten do not exceed. */
typedef struct bench_summary {
  double min, median, p90; /* of the slowest rank's seconds             */
  double wire_mean;        /* mean over ranks and repetitions, or NaN   */
  int64_t wire_max;        /* of one rank in one repetition, or -1      */
} bench_summary;

typedef struct bench bench;

/* Not collective, before comm_initialize: lets algorithms of the MPI library be forced. */
void bench_allow_forced(void);

/* Not collective. Bytes of a case's messages. */
int64_t bench_payload(const bench_case *c);

/* Not collective. count >= 1. Errors: ERROR_MEMORY. */
int bench_summarize(const bench_sample *samples, int count, bench_summary *result);

/* Collective. Takes the memory for the largest of the cases and finds out whether all their algorithms are to be had. Errors: ERROR_USAGE (an algorithm that
 * cannot be forced here, a message of more than INT_MAX numbers), ERROR_MEMORY. */
int bench_create(comm *c, const bench_case *cases, int count, bench **result);

/* Collective. NULL is allowed. */
void bench_destroy(bench *b);

/* Collective. samples [limits.repetitions] and *result are set on rank 0. The sums are checked once; the own algorithms' counters in every repetition, against
 * plan.h. Errors: ERROR_SYSTEM (MPI's, wrong sums), ERROR_INTERNAL (wrong counters). */
int bench_measure(bench *b, const bench_case *one, const bench_limits *limits, bench_sample *samples, bench_result *result);

#endif
