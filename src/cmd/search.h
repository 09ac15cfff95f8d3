/* What `search` prints: the verb in search.c, its texts in search_print.c. */
#ifndef PEFTSCALE_CMD_SEARCH_H
#define PEFTSCALE_CMD_SEARCH_H

#include "train/supernet.h"

/* All on rank 0, not collective. At most 100 columns, but for long names. */
void search_print_text(const run *r, const char *run_path, const supernet_report *report);
void search_print_json(const run *r, const char *run_path, const supernet_report *report);

/* All candidates as TSV, whole or not at all. Errors: ERROR_SYSTEM, ERROR_MEMORY. */
int search_write_tsv(const char *path, const run *r, const search_result *e);

#endif
