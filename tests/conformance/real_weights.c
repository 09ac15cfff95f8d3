/* The model on real weights (minilm-l6 in PEFTSCALE_ASSETS): every method's gradients in float against the double build, and sentences packed against alone.
 *
 * needs: assets
 *
 * real_weights --hidden SENTENCES OUTPUT: for other programs to compare with. Each line of SENTENCES holds one sentence's token ids; OUTPUT receives the last
 * hidden states as float32, [tokens][width], of all sentences packed together, then of each run alone.
 */
#include "conformance/cases.h"

#include "linalg/linalg.h"

static void gradients_are_those_of_double(void **state) {
  const case_list *list = *state;
  int checked = 0;
  for (int i = 0; i < list->count; i++) {
    if (list->item[i].family) continue;
    print_message("  worst error %.2e (%s)\n", check_gradient(&list->item[i]), list->item[i].name);
    checked++;
  }
  assert_true(checked > 0);
}

/* ---- hidden states ---- */

/* The real encoder with a head that nobody looks at. */
typedef struct encoder {
  model *model;
  model_workspace *workspace;
  real *store, *theta;
  chosen_options none;
} encoder;

static void encoder_destroy(encoder *e) {
  model_workspace_destroy(e->workspace);
  model_destroy(e->model);
  free(e->store);
  free(e->theta);
}

static int encoder_create(encoder *e) {
  const method *head;
  model_shape shape;
  model_options options = {.pooling = MODEL_POOL_MEAN, .head = MODEL_HEAD_LINEAR, .objective = MODEL_CLASSIFY, .classes = 2, .seed = 1};
  memset(e, 0, sizeof *e);
  TRY(method_find("head", &head));
  TRY(options_default(head, &e->none));
  TRY(real_shape(&shape));
  TRY(model_create(&shape, &options, head, &e->none.set, &e->model));
  e->store = calloc((size_t)model_store_count(e->model), sizeof(real));
  e->theta = calloc((size_t)model_theta_count(e->model), sizeof(real));
  if (!e->store || !e->theta) return FAIL(ERROR_MEMORY, NULL, "out of memory for the model");
  TRY(model_attach(e->model, e->store));
  TRY(real_load(e->model));
  TRY(model_init_theta(e->model, e->theta));
  TRY(model_expand(e->model, e->theta));
  return model_workspace_create(e->model, BATCH_MAX_TOKENS, BATCH_MAX_SEQUENCES, 0, (int64_t)BATCH_MAX_TOKENS * BATCH_MAX_TOKENS, 0, &e->workspace);
}

/* hidden [tokens][width] of a batch. */
static int encode(encoder *e, const batch *b, real *hidden) {
  model_sums sums = {0};
  TRY(model_predict(e->model, e->workspace, b, NULL, &sums));
  memcpy(hidden, model_hidden(e->workspace), (size_t)b->tokens * (size_t)model_shape_of(e->model)->width * sizeof *hidden);
  return ERROR_NONE;
}

/* Sequence s of a packed batch by itself. */
static void take_alone(const packed_batch *all, int s, packed_batch *alone) {
  int first = all->first[s], length = all->first[s + 1] - first;
  *alone = *all;
  memmove(alone->token, all->token + first, sizeof *alone->token * (size_t)length);
  memset(alone->type, 0, sizeof alone->type);
  memmove(alone->position, all->position + first, sizeof *alone->position * (size_t)length);
  memmove(alone->stream, all->stream + first, sizeof *alone->stream * (size_t)length);
  alone->label[0] = all->label[s];
  alone->first[0] = 0;
  alone->first[1] = length;
  alone->view = (batch){.sequences = 1,
                        .tokens = length,
                        .longest = length,
                        .first = alone->first,
                        .token = alone->token,
                        .type = alone->type,
                        .position = alone->position,
                        .stream = alone->stream,
                        .label = alone->label};
}

static void packed_is_alone(void **state) {
  (void)state;
  static encoder e;
  static packed_batch all, alone;
  const int number[] = {1, 2, 3, 4, 5, 6}, length[] = {17, 3, 64, 1, 40, 9};
  must(encoder_create(&e));
  batch_fill(&all, e.model, MODEL_CLASSIFY, 2, 6, number, length);
  memset(all.type, 0, sizeof all.type);
  int width = model_shape_of(e.model)->width;
  real *together = must_take((size_t)all.view.tokens * (size_t)width, sizeof *together), *single = must_take((size_t)64 * (size_t)width, sizeof *single);
  must(encode(&e, &all.view, together));
  double worst = 0;
  for (int s = 0; s < 6; s++) {
    take_alone(&all, s, &alone);
    must(encode(&e, &alone.view, single));
    const real *row = together + (int64_t)all.first[s] * width;
    double largest = 0, apart = 0;
    for (int i = 0; i < length[s] * width; i++) {
      largest = fmax(largest, fabs((double)single[i]));
      apart = fmax(apart, fabs((double)single[i] - (double)row[i]));
    }
    assert_true(largest > 0);
    worst = fmax(worst, apart / largest);
  }
  print_message("  worst difference %.2e of the largest\n", worst);
  assert_true(worst <= 1e-5);
  free(together);
  free(single);
  encoder_destroy(&e);
}

