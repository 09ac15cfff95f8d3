/* Loaded before PyTorch (LD_PRELOAD), has its MKL take the kernels it would take on an Intel processor with the same instructions. Without it MKL 2024 keeps to
 * 256-bit ones on AMD's: less than half the speed of single-precision products where the processor has full AVX-512. Nothing else changes. */
int mkl_serv_intel_cpu_true(void);
int mkl_serv_intel_cpu_true(void) { return 1; }
