/* Sentences like those of SST-2: lengths alone matter to a benchmark (mean about 14 tokens with the two special ones, 95 % below 34), so the words are random.
 */
#ifndef PEFTSCALE_TESTS_SENTENCES_H
#define PEFTSCALE_TESTS_SENTENCES_H

#include <math.h>
#include <stdint.h>

#include "base/random.h"

enum { SENTENCE_LONGEST = 66, SENTENCE_FIRST_WORD = 1000 };

static inline random_key sentences_key(void) { return random_key_make(7, RANDOM_TEST, 0); }

/* Tokens of sentence number i. */
static inline int sentence_length(int64_t i) {
  double length = 2 + exp(2.2 + 0.75 * random_normal(sentences_key(), 0, (uint64_t)i));
  return (int)fmin(fmax(length, 3), SENTENCE_LONGEST);
}

/* Token number i of all sentences, of a vocabulary of more than SENTENCE_FIRST_WORD. */
static inline int32_t sentence_token(int64_t i, int vocabulary) {
  return SENTENCE_FIRST_WORD + (int32_t)(random_bits(sentences_key(), 1, (uint64_t)i) % (uint32_t)(vocabulary - SENTENCE_FIRST_WORD));
}

#endif
