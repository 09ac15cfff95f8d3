/* A vector of reals as wide as the registers of the level that this file is compiled for. Operators work lane by lane. */
#ifndef PEFTSCALE_LEVEL_LANES_H
#define PEFTSCALE_LEVEL_LANES_H

#include "base/real.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define LEVEL_NAME "x86-64-v4"
#define LANES_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define LEVEL_NAME "x86-64-v3"
#define LANES_BYTES 32
#else
#define LEVEL_NAME "portable"
#define LANES_BYTES 16
#endif

enum { LANES = LANES_BYTES / sizeof(real) };

#endif
