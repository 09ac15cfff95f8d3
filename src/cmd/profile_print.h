/* Shows what `train --profile` has found out. Rank 0, after run_profile_end. */
#ifndef PEFTSCALE_PROFILE_PRINT_H
#define PEFTSCALE_PROFILE_PRINT_H

#include "cmd/cmd.h"
#include "train/profile.h"

/* A table on standard output. */
void profile_print(const run *r);

/* The same per step; owned by the caller. */
struct cJSON *profile_json(const run *r);

#endif
