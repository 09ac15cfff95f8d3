/* Full fine-tuning: every base parameter is trained. The reference for what a step costs and what must travel. */
#include "method/method.h"

static int full_trains(param_kind kind) {
  (void)kind;
  return 1;
}

const method method_full = {
    .name = "full",
    .title = "Full",
    .paper = "every base parameter",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_TRAINS_BASE,
    .trains = full_trains,
};
