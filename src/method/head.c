/* Head only (linear probe): the base model is frozen and nothing is added; only the task's head, which every method trains, is left. */
#include "method/method.h"

const method method_head = {
    .name = "head",
    .title = "Head only",
    .paper = "linear probe",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE,
};
