/* request_id: equal for what asks for the same run, other for whatever makes it another one, and known without data or weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "method/method.h"
#include "train/identity.h"

enum { WORDS_MAX = 8 };

static void request(int ranks, const char *word, char text[HASH_TEXT_BYTES]) {
  const char *words[WORDS_MAX] = {"method.name=lora", "task.data=nowhere.h5", "model.path=no-model", word};
  config_request r = {.assignments = words, .assignment_count = word ? 4 : 3, .method_options = method_options};
  config *c;
  if (config_compose(&r, &c)) fail_msg("%s", error_last()->text);
  assert_int_equal(identity_request(c, ranks, text), ERROR_NONE);
  config_destroy(c);
}

static void test_same(void **state) {
  (void)state;
  static const char *const words[] = {"output.dir=elsewhere",
                                      "output.name=other",
                                      "output.predictions=false",
                                      "output.log_every=3",
                                      "check_every=7",
                                      "model.name=a-name",
                                      "task.name=a-name",
                                      "train.lr=0.001",
                                      "seed=1",
                                      "threads=1"};
  char first[HASH_TEXT_BYTES], other[HASH_TEXT_BYTES];
  request(2, NULL, first);
  assert_int_equal(strlen(first), HASH_TEXT_BYTES - 1);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    request(2, words[i], other);
    assert_string_equal(first, other);
  }
}

static void test_other(void **state) {
  (void)state;
  /* A value that `auto` would come to asks for the same numbers, but not in the same words. */
  static const char *const words[] = {"seed=2",
                                      "method.rank=3",
                                      "train.lr=0.002",
                                      "shards=4",
                                      "train.steps=7",
                                      "task.data=other.h5",
                                      "model.path=other",
                                      "train.start=adapter.safetensors",
                                      "threads=2",
                                      "reduce=exact",
                                      "payload=dense",
                                      "head_reduce=dense",
                                      "head_reduce=factors",
                                      "node_reduce=on",
                                      "network=1gbit",
                                      "repetition=2",
                                      "output.test=false",
                                      "model.init=random"};
  enum { COUNT = sizeof words / sizeof *words };
  char text[COUNT + 2][HASH_TEXT_BYTES];
  for (size_t i = 0; i < COUNT; i++) request(2, words[i], text[i]);
  request(2, NULL, text[COUNT]);
  request(3, NULL, text[COUNT + 1]);
  for (size_t i = 0; i < COUNT + 2; i++)
    for (size_t j = 0; j < i; j++) assert_string_not_equal(text[i], text[j]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same), cmocka_unit_test(test_other)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
