/* A data set file of sentences like SST-2's (support/sentences.h), for benchmarks that need no prepared one. */
#ifndef PEFTSCALE_BENCH_MADE_DATA_H
#define PEFTSCALE_BENCH_MADE_DATA_H

#include <stdlib.h>
#include <unistd.h>

#include "support/sentences.h"
#include "support/tiny_data.h"

enum { MADE_ROWS = 4096, MADE_VOCABULARY = 30522 };

static inline void made_data_put_split(hid_t file, const char *name, int rows) {
  static int32_t token[MADE_ROWS * SENTENCE_LONGEST], length[MADE_ROWS];
  static int64_t offset[MADE_ROWS + 1], example[MADE_ROWS];
  static float label[MADE_ROWS];
  for (int i = 0; i < rows; i++) {
    length[i] = sentence_length(i);
    offset[i + 1] = offset[i] + length[i];
    for (int64_t j = offset[i]; j < offset[i + 1]; j++) token[j] = sentence_token(j, MADE_VOCABULARY);
    label[i] = (float)(i % 2);
    example[i] = i;
  }
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  put_array(group, "tokens", H5T_NATIVE_INT32, (hsize_t)offset[rows], token);
  put_array(group, "offsets", H5T_NATIVE_INT64, (hsize_t)rows + 1, offset);
  put_array(group, "segment_start", H5T_NATIVE_INT32, (hsize_t)rows, length);
  put_array(group, "target_start", H5T_NATIVE_INT32, (hsize_t)rows, length);
  put_array(group, "label", H5T_NATIVE_FLOAT, (hsize_t)rows, label);
  put_array(group, "example_id", H5T_NATIVE_INT64, (hsize_t)rows, example);
  H5Gclose(group);
}

/* A temporary file, whose name goes to path; the caller removes it. */
static inline int made_data_write(char *path, size_t bytes) {
  snprintf(path, bytes, "/tmp/peftscale-bench-XXXXXX");
  int descriptor = mkstemp(path), before = checks_failed;
  if (descriptor < 0) {
    *path = 0;
    return FAIL(ERROR_SYSTEM, NULL, "cannot make a file below /tmp");
  }
  close(descriptor);
  hid_t file = tiny_data_begin(path, MADE_VOCABULARY, 2);
  made_data_put_split(file, "train", MADE_ROWS);
  made_data_put_split(file, "validation", 0);
  made_data_put_split(file, "test", 0);
  return H5Fclose(file) < 0 || checks_failed > before ? FAIL(ERROR_SYSTEM, NULL, "%s: cannot be written", path) : ERROR_NONE;
}

#endif
