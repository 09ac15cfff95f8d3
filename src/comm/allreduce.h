/* The suite's own all-reduce algorithms, for any number of ranks and numbers, with exact counters of rounds and bytes. What they do and what they cost by
 * formula: plan.h. MPI_Allreduce chooses its algorithm by itself; here it is known which one runs.
 *
 * Sums are bitwise the same on all ranks: each number of the result is made by one rank and copied, or, in recursive doubling, made by all of them by the same
 * additions but for the order of the two operands.
 */
#ifndef PEFTSCALE_ALLREDUCE_H
#define PEFTSCALE_ALLREDUCE_H

#include <mpi.h>

#include "comm/element.h"
#include "comm/plan.h"

/* Collective over `group`. vector[0 .. count) becomes its sum (or maximum) over the ranks. scratch: room for `count` numbers, not overlapping; 0 <= count <=
 * INT_MAX. Allocates nothing. counts: of this call. Errors: ERROR_SYSTEM (MPI's, where the group's error handler returns). */
int allreduce_run(MPI_Comm group, allreduce_algorithm algorithm, element_kind kind, void *vector, int64_t count, void *scratch, allreduce_counts *counts);

/* MPI's names for an element's type and operation. The maximum of bytes is an operation of our own: MPICH 4.0 compares unsigned bytes as signed ones. Open and
 * close: after MPI has started, before it ends. Errors: ERROR_SYSTEM. */
int allreduce_open(void);
void allreduce_close(void);
MPI_Datatype allreduce_type(element_kind kind);
MPI_Op allreduce_operation(element_kind kind);

#endif
