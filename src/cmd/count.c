#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/counted.h"

typedef struct count_result {
  const char *model, *method, *modules;
  method_counts counts;
  int64_t head, base;
} count_result;

static int count_all(const char *model_name, const config *c, int deep_head, int classes, count_result *result) {
  const method *chosen;
  census *taken;
  TRY(method_find(c->method.name, &chosen));
  TRY(counted_census(model_name, &taken));
  *result = (count_result){
      .model = model_name, .method = c->method.name, .modules = "-", .head = census_head_count(taken, deep_head, classes), .base = census_base_count(taken)};
  const option_value *modules = option_find(&c->method.options, "modules");
  if (modules) result->modules = modules->text;
  int code = census_count(taken, chosen, &c->method.options, &result->counts);
  census_destroy(taken);
  return code;
}

/* The configuration keeps the texts that the result points to. */
static int compose_and_count(const arguments *given, const char *model_name, const char *method_name, const char *head, int classes, config **c,
                             count_result *result) {
  TRY(counted_compose(given, method_name, c));
  return count_all(model_name, *c, counted_deep_head(head, model_name), classes, result);
}

/* Stored bytes in float32 numbers, as papers count; whole where it is whole. */
static double stored_floats(const count_result *r) { return (double)r->counts.stored_bytes / 4; }
static int64_t sent_with_head(const count_result *r) { return r->counts.sent_floats + r->head; }

/* At most 80 columns. */
static void print_text(const count_result *r) {
  static const char *const quarter[] = {"", ".25", ".5", ".75"};
  char a[32], b[32];
  const method_counts *c = &r->counts;
  printf("%s on %s%s%s\n", r->method, r->model, *r->modules == '-' ? "" : ", modules ", *r->modules == '-' ? "" : r->modules);
  printf("  trainable      %15s numbers, %.3g %% of %s\n", text_thousands(c->trainable, a), 100.0 * (double)c->trainable / (double)r->base,
         text_thousands(r->base, b));
  printf("  stored         %15s bytes", text_thousands(c->stored_bytes, a));
  printf(" (%s), as float32: %s%s\n", text_bytes((double)c->stored_bytes, b), text_thousands(c->stored_bytes / 4, a), quarter[c->stored_bytes % 4]);
  printf("  regenerated    %15s bytes (%s), made from a seed\n", text_thousands(c->regenerated_bytes, a), text_bytes((double)c->regenerated_bytes, b));
  printf("  sent per step  %15s floats (%s)\n", text_thousands(c->sent_floats, a), text_bytes(4.0 * (double)c->sent_floats, b));
  printf("    with head    %15s floats (%s)", text_thousands(sent_with_head(r), a), text_bytes(4.0 * (double)sent_with_head(r), b));
  printf("; the head has %s\n", text_thousands(r->head, a));
}

static void print_tsv(const count_result *r) {
  const method_counts *c = &r->counts;
  printf("model\tmethod\tmodules\ttrainable\tstored_bytes\tstored_floats\tregenerated_bytes\tsent_floats\tsent_floats_with_head\thead_floats\tbase_floats\n");
  printf("%s\t%s\t%s\t%lld\t%lld\t%.15g\t%lld\t%lld\t%lld\t%lld\t%lld\n", r->model, r->method, r->modules, (long long)c->trainable, (long long)c->stored_bytes,
         stored_floats(r), (long long)c->regenerated_bytes, (long long)c->sent_floats, (long long)sent_with_head(r), (long long)r->head, (long long)r->base);
}

static void print_json(const count_result *r) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "model", r->model);
  cJSON_AddStringToObject(o, "method", r->method);
  cJSON_AddStringToObject(o, "modules", r->modules);
  cJSON_AddNumberToObject(o, "trainable", (double)r->counts.trainable);
  cJSON_AddNumberToObject(o, "stored_bytes", (double)r->counts.stored_bytes);
  cJSON_AddNumberToObject(o, "stored_floats", stored_floats(r));
  cJSON_AddNumberToObject(o, "regenerated_bytes", (double)r->counts.regenerated_bytes);
  cJSON_AddNumberToObject(o, "sent_floats", (double)r->counts.sent_floats);
  cJSON_AddNumberToObject(o, "sent_floats_with_head", (double)sent_with_head(r));
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
  int classes;
  (void)none;
  TRY(arguments_parse("count", argc, argv, flags, 6, &given));
  if (!model_name || !method_name || given.word_count) return FAIL(ERROR_USAGE, "see: peftscale count --help", "count needs --model NAME and --method NAME");
  if (head_text && strcmp(head_text, "tanh") && strcmp(head_text, "linear"))
    return FAIL(ERROR_USAGE, "one of: linear, tanh", "there is no head '%s'", head_text);
  TRY(counted_classes(classes_text, &classes));
  config *c = NULL;
  count_result result;
  int code = compose_and_count(&given, model_name, method_name, head_text, classes, &c, &result);
  if (!code) (json ? print_json : tsv ? print_tsv : print_text)(&result);
  config_destroy(c);
  return code;
}

const verb verb_count = {"count", "count what a method trains, stores and sends, without weights",
                         "usage: peftscale count --model NAME|DIRECTORY --method NAME [key=value ...] [--head linear|tanh] [--classes C] [--tsv | --json]\n"
                         "\n"
                         "NAME is a known shape (peftscale list models), trainable or not; DIRECTORY holds a config.json. Keys without a section are the\n"
                         "method's: rank=8 is method.rank=8.\n"
                         "\n"
                         "  trainable        numbers of the method; the head is counted apart, since every method trains it\n"
                         "  stored           what a file of the result must hold; also as float32 numbers, the way papers count it\n"
                         "  regenerated      frozen numbers made anew from a seed, and therefore not stored\n"
                         "  sent per step    what a rank gives to the sum of gradients, without and with the head\n"
                         "\n"
                         "  --head linear    d C + C numbers for width d and C classes (default)\n"
                         "  --head tanh      d d + d more, dense and tanh before it (default for RoBERTa)\n"
                         "  --classes C      default 2\n"
                         "\n"
                         "example:\n"
                         "  peftscale count --model roberta-base --method lora rank=8 modules=q,v --tsv\n",
                         0, act};
