/* A data set file of 30 random sequences of 1 to 128 tokens per split, in 3 classes, for programs with several ranks. */
#ifndef PEFTSCALE_TESTS_TINY_DATA_H
#define PEFTSCALE_TESTS_TINY_DATA_H

#include <hdf5.h>
#include <string.h>

#include "base/random.h"
#include "data/dataset.h"
#include "support/checks.h"

enum { TINY_ROWS = 30, TINY_LONGEST = 128, TINY_VOCABULARY = 50, TINY_CLASSES = 3 };

static inline void put_text(hid_t file, const char *name, const char *value) {
  hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, strlen(value));
  hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  CHECK(H5Awrite(attribute, type, value) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

static inline void put_int(hid_t file, const char *name, int value) {
  hid_t space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
  CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
}

static inline void put_array(hid_t group, const char *name, hid_t type, hsize_t count, const void *values) {
  hid_t space = H5Screate_simple(1, &count, NULL), set = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  CHECK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(set);
  H5Sclose(space);
}

static inline void put_split(hid_t file, const char *name, int first_id) {
  static int32_t token[TINY_ROWS * TINY_LONGEST], half[TINY_ROWS], end[TINY_ROWS];
  int64_t offset[TINY_ROWS + 1] = {0}, example[TINY_ROWS];
  float label[TINY_ROWS];
  random_key key = random_key_make(1, RANDOM_TEST, (uint64_t)first_id);
  for (int i = 0; i < TINY_ROWS; i++) {
    int length = i == 0 ? TINY_LONGEST : i == 1 ? 1 : 1 + (int)(random_uniform(key, 0, (uint64_t)i) * TINY_LONGEST);
    offset[i + 1] = offset[i] + length;
    for (int j = 0; j < length; j++) token[offset[i] + j] = (int32_t)(random_uniform(key, 1 + (uint64_t)i, (uint64_t)j) * TINY_VOCABULARY);
    half[i] = length / 2;
    end[i] = length;
    label[i] = (float)(i % TINY_CLASSES);
    example[i] = first_id + i;
  }
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  put_array(group, "tokens", H5T_NATIVE_INT32, (hsize_t)offset[TINY_ROWS], token);
  put_array(group, "offsets", H5T_NATIVE_INT64, TINY_ROWS + 1, offset);
  put_array(group, "segment_start", H5T_NATIVE_INT32, TINY_ROWS, half);
  put_array(group, "target_start", H5T_NATIVE_INT32, TINY_ROWS, end);
  put_array(group, "label", H5T_NATIVE_FLOAT, TINY_ROWS, label);
  put_array(group, "example_id", H5T_NATIVE_INT64, TINY_ROWS, example);
  H5Gclose(group);
}

/* A new file with the attributes of a classification, in which the splits are missing. At most three classes. */
static inline hid_t tiny_data_begin(const char *path, int vocabulary, int classes) {
  const char names[TINY_CLASSES][2] = {"a", "b", "c"};
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), name = H5Tcopy(H5T_C_S1);
  H5Tset_size(name, 2);
  put_text(file, "kind", "peftscale dataset");
  put_text(file, "name", "tiny");
  put_text(file, "objective", "classify");
  put_text(file, "metric", "accuracy");
  put_text(file, "tokenizer", "tiny");
  put_text(file, "tokenizer_hash", "0");
  put_int(file, "schema_version", 1);
  put_int(file, "class_count", classes);
  put_int(file, "vocabulary_size", vocabulary);
  put_int(file, "first_word", 5);
  put_int(file, "mask_token", 4);
  put_array(file, "class_names", name, (hsize_t)classes, names);
  H5Tclose(name);
  return file;
}

static inline void tiny_data_write(const char *path) {
  hid_t file = tiny_data_begin(path, TINY_VOCABULARY, TINY_CLASSES);
  for (int s = 0; s < SPLIT_COUNT; s++) put_split(file, split_names[s], s * TINY_ROWS);
  H5Fclose(file);
}

#endif
