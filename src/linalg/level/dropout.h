/* Dropout of a row, for whatever passes over rows. */
#ifndef PEFTSCALE_LEVEL_DROPOUT_H
#define PEFTSCALE_LEVEL_DROPOUT_H

#include "linalg/kernels.h"
#include "linalg/level/philox.h"

/* A row's numbers are drawn piece by piece, so that any width needs the same memory. */
enum { DRAWN = 512, DRAWN_ROOM = DRAWN + 4 + GROUP_WORDS };

typedef struct keeper {
  real scale;
  uint32_t threshold; /* kept from here on */
} keeper;

INLINE keeper keeper_make(double p) { return (keeper){(real)(1.0 / (1.0 - p)), (uint32_t)(p * 4294967296.0)}; }

/* Random words of a row's columns [from, from + count), count <= DRAWN; where the first one stands in `room`. */
INLINE const uint32_t *draw_piece(const linalg_mask *mask, int row, int from, int count, uint32_t room[DRAWN_ROOM]) {
  uint64_t element = mask->first_element[row] + (uint64_t)from;
  int lead = (int)(element % 4);
  random_words(mask->key, mask->stream[row], element / 4, lead + count, room);
  return room + lead;
}

/* x where kept, 0 where dropped. */
INLINE lanes keep(lanes x, keeper k, const uint32_t *words) {
#ifdef PEFTSCALE_DOUBLE
  lanes_int kept;
  for (int i = 0; i < LANES; i++) kept[i] = words[i] >= k.threshold ? -1 : 0;
#else
  typedef uint32_t words_anywhere __attribute__((vector_size(LANES_BYTES), aligned(4), may_alias));
  lanes_int kept = *(const words_anywhere *)words >= k.threshold;
#endif
  return (lanes)((lanes_int)(x * k.scale) & kept);
}

static void dropout(int n, int w, const linalg_mask *mask, const real *x, int x_ld, real *y, int y_ld, int add) {
  const keeper k = keeper_make(mask->p);
  for (int i = 0; i < n; i++)
    for (int from = 0; from < w; from += DRAWN) {
      uint32_t room[DRAWN_ROOM];
      int count = w - from < DRAWN ? w - from : DRAWN;
      const uint32_t *words = draw_piece(mask, i, from, count, room);
      const real *in = x + (int64_t)i * x_ld + from;
      real *out = y + (int64_t)i * y_ld + from;
      for (int j = 0; j < count; j += LANES) {
        int part = piece(count - j);
        lanes kept = keep(load_part(in + j, part), k, words + j);
        store_part(out + j, part, add ? load_part(out + j, part) + kept : kept);
      }
    }
}

#endif
