/* What killed processes left beside finished run files.
 *
 * A run is complete with the rename of its file; a process that is killed right then leaves its claim, its partial file, a checkpoint or temporary files, which
 * nobody looks at again. Not collective.
 */
#ifndef PEFTSCALE_TIDY_H
#define PEFTSCALE_TIDY_H

#include "sweep/plan.h"

/* Removes all that stands beside the plan's finished runs and is nobody's. What cannot be removed stays. */
void tidy(const plan *p);

#endif