/* Token ids, one sentence a line. */
static int read_sentences(const char *path, const model *m, packed_batch *b) {
  char line[8192];
  int count = 0, at = 0;
  FILE *file = fopen(path, "r");
  if (!file) return FAIL(ERROR_INPUT, NULL, "%s: cannot be opened", path);
  memset(b, 0, sizeof *b);
  while (fgets(line, sizeof line, file) && count < BATCH_MAX_SEQUENCES) {
    int64_t id;
    b->first[count] = at;
    for (char *word = strtok(line, " \n"); word && at < BATCH_MAX_TOKENS; word = strtok(NULL, " \n")) {
      if (text_to_int(word, &id) || id < 0 || id >= model_shape_of(m)->vocabulary) {
        fclose(file);
        return FAIL(ERROR_INPUT, NULL, "%s: '%s' is no token id", path, word);
      }
      b->token[at] = (int32_t)id;
      b->position[at] = (uint64_t)(at - b->first[count]);
      at++;
    }
    if (at > b->first[count]) count++;
  }
  fclose(file);
  b->first[count] = at;
  b->view = (batch){.sequences = count,
                    .tokens = at,
                    .longest = at,
                    .first = b->first,
                    .token = b->token,
                    .type = b->type,
                    .position = b->position,
                    .stream = b->stream,
                    .label = b->label};
  return ERROR_NONE;
}

static int write_hidden(const char *sentences, const char *output) {
  static encoder e;
  static packed_batch all, alone;
  TRY(encoder_create(&e));
  TRY(read_sentences(sentences, e.model, &all));
  size_t width = (size_t)model_shape_of(e.model)->width;
  real *hidden = calloc((size_t)BATCH_MAX_TOKENS * width, sizeof *hidden);
  FILE *file = fopen(output, "wb");
  if (!hidden || !file) return FAIL(ERROR_SYSTEM, NULL, "%s: cannot be written", output);
  TRY(encode(&e, &all.view, hidden));
  size_t wanted = (size_t)all.view.tokens * width * 2, written = fwrite(hidden, sizeof *hidden, (size_t)all.view.tokens * width, file);
  for (int s = 0; s < all.view.sequences; s++) {
    take_alone(&all, s, &alone);
    TRY(encode(&e, &alone.view, hidden));
    written += fwrite(hidden, sizeof *hidden, (size_t)alone.view.tokens * width, file);
  }
  free(hidden);
  encoder_destroy(&e);
  if (fclose(file) || written != wanted) return FAIL(ERROR_SYSTEM, NULL, "%s: not all was written", output);
  return ERROR_NONE;
}

int main(int count, char **words) {
  int code = linalg_setup();
  if (!code && count == 4 && !strcmp(words[1], "--hidden")) {
    code = write_hidden(words[2], words[3]);
    if (!code) return 0;
  }
  if (code) {
    fprintf(stderr, "%s\n", error_last()->text);
    return 1;
  }
  if (!assets()) {
    printf("PEFTSCALE_ASSETS is not set, so there are no real weights to test with\n");
    return 77;
  }
  enum { METHODS_MAX = 64 };
  static struct CMUnitTest tests[METHODS_MAX + 1];
  static char names[METHODS_MAX][96];
  static case_list *lists[METHODS_MAX];
  int used = 0;
  for (; method_list[used] && used < METHODS_MAX; used++) {
    lists[used] = cases_of(method_list[used]);
    snprintf(names[used], sizeof names[used], "%s: gradients on real weights", method_list[used]->name);
    tests[used] = (struct CMUnitTest){.name = names[used], .test_func = gradients_are_those_of_double, .initial_state = lists[used]};
  }
  tests[used] = (struct CMUnitTest){.name = "packed is alone", .test_func = packed_is_alone};
  int failed = _cmocka_run_group_tests("real weights", tests, (size_t)used + 1, NULL, NULL);
  for (int i = 0; i < used; i++) free(lists[i]);
  return failed != 0;
}
