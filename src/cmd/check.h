/* What `check` prints (check_print.c): the report as text of at most 100 columns, or as one JSON object with everything in it. */
#ifndef PEFTSCALE_CMD_CHECK_H
#define PEFTSCALE_CMD_CHECK_H

#include "train/check.h"

void check_print_text(const check_report *r);
void check_print_json(const check_report *r);

#endif
