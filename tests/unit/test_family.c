/* Families and shapes: what a config.json may hold, what is refused and with which words, and the counts of known models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/tiny_bench.h"

/* ---- config.json ---- */

static const char *const good_config =
    "{\"model_type\": \"bert\", \"hidden_act\": \"gelu\", \"num_hidden_layers\": 6, \"hidden_size\": 384, \"num_attention_heads\": 12,"
    " \"intermediate_size\": 1536, \"vocab_size\": 30522, \"max_position_embeddings\": 512, \"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12, \"use_cache\": "
    "true}";

static void config_is_read(void **state) {
  (void)state;
  model_shape s;
  must(model_shape_parse(good_config, "config.json", &s));
  assert_string_equal(s.family->name, "bert");
  assert_true(s.layers == 6 && s.width == 384 && s.heads == 12 && s.ffn == 1536 && s.vocabulary == 30522 && s.positions == 512 && s.types == 2);
  assert_true(s.norm_epsilon == 1e-12);
}

/* The good file with one text in it replaced. */
static void refuse_config(const char *old, const char *fresh, const char *reason) {
  char text[2048];
  const char *place = strstr(good_config, old);
  assert_non_null(place);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(place - good_config), good_config, fresh, place + strlen(old));
  model_shape s;
  int code = model_shape_parse(text, "some/config.json", &s);
  if (!code) fail_msg("accepted: %s for %s", fresh, old);
  assert_true(code == ERROR_INPUT || code == ERROR_USAGE);
  says("some/config.json");
  says(reason);
}

static void config_is_refused_with_a_reason(void **state) {
  (void)state;
  model_shape s;
  static const char *const no_json[] = {"", "[]", "{\"model_type\": ", "7"};
  for (size_t i = 0; i < sizeof no_json / sizeof *no_json; i++) {
    assert_int_equal(model_shape_parse(no_json[i], "x", &s), ERROR_INPUT);
    says("not a JSON object");
  }
  refuse_config("\"model_type\": \"bert\",", "", "'model_type' is missing");
  refuse_config("\"bert\"", "7", "'model_type' is missing");
  refuse_config("\"bert\"", "\"llama\"", "model_type 'llama' is not supported");
  refuse_config("\"gelu\"", "\"relu\"", "'hidden_act' is 'relu'");
  refuse_config("\"use_cache\": true", "\"position_embedding_type\": \"relative_key\"", "'position_embedding_type' is 'relative_key'");
  refuse_config("\"hidden_size\": 384,", "", "'hidden_size' is missing");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": \"384\"", "'hidden_size' is not a whole number");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": 384.5", "'hidden_size' is not a whole number");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": 0", "must be from 1");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": -384", "must be from 1");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": 385", "no multiple of the number of attention heads");
  refuse_config("\"vocab_size\": 30522", "\"vocab_size\": 1e9", "must be from 1");
  refuse_config("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 0", "'layer_norm_eps'");
  refuse_config("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", "'layer_norm_eps'");
}

static void shapes_are_written_as_they_are_read(void **state) {
  (void)state;
  char text[2048], small[64];
  for (int i = 0; known_shapes[i].name; i++) {
    model_shape a, b;
    must(model_shape_known(known_shapes[i].name, &a));
    must(model_shape_write(&a, text, sizeof text));
    must(model_shape_parse(text, "written", &b));
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(model_shape_write(&a, small, sizeof small) != 0);
  }
  model_shape s;
  assert_int_equal(model_shape_known("roberta-bse", &s), ERROR_USAGE);
  assert_non_null(strstr(error_last()->hint, "roberta-base"));
}

/* Numbers that papers print, and those of a known file. */
static void known_models_have_known_counts(void **state) {
  (void)state;
  static const struct {
    const char *shape, *method, *key, *text;
    int64_t count;
  } known[] = {
      {"minilm-l6", "full", NULL, NULL, 22565376},    {"roberta-base", "bitfit", NULL, NULL, 102144},  {"roberta-base", "lora", "rank", "8", 294912},
      {"roberta-large", "lora", "rank", "8", 786432}, {"roberta-base", "full", NULL, NULL, 124055040}, {"roberta-base", "head", NULL, NULL, 0},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    model_shape shape;
    method_counts counts;
    must(model_shape_known(known[i].shape, &shape));
    model_options options = classify;
    options.head = MODEL_HEAD_TANH;
    options.classes = 2;
    model *m = plan_model(&shape, &options, known[i].method, known[i].key, known[i].text);
    must(model_counts(m, &counts));
    if (counts.trainable != known[i].count)
      fail_msg("%s %s: %lld, not %lld", known[i].shape, known[i].method, (long long)counts.trainable, (long long)known[i].count);
    if (!strcmp(known[i].shape, "roberta-base")) assert_true(model_role_count(m, SEGMENT_HEAD) == 592130);
    model_destroy(m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(config_is_read),
      cmocka_unit_test(config_is_refused_with_a_reason),
      cmocka_unit_test(shapes_are_written_as_they_are_read),
      cmocka_unit_test(known_models_have_known_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
