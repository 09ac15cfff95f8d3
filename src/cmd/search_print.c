#include "cmd/search.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "store/file.h"

enum { COLUMNS = 96 };

static const method_paths *paths_of(const run *r) { return model_adapter(r->model)->method->paths; }

/* ---- text ---- */

static const char *number(double value, int digits, char buffer[32]) {
  if (isnan(value)) snprintf(buffer, 32, "-");
  else snprintf(buffer, 32, "%.*f", digits, value);
  return buffer;
}

static void print_head(const run *r, const char *run_path, const supernet_report *report) {
  const search_result *e = &report->evolution;
  char text[5][32];
  long long paths = 1;
  for (int g = 0; g < paths_of(r)->genes; g++) paths *= paths_of(r)->choices[g];
  printf("%s\n%s super-network of %d maps with %lld paths each, %s parameters\n", run_path, r->config->method.name, e->places, paths,
         text_thousands(report->widest_size, text[0]));
  printf("validation, cut in two by a hash of the example id: %s examples to search on,\n%s that the search never sees; test, read once at the end: %s\n",
         text_thousands(report->examples[SUPERNET_SEARCH], text[0]), text_thousands(report->examples[SUPERNET_UNSEEN], text[1]),
         text_thousands(report->examples[SUPERNET_TEST], text[2]));
  printf("cap on parameters: %s%s%s%s\n", text_thousands(e->limit, text[3]), e->limit == e->mean_size ? ", the mean of a random path" : " (a random path has ",
         e->limit == e->mean_size ? "" : text_thousands(e->mean_size, text[4]), e->limit == e->mean_size ? "" : " in the mean)");
}

static void print_generations(const run *r, const search_result *e) {
  char best[32], mean[32];
  printf("\n%-10s %10s %12s %12s   (%s, search half)\n", "generation", "new paths", "best so far", "mean of new", metric_names[r->metric]);
  for (int g = 0; g < e->generation_count; g++)
    printf("%10d %10d %12s %12s\n", g, e->generations[g].evaluated, number(e->generations[g].best, 4, best), number(e->generations[g].mean, 4, mean));
}

static void print_path(const run *r, const search_result *e) {
  const adapter *a = model_adapter(r->model);
  const method_paths *paths = paths_of(r);
  const search_candidate *found = &e->candidates[e->best];
  char size[32], text[METHOD_PATH_BYTES];
  printf("\nfound path: generation %d, %s\n", found->generation, search_origin_names[found->origin]);
  printf("%-18s %5s  %-52s %12s\n", "map", "path", "supports", "parameters");
  for (int i = 0; i < e->places; i++) {
    paths->describe(found->path[i], text);
    printf("%-18s %5d  %-52s %12s\n", paths->place_name(a, i), (int)found->path[i], text, text_thousands(paths->size(a, i, found->path[i]), size));
  }
  printf("%-18s %5s  %-52s %12s\n", "all", "", "", text_thousands(found->size, size));
}

static void print_row(const char *name, const char *size, double search, double unseen, double test) {
  char text[3][32];
  printf("%-36s %12s %12s %12s %10s\n", name, size, number(search, 4, text[0]), number(unseen, 4, text[1]), number(test, 4, text[2]));
}

static void print_comparison(const run *r, const supernet_report *report) {
  const search_result *e = &report->evolution;
  const supernet_random *x = report->random;
  char size[32], name[64];
  printf("\n%-36s %12s %12s %12s %10s\n", metric_names[r->metric], "parameters", "search half", "unseen half", "test");
  print_row("found path", text_thousands(e->candidates[e->best].size, size), report->found[0], report->found[1], report->found[2]);
  snprintf(name, sizeof name, "mean of %d random paths, same cap", e->random_count);
  print_row(name, text_thousands((int64_t)(report->random_size + 0.5), size), x[0].mean, x[1].mean, x[2].mean);
  print_row("  standard deviation over these", "", x[0].deviation, x[1].deviation, x[2].deviation);
  print_row("  best of these on each part", "", x[0].best, x[1].best, NAN);
  print_row("  the one best on the search half", text_thousands(report->chosen_size, size), x[0].chosen, x[1].chosen, x[2].chosen);
  const char *widest = report->widest_size > e->limit ? "widest path, above the cap" : "widest path";
  print_row(widest, text_thousands(report->widest_size, size), report->widest[0], report->widest[1], report->widest[2]);
  print_row("loss of the found path", "", report->found_loss[0], report->found_loss[1], report->found_loss[2]);
  print_row("loss of the random paths, mean", "", report->random_loss[0], report->random_loss[1], report->random_loss[2]);
}

/* The words that train the found path from its start, for a shell: long ones go on behind a backslash. */
static void print_words(const run *r, const search_result *e) {
  const int32_t *path = e->candidates[e->best].path;
  printf("\nto train the found path from its start, these words beside the run's own:\n");
  int column = printf("%s", paths_of(r)->words);
  for (int i = 0; i < e->places; i++) {
    char id[24];
    int length = snprintf(id, sizeof id, "%s%d", i ? "," : "", (int)path[i]);
    if (column + length > COLUMNS) {
      printf("\\\n");
      column = 0;
    }
    column += printf("%s", id);
  }
  printf("\n");
}

void search_print_text(const run *r, const char *run_path, const supernet_report *report) {
  print_head(r, run_path, report);
  print_generations(r, &report->evolution);
  print_path(r, &report->evolution);
  print_comparison(r, report);
  print_words(r, &report->evolution);
}

/* ---- JSON ---- */

