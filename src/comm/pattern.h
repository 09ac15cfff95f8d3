/* Numbers whose sums over ranks are known without asking anybody, exact in floats (up to 22,000 ranks), and different at neighbouring places, so that a sum
 * that lacks a rank, has one twice, or stands at another place is seen.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_PATTERN_H
#define PEFTSCALE_PATTERN_H

#include "comm/element.h"

/* vector[0 .. count) = what rank `rank` of `ranks` puts in. */
void pattern_fill(element_kind kind, int ranks, int rank, int64_t count, void *vector);

/* The first place whose number is not the sum (or maximum) over all `ranks` ranks; -1: all are right. */
int64_t pattern_check(element_kind kind, int ranks, int64_t count, const void *vector);

#endif
