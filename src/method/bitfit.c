/* BitFit: every bias of the base model is trained, those of layer normalisations too (Ben Zaken et al., arXiv 2106.10199). */
#include "method/method.h"

static int bitfit_trains(param_kind kind) { return kind == PARAM_BIAS || kind == PARAM_NORM_SHIFT; }

const method method_bitfit = {
    .name = "bitfit",
    .title = "BitFit",
    .paper = "Ben Zaken et al. 2021, arXiv 2106.10199",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_TRAINS_BASE,
    .trains = bitfit_trains,
};
