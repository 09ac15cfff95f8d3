/* The number type of the kernels.
 *
 * float everywhere; the test suite also builds base, linalg, method and model with PEFTSCALE_DOUBLE so that gradients can be compared with finite
 * differences far below float's rounding. Whatever leaves a process (theta, messages, files) is float32.
 */
#ifndef PEFTSCALE_REAL_H
#define PEFTSCALE_REAL_H

#ifdef PEFTSCALE_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#endif
