#include "cmd/comm_request.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/counted.h"

enum { MOST_WORDS = 256, MOST_REPETITIONS = 1000000 };

/* ---- lists ---- */

typedef struct words {
  char *word[MOST_WORDS];
  int count;
} words;

/* "a,b,c". Errors: an empty word, or one that comes twice. */
static int split_words(arena *memory, const char *flag_name, const char *text, words *w) {
  char *copy, *next;
  w->count = 0;
  TRY(arena_copy_text(memory, text, &copy));
  for (char *word = copy; word; word = next) {
    next = strchr(word, ',');
    if (next) *next++ = 0;
    if (!*word) return FAIL(ERROR_USAGE, NULL, "--%s '%s': an empty word in a list", flag_name, text);
    if (w->count == MOST_WORDS) return FAIL(ERROR_USAGE, NULL, "--%s: more than %d words", flag_name, MOST_WORDS);
    for (int i = 0; i < w->count; i++)
      if (!strcmp(w->word[i], word)) return FAIL(ERROR_USAGE, NULL, "--%s: '%s' comes twice", flag_name, word);
    w->word[w->count++] = word;
  }
  return ERROR_NONE;
}

static int read_ranks(comm_request *q, const char *text, int all) {
  words w;
  TRY(split_words(q->memory, "ranks", text, &w));
  TRY(arena_take(q->memory, (size_t)w.count, sizeof *q->ranks, &q->ranks));
  for (int i = 0; i < w.count; i++) {
    int64_t ranks;
    if (text_to_int(w.word[i], &ranks) || ranks < 1) return FAIL(ERROR_USAGE, NULL, "--ranks: '%s' is no number of ranks", w.word[i]);
    if (ranks > all)
      return FAIL(ERROR_USAGE, "start it with more: mpirun -np N peftscale comm ...", "--ranks: %lld were asked for, and %d are there", (long long)ranks, all);
    q->ranks[q->rank_count++] = (int)ranks;
  }
  return ERROR_NONE;
}

static int read_algorithms(comm_request *q, const char *text) {
  words w;
  if (!strcmp(text, "all")) {
    for (int a = 0; a < BENCH_ALGORITHMS; a++)
      if (bench_exists((bench_algorithm)a)) q->algorithms[q->algorithm_count++] = (bench_algorithm)a;
    return ERROR_NONE;
  }
  TRY(split_words(q->memory, "algorithms", text, &w));
  for (int i = 0; i < w.count; i++) {
    int a = 0;
    while (a < BENCH_ALGORITHMS && strcmp(bench_algorithm_names[a], w.word[i])) a++;
    if (a == BENCH_ALGORITHMS) {
      char hint[160] = "one of: all";
      for (int k = 0; k < BENCH_ALGORITHMS; k++) snprintf(hint + strlen(hint), sizeof hint - strlen(hint), ", %s", bench_algorithm_names[k]);
      return FAIL(ERROR_USAGE, hint, "--algorithms: there is no '%s'", w.word[i]);
    }
    q->algorithms[q->algorithm_count++] = (bench_algorithm)a;
  }
  return ERROR_NONE;
}

/* ---- numbers with units ---- */

typedef struct unit {
  const char *name;
  double factor;
} unit;

/* The whole of `text` as a number and one of the units, capitals or not. 0: it is none. */
static int read_quantity(const char *text, const unit *units, double *value) {
  char number[64];
  size_t digits = strspn(text, "0123456789.");
  if (!digits || digits >= sizeof number) return 0;
  snprintf(number, sizeof number, "%.*s", (int)digits, text);
  if (text_to_double(number, value)) return 0;
  for (const unit *u = units; u->name; u++)
    if (!strcasecmp(u->name, text + digits)) {
      *value *= u->factor;
      return isfinite(*value);
    }
  return 0;
}

static int read_size(const char *text, int width, int64_t *bytes) {
  static const unit units[] = {{"", 1},  {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024},
                               {NULL, 0}};
  double value;
  if (!read_quantity(text, units, &value) || value > 1e15) return FAIL(ERROR_USAGE, "for example 4, 64KiB, 1MiB or 1.2MB", "--sizes: '%s' is no size", text);
  if (value < width || fmod(value, width) != 0) return FAIL(ERROR_USAGE, NULL, "--sizes: %s is not a multiple of the %d bytes of one number", text, width);
  *bytes = (int64_t)value;
  return ERROR_NONE;
}

