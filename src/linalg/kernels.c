#include "linalg/kernels.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

const kernel_table *kernels = &kernels_base;

static int processor_has_v4(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  return 0;
#endif
}

int kernels_setup(void) {
  const kernel_table *const best = kernels_v4 && processor_has_v4() ? kernels_v4 : &kernels_base;
  const char *wanted = getenv("PEFTSCALE_KERNELS");
  if (!wanted || !*wanted || !strcmp(wanted, best->level)) kernels = best;
  else if (!strcmp(wanted, kernels_base.level)) kernels = &kernels_base;
  else
    return FAIL(ERROR_USAGE, "unset it for the best there is", "PEFTSCALE_KERNELS=%.40s: this program has kernels for %s%s%s here", wanted, kernels_base.level,
                best == &kernels_base ? "" : " and ", best == &kernels_base ? "" : best->level);
  return ERROR_NONE;
}
