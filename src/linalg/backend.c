#include <cblas.h>
#include <omp.h>
#include <stdio.h>

#include "base/error.h"
#include "linalg/kernels.h"

int linalg_setup(void) {
  if (openblas_get_parallel() == OPENBLAS_SEQUENTIAL)
    return FAIL(ERROR_SYSTEM, "link or load its openmp or pthread build (Debian: libopenblas0-openmp)",
                "OpenBLAS is the single-threaded build (%s): it gives wrong products when called from several threads", openblas_get_config());
  /* A thread works on whole shards: one thread in each call of a library keeps a product's bits independent of the machine's load. oneDNN asks OpenMP, whose
   * parallel regions here all say how many threads they want. */
  openblas_set_num_threads(1);
  omp_set_num_threads(1);
  return kernels_setup();
}

const char *linalg_library(void) { return openblas_get_config(); }

const char *linalg_core(void) {
  static _Thread_local char text[128];
  snprintf(text, sizeof text, "%.80s %s", openblas_get_corename(), kernels->level);
  return text;
}