static const char *const part_names[SUPERNET_PARTS] = {"search", "unseen", "test"};

static void add_scores(cJSON *o, const char *name, const double *value) {
  cJSON *scores = cJSON_AddObjectToObject(o, name);
  for (int p = 0; p < SUPERNET_PARTS; p++) add_json_number(scores, part_names[p], value[p]);
}

static void add_found(cJSON *o, const run *r, const supernet_report *report) {
  const adapter *a = model_adapter(r->model);
  const method_paths *paths = paths_of(r);
  const search_result *e = &report->evolution;
  const search_candidate *c = &e->candidates[e->best];
  cJSON *found = cJSON_AddObjectToObject(o, "found"), *maps;
  cJSON_AddNumberToObject(found, "generation", c->generation);
  cJSON_AddStringToObject(found, "origin", search_origin_names[c->origin]);
  add_json_number(found, "parameters", (double)c->size);
  add_scores(found, "scores", report->found);
  add_scores(found, "losses", report->found_loss);
  maps = cJSON_AddArrayToObject(found, "maps");
  for (int i = 0; i < e->places; i++) {
    cJSON *map = cJSON_CreateObject();
    char text[METHOD_PATH_BYTES];
    paths->describe(c->path[i], text);
    cJSON_AddStringToObject(map, "map", paths->place_name(a, i));
    cJSON_AddNumberToObject(map, "path", c->path[i]);
    cJSON_AddStringToObject(map, "supports", text);
    add_json_number(map, "parameters", (double)paths->size(a, i, c->path[i]));
    cJSON_AddItemToArray(maps, map);
  }
}

static void add_random(cJSON *o, const supernet_report *report) {
  cJSON *random = cJSON_AddObjectToObject(o, "random");
  cJSON_AddNumberToObject(random, "count", report->evolution.random_count);
  add_json_number(random, "parameters", report->random_size);
  add_json_number(random, "chosen_parameters", (double)report->chosen_size);
  for (int p = 0; p < SUPERNET_PARTS; p++) {
    const supernet_random *x = &report->random[p];
    cJSON *part = cJSON_AddObjectToObject(random, part_names[p]);
    add_json_number(part, "mean", x->mean);
    add_json_number(part, "deviation", x->deviation);
    if (p != SUPERNET_TEST) add_json_number(part, "best", x->best);
    add_json_number(part, "chosen_on_search", x->chosen);
    add_json_number(part, "mean_loss", report->random_loss[p]);
  }
}

static void add_words(cJSON *o, const run *r, const search_result *e) {
  const char *words = paths_of(r)->words;
  size_t room = strlen(words) + (size_t)e->places * 12 + 1, used;
  char *text = malloc(room);
  if (!text) return;
  used = (size_t)snprintf(text, room, "%s", words);
  for (int i = 0; i < e->places; i++) used += (size_t)snprintf(text + used, room - used, "%s%d", i ? "," : "", (int)e->candidates[e->best].path[i]);
  cJSON_AddStringToObject(o, "words", text);
  free(text);
}

void search_print_json(const run *r, const char *run_path, const supernet_report *report) {
  const search_result *e = &report->evolution;
  cJSON *o = cJSON_CreateObject(), *part, *list;
  cJSON_AddStringToObject(o, "run", run_path);
  cJSON_AddStringToObject(o, "method", r->config->method.name);
  cJSON_AddStringToObject(o, "metric", metric_names[r->metric]);
  part = cJSON_AddObjectToObject(o, "examples");
  for (int p = 0; p < SUPERNET_PARTS; p++) add_json_number(part, part_names[p], (double)report->examples[p]);
  add_json_number(o, "limit", (double)e->limit);
  add_json_number(o, "mean_parameters", (double)e->mean_size);
  add_json_number(o, "evaluated", (double)e->count);
  list = cJSON_AddArrayToObject(o, "generations");
  for (int g = 0; g < e->generation_count; g++) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddNumberToObject(row, "evaluated", e->generations[g].evaluated);
    add_json_number(row, "best", e->generations[g].best);
    add_json_number(row, "mean", e->generations[g].mean);
    cJSON_AddItemToArray(list, row);
  }
  add_found(o, r, report);
  add_random(o, report);
  part = cJSON_AddObjectToObject(o, "widest");
  add_json_number(part, "parameters", (double)report->widest_size);
  add_scores(part, "scores", report->widest);
  add_words(o, r, e);
  print_json_object(o);
}

/* ---- TSV ---- */

int search_write_tsv(const char *path, const run *r, const search_result *e) {
  char *bytes = NULL;
  size_t count = 0;
  FILE *file = open_memstream(&bytes, &count);
  if (!file) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  fprintf(file, "generation\torigin\tparameters\t%s\t%spaths\n", metric_names[r->metric], r->metric == METRICS_LOSS ? "" : "loss\t");
  for (int64_t i = 0; i < e->count; i++) {
    const search_candidate *c = &e->candidates[i];
    fprintf(file, "%d\t%s\t%lld\t%.17g\t", c->generation, search_origin_names[c->origin], (long long)c->size, c->value.value);
    if (r->metric != METRICS_LOSS) fprintf(file, "%.17g\t", c->value.loss);
    for (int p = 0; p < e->places; p++) fprintf(file, "%s%d", p ? "," : "", (int)c->path[p]);
    fputc('\n', file);
  }
  int code = fclose(file) ? FAIL(ERROR_MEMORY, NULL, "out of memory") : file_write_atomic(path, bytes, count);
  free(bytes);
  return code;
}
