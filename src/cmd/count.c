#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "model/model.h"
#include "store/file.h"

typedef struct count_result {
  const char *model, *method, *modules;
  method_counts counts;
  int64_t head, base;
} count_result;

static int find_shape(const char *name, model_shape *shape) {
  struct stat status;
  char path[4096], *text;
  size_t bytes;
  if (stat(name, &status) || !S_ISDIR(status.st_mode)) return model_shape_known(name, shape);
  TRY(text_format(path, sizeof path, "%s/config.json", name));
  TRY(file_read(path, 1 << 20, &text, &bytes));
  int code = model_shape_parse(text, path, shape);
  free(text);
  return code;
}

/* "rank=8" is short for "method.rank=8". */
static int full_keys(const arguments *given, const char *method_name, arena *memory, arguments *full) {
  *full = (arguments){0};
  for (int i = -1; i < given->assignment_count; i++) {
    const char *text = i < 0 ? method_name : given->assignments[i], *dot = strchr(text, '.'), *equal = strchr(text, '=');
    const char *before = i < 0 ? "method=" : dot && dot < equal ? "" : "method.";
    size_t bytes = strlen(before) + strlen(text) + 1;
    char *word;
    TRY(arena_take(memory, bytes, 1, &word));
    TRY(text_format(word, bytes, "%s%s", before, text));
    full->assignments[full->assignment_count++] = word;
  }
  return ERROR_NONE;
}

static int count_all(const char *model_name, const config *c, int head, int classes, count_result *result) {
  const method *chosen;
  model_shape shape;
  model *m;
  TRY(find_shape(model_name, &shape));
  TRY(method_find(c->method.name, &chosen));
  model_options options = {.pooling = MODEL_POOL_FIRST, .head = head ? MODEL_HEAD_TANH : MODEL_HEAD_LINEAR, .objective = MODEL_CLASSIFY, .classes = classes};
  TRY(model_create(&shape, &options, chosen, &c->method.options, &m));
  *result = (count_result){.model = model_name, .method = c->method.name, .modules = "-", .head = model_role_count(m, SEGMENT_HEAD)};
  const option_value *modules = option_find(&c->method.options, "modules");
  if (modules) result->modules = modules->text;
  for (int i = 0; i < model_param_count(m); i++)
    if (model_param(m, i)->role == SEGMENT_BASE) result->base += (int64_t)model_param(m, i)->rows * model_param(m, i)->cols;
  int code = model_counts(m, &result->counts);
  model_destroy(m);
  return code;
}

/* Composes the configuration and counts; the configuration keeps the texts that the result points to. */
static int compose_and_count(const arguments *given, const char *model_name, const char *method_name, const char *head, int classes, config **c,
                             count_result *result) {
  int tanh_head = head ? !strcmp(head, "tanh") : !strncmp(model_name, "roberta", 7); /* RoBERTa's own head is dense-tanh-linear */
  arguments full;
  arena *memory;
  TRY(arena_create(&memory));
  int code = full_keys(given, method_name, memory, &full);
  if (!code) code = compose_arguments(&full, c);
  if (!code) code = count_all(model_name, *c, tanh_head, classes, result);
  arena_destroy(memory);
  return code;
}

static void print_text(const count_result *r) {
  char a[32], b[32];
  printf("%s, %s%s%s\n", r->method, r->model, *r->modules == '-' ? "" : ", modules ", *r->modules == '-' ? "" : r->modules);
  printf("  trainable          %16s  (%.3f %% of %s)\n", text_thousands(r->counts.trainable, a), 100.0 * (double)r->counts.trainable / (double)r->base,
         text_thousands(r->base, b));
  printf("  stored bytes       %16s  (%s)\n", text_thousands(r->counts.stored_bytes, a), text_bytes((double)r->counts.stored_bytes, b));
  printf("  sent floats/step   %16s  (%s)\n", text_thousands(r->counts.sent_floats, a), text_bytes(4.0 * (double)r->counts.sent_floats, b));
  printf("  head floats        %16s  (trained and sent by every method)\n", text_thousands(r->head, a));
}

static void print_tsv(const count_result *r) {
  printf("model\tmethod\tmodules\ttrainable\tstored_bytes\tsent_floats\thead_floats\n");
  printf("%s\t%s\t%s\t%lld\t%lld\t%lld\t%lld\n", r->model, r->method, r->modules, (long long)r->counts.trainable, (long long)r->counts.stored_bytes,
         (long long)r->counts.sent_floats, (long long)r->head);
}

static void print_json(const count_result *r) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "model", r->model);
  cJSON_AddStringToObject(o, "method", r->method);
  cJSON_AddStringToObject(o, "modules", r->modules);
  cJSON_AddNumberToObject(o, "trainable", (double)r->counts.trainable);
  cJSON_AddNumberToObject(o, "stored_bytes", (double)r->counts.stored_bytes);
  cJSON_AddNumberToObject(o, "sent_floats", (double)r->counts.sent_floats);
  cJSON_AddNumberToObject(o, "head_floats", (double)r->head);
  cJSON_AddNumberToObject(o, "base_floats", (double)r->base);
  print_json_object(o);
}

static int act(comm *none, int argc, char **argv) {
  int tsv = 0, json = 0;
  const char *model_name = NULL, *method_name = NULL, *head_text = NULL, *classes_text = "2";
  const flag flags[] = {{"model", &model_name, NULL}, {"method", &method_name, NULL}, {"head", &head_text, NULL}, {"classes", &classes_text, NULL},
                        {"tsv", NULL, &tsv},          {"json", NULL, &json}};
  arguments given;
  int64_t classes;
  (void)none;
  TRY(arguments_parse("count", argc, argv, flags, 6, &given));
  if (!model_name || !method_name || given.word_count) return FAIL(ERROR_USAGE, "see: peftscale count --help", "count needs --model NAME and --method NAME");
  if (head_text && strcmp(head_text, "tanh") && strcmp(head_text, "linear"))
    return FAIL(ERROR_USAGE, "one of: linear, tanh", "there is no head '%s'", head_text);
  if (text_to_int(classes_text, &classes) || classes < 2 || classes > 1000000)
    return FAIL(ERROR_USAGE, NULL, "--classes %s: a number from 2 to 1000000 is needed", classes_text);
  config *c = NULL;
  count_result result;
  int code = compose_and_count(&given, model_name, method_name, head_text, (int)classes, &c, &result);
  if (!code) (json ? print_json : tsv ? print_tsv : print_text)(&result);
  config_destroy(c);
  return code;
}

const verb verb_count = {"count", "count what a method trains, stores and sends, without weights",
                         "usage: peftscale count --model NAME|DIRECTORY --method NAME [key=value ...] [--head linear|tanh] [--classes C] [--tsv | --json]\n"
                         "\n"
                         "NAME is a known shape (peftscale list models); DIRECTORY holds a config.json. Keys without a section are the method's:\n"
                         "rank=8 is method.rank=8. The head is counted apart, since every method trains it.\n"
                         "\n"
                         "example:\n"
                         "  peftscale count --model roberta-base --method lora rank=8 modules=q,v --tsv\n",
                         0, act};
