#include "linalg/linalg.h"

void linalg_dropout(int n, int w, double p, random_key key, const uint64_t *stream, const uint64_t *first_element, const real *x, int x_ld, real *y, int y_ld,
                    int add) {
  const real scale = (real)(1.0 / (1.0 - p));
  const uint32_t threshold = (uint32_t)(p * 4294967296.0);
  for (int i = 0; i < n; i++) {
    const real *in = x + (int64_t)i * x_ld;
    real *out = y + (int64_t)i * y_ld;
    uint32_t bits[4] = {0};
    uint64_t block = UINT64_MAX;
    for (int j = 0; j < w; j++) {
      uint64_t element = first_element[i] + (uint64_t)j;
      if (element / 4 != block) {
        block = element / 4;
        random_block(key, (uint32_t[4]){(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream[i], (uint32_t)(stream[i] >> 32)}, bits);
      }
      real value = bits[element % 4] >= threshold ? in[j] * scale : 0;
      out[j] = add ? out[j] + value : value;
    }
  }
}
