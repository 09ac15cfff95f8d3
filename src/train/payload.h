/* What one rank gives to the sum of a training step: the numbers of the method and of the head, and behind them the sums that go with them. One formula for the
 * training, which sends it, and for `peftscale comm`, which measures sums of that size without a model.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_PAYLOAD_H
#define PEFTSCALE_PAYLOAD_H

#include <stdint.h>

/* Behind the numbers in the one message of a step in floats; errors: and what else ranks tell each other in passing (step.c). */
enum { TAIL_LOSS, TAIL_COUNT, TAIL_TOKENS, TAIL_ERRORS, TAIL_FLOATS };

/* Behind the numbers of an exact sum: loss, examples, tokens. Errors and wishes travel ahead of it, with the levels of the segments and that of the loss. */
enum { EXACT_TAIL = 3, EXACT_MORE_LEVELS = 2 };

typedef struct payload_size {
  int64_t levels; /* bytes whose maximum is taken first; 0 in floats           */
  int64_t sums;   /* numbers to be added up, tail included: floats or integers */
  int64_t bytes;  /* of both                                                   */
} payload_size;

/* numbers: of the gradient that travel, head included; segments: of theta, head included.
 *   floats  4 (numbers + 4)
 *   exact   8 (numbers + 3) + segments + 2 */
payload_size payload_of(int exact, int64_t numbers, int64_t segments);

#endif