static int read_rate(const char *text, double *bits_per_s) {
  static const unit units[] = {{"", 1}, {"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};
  if (read_quantity(text, units, bits_per_s) && *bits_per_s > 0) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "for example 100mbit or 1gbit", "--rate: '%s' is no rate", text);
}

static int read_limits(comm_request *q, const char *repetitions, const char *seconds) {
  int64_t count;
  if (text_to_int(repetitions, &count) || count < 1 || count > MOST_REPETITIONS)
    return FAIL(ERROR_USAGE, NULL, "--repetitions %s: a number from 1 to %d is needed", repetitions, MOST_REPETITIONS);
  q->limits.repetitions = (int)count;
  if (text_to_double(seconds, &q->limits.seconds) || !(q->limits.seconds >= 0 && q->limits.seconds <= 1e6))
    return FAIL(ERROR_USAGE, NULL, "--seconds %s: a number from 0 to 1000000 is needed", seconds);
  return ERROR_NONE;
}

/* ---- methods on models ---- */

typedef struct choice {
  words models, methods;
  const arguments *given;
  uint8_t used[ARGUMENTS_MAX]; /* assignments that some method took */
  const char *head;            /* "linear", "tanh", "none"; NULL: the model's own */
  int classes;
} choice;

static int has_key(const char *method_name, const char *key, size_t length) {
  const option *options;
  int count;
  if (method_options(method_name, &options, &count)) return 0;
  for (int i = 0; i < count; i++)
    if (strlen(options[i].name) == length && !strncmp(options[i].name, key, length)) return 1;
  return 0;
}

/* KEY=VALUE goes to every chosen method that has the key, METHOD.KEY=VALUE to one. */
static void take_assignments(choice *c, const char *method_name, arguments *own) {
  size_t name_length = strlen(method_name);
  *own = (arguments){0};
  for (int i = 0; i < c->given->assignment_count; i++) {
    const char *word = c->given->assignments[i], *key = word;
    size_t length = strcspn(word, "=");
    if (length > name_length && word[name_length] == '.' && !strncmp(word, method_name, name_length)) key += name_length + 1;
    length -= (size_t)(key - word);
    if (!has_key(method_name, key, length)) continue;
    own->assignments[own->assignment_count++] = key;
    c->used[i] = 1;
  }
}

static int check_used(const choice *c) {
  for (int i = 0; i < c->given->assignment_count; i++)
    if (!c->used[i])
      return FAIL(ERROR_USAGE, "KEY=VALUE is for all chosen methods that have the key, METHOD.KEY=VALUE for one", "no chosen method has a key for '%s'",
                  c->given->assignments[i]);
  return ERROR_NONE;
}

/* A model's name in tables: of a directory the last part. */
static int name_item(const char *model, const char *method_name, comm_file_case *what) {
  size_t length = strlen(model);
  while (length > 1 && model[length - 1] == '/') length--;
  size_t first = length;
  while (first > 0 && model[first - 1] != '/') first--;
  if (first == length) first = 0;
  TRY(text_format(what->method, sizeof what->method, "%s", method_name));
  if (strlen(method_name) + 4 + length - first >= COMM_FILE_LABEL)
    return FAIL(ERROR_USAGE, "give the directory a shorter name (a link will do)", "--models: the name of '%s' is too long for the table", model);
  TRY(text_format(what->model, sizeof what->model, "%.*s", (int)(length - first), model + first));
  return text_format(what->label, sizeof what->label, "%s on %s", method_name, what->model);
}

static int count_item(const comm_request *q, const choice *c, const char *model, const census *taken, const method *chosen, const config *conf,
                      comm_item *item) {
  method_counts counts;
  TRY(name_item(model, chosen->name, &item->what));
  if (census_count(taken, chosen, &conf->method.options, &counts)) return error_prefix("%s on %s: ", chosen->name, model);
  int deep = counted_deep_head(c->head, model), headless = c->head && !strcmp(c->head, "none");
  int64_t head = headless ? 0 : census_head_count(taken, deep, c->classes), segments = headless ? 0 : census_head_segments(deep);
  item->size = payload_of(q->exact, counts.sent_floats + head, counts.segments + segments);
  item->bytes_without_head = payload_of(q->exact, counts.sent_floats, counts.segments).bytes;
  return ERROR_NONE;
}

/* Method by method, since each has one configuration; in the table model by model. */
static int count_method(comm_request *q, choice *c, int index) {
  const method *chosen;
  arguments own;
  config *conf;
  TRY(method_find(c->methods.word[index], &chosen));
  take_assignments(c, chosen->name, &own);
  TRY(counted_compose(&own, chosen->name, &conf));
  int code = ERROR_NONE;
  for (int m = 0; m < c->models.count && !code; m++) {
    census *taken;
    code = counted_census(c->models.word[m], &taken);
    if (!code) code = count_item(q, c, c->models.word[m], taken, chosen, conf, &q->items[m * c->methods.count + index]);
    census_destroy(taken);
  }
  config_destroy(conf);
  return code;
}

static int take_sizes(const comm_request *q, const words *sizes, comm_item *items) {
  for (int i = 0; i < sizes->count; i++) {
    comm_item *item = &items[i];
    int width = elements[q->exact ? ELEMENT_INT64_SUM : ELEMENT_FLOAT_SUM].bytes;
    TRY(read_size(sizes->word[i], width, &item->size.bytes));
    item->size.sums = item->size.bytes / width;
    item->bytes_without_head = item->size.bytes;
    TRY(text_format(item->what.label, sizeof item->what.label, "size"));
  }
  return ERROR_NONE;
}

static int read_items(comm_request *q, choice *c, const char *models, const char *methods, const char *sizes) {
  words plain = {.count = 0};
  if (strcmp(models, "none")) TRY(split_words(q->memory, "models", models, &c->models));
  if (strcmp(methods, "all") && strcmp(methods, "none")) TRY(split_words(q->memory, "methods", methods, &c->methods));
  for (int i = 0; !strcmp(methods, "all") && method_list[i]; i++) c->methods.word[c->methods.count++] = (char *)method_list[i]->name;
  if (sizes) TRY(split_words(q->memory, "sizes", sizes, &plain));
  int counted = c->models.count * c->methods.count;
  q->item_count = counted + plain.count;
  if (!q->item_count) return FAIL(ERROR_USAGE, "name --models and --methods, or --sizes", "there is nothing to measure");
  TRY(arena_take(q->memory, (size_t)q->item_count, sizeof *q->items, &q->items));
  for (int i = 0; i < c->methods.count; i++) TRY(count_method(q, c, i));
  TRY(check_used(c));
  return take_sizes(q, &plain, q->items + counted);
}

int comm_request_read(int argc, char **argv, int ranks, comm_request *q) {
  const char *models = "minilm-l6,roberta-base", *methods = "all", *rank_list = NULL, *algorithms = "mpi", *sizes = NULL, *classes = "2", *reduce = "float";
  const char *repetitions = "20", *seconds = "2", *rate = NULL;
  arguments given;
  choice c = {.given = &given};
  *q = (comm_request){.head = {.network = ""}};
  const flag flags[] = {{"models", &models, NULL},
                        {"methods", &methods, NULL},
                        {"ranks", &rank_list, NULL},
                        {"algorithms", &algorithms, NULL},
                        {"sizes", &sizes, NULL},
                        {"head", &c.head, NULL},
                        {"classes", &classes, NULL},
                        {"reduce", &reduce, NULL},
                        {"seconds", &seconds, NULL},
                        {"rate", &rate, NULL},
                        {"repetitions", &repetitions, NULL},
                        {"network", &q->head.network, NULL},
                        {"out", &q->out, NULL},
                        {"json", NULL, &q->json},
                        {"tsv", NULL, &q->tsv}};
  TRY(arena_create(&q->memory));
  TRY(arguments_parse("comm", argc, argv, flags, sizeof flags / sizeof *flags, &given));
  if (given.word_count) return FAIL(ERROR_USAGE, "see: peftscale comm --help", "comm takes flags and key=value words, not '%s'", given.words[0]);
  if (q->json && q->tsv) return FAIL(ERROR_USAGE, NULL, "--json and --tsv: only one of them");
  if (c.head && strcmp(c.head, "tanh") && strcmp(c.head, "linear") && strcmp(c.head, "none"))
    return FAIL(ERROR_USAGE, "one of: linear, tanh, none", "there is no head '%s'", c.head);
  if (strcmp(reduce, "float") && strcmp(reduce, "exact")) return FAIL(ERROR_USAGE, "one of: float, exact", "--reduce: there is no '%s'", reduce);
  q->head.reduce = reduce;
  q->exact = !strcmp(reduce, "exact");
  if (strlen(q->head.network) >= COMM_FILE_LABEL) return FAIL(ERROR_USAGE, NULL, "--network: the label has more than %d bytes", COMM_FILE_LABEL - 1);
  if (q->out && !*q->out) return FAIL(ERROR_USAGE, NULL, "--out: the path is empty");
  TRY(counted_classes(classes, &c.classes));
  TRY(read_limits(q, repetitions, seconds));
  if (rate) TRY(read_rate(rate, &q->head.rate_bits_per_s));
  TRY(read_algorithms(q, algorithms));
  char all[16];
  snprintf(all, sizeof all, "%d", ranks);
  TRY(read_ranks(q, rank_list ? rank_list : all, ranks));
  return read_items(q, &c, models, methods, sizes);
}
