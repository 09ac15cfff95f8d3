#include "train/payload.h"

payload_size payload_of(int exact, int64_t numbers, int64_t segments) {
  payload_size p = {.levels = exact ? segments + EXACT_MORE_LEVELS : 0, .sums = numbers + (exact ? EXACT_TAIL : TAIL_FLOATS)};
  p.bytes = p.levels + p.sums * (int64_t)(exact ? sizeof(int64_t) : sizeof(float));
  return p;
}
