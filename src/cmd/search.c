#include "cmd/search.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/trained.h"
#include "store/file.h"
#include "train/export.h"

typedef struct request {
  search_options options;
  int64_t examples;
  const char *out, *export_dir;
  int json, quiet;
} request;

/* A number of a flag. text "": it was not given, *value stays. */
static int read_count(const char *flag_name, const char *text, int64_t low, int64_t high, int64_t *value) {
  int64_t found;
  if (!*text) return ERROR_NONE;
  if (text_to_int(text, &found) || found < low || found > high)
    return FAIL(ERROR_USAGE, NULL, "--%s is '%s', not a whole number in %lld .. %lld", flag_name, text, (long long)low, (long long)high);
  *value = found;
  return ERROR_NONE;
}

enum { MANY = 1000000 };

static int read_request(int argc, char **argv, arguments *a, request *q) {
  enum { POPULATION, GENERATIONS, PARENTS, MUTATIONS, CROSSOVERS, RANDOM, EXAMPLES, SEED, LIMIT, COUNTS };
  static const char *const name[COUNTS] = {"population", "generations", "parents", "mutations", "crossovers", "random", "examples", "seed", "limit-params"};
  static const int64_t low[COUNTS] = {1, 0, 1, 0, 0, 1, 1, 0, 0}, high[COUNTS] = {MANY, MANY, MANY, MANY, MANY, MANY, INT64_MAX, INT64_MAX, INT64_MAX};
  int64_t value[COUNTS] = {50, 20, 10, -1, -1, -1, 0, -1, -1};
  const char *text[COUNTS] = {"", "", "", "", "", "", "", "", ""}, *share = "", *by = "metric";
  flag flags[COUNTS + 6] = {{"by", &by, NULL},        {"mutate-share", &share, NULL}, {"out", &q->out, NULL}, {"export", &q->export_dir, NULL},
                            {"json", NULL, &q->json}, {"quiet", NULL, &q->quiet}};
  for (int i = 0; i < COUNTS; i++) flags[6 + i] = (flag){name[i], &text[i], NULL};
  TRY(arguments_parse("search", argc, argv, flags, COUNTS + 6, a));
  if (a->word_count != 1) return FAIL(ERROR_USAGE, "see: peftscale search --help", "search takes one run file, not %d", a->word_count);
  for (int i = 0; i < COUNTS; i++) TRY(read_count(name[i], text[i], low[i], high[i], &value[i]));
  q->options.mutate_share = 0.2;
  if (*share && (text_to_double(share, &q->options.mutate_share) || !(q->options.mutate_share >= 0 && q->options.mutate_share <= 1)))
    return FAIL(ERROR_USAGE, NULL, "--mutate-share is '%s', not a number in 0 .. 1", share);
  q->options.by_loss = !strcmp(by, "loss");
  if (!q->options.by_loss && strcmp(by, "metric")) return FAIL(ERROR_USAGE, "one of: metric, loss", "--by is '%s'", by);
  int64_t half = value[POPULATION] / 2;
  q->options.population = (int)value[POPULATION];
  q->options.generations = (int)value[GENERATIONS];
  q->options.parents = (int)value[PARENTS];
  q->options.mutations = (int)(value[MUTATIONS] < 0 ? half : value[MUTATIONS]);
  q->options.crossovers = (int)(value[CROSSOVERS] < 0 ? half : value[CROSSOVERS]);
  q->options.randoms = (int)(value[RANDOM] < 0 ? value[POPULATION] : value[RANDOM]);
  q->options.limit = value[LIMIT];
  q->options.seed = (uint64_t)value[SEED];
  q->examples = value[EXAMPLES];
  return ERROR_NONE;
}

/* Found out now, not after the search. */
static int check_places(const run *r, const request *q) {
  if (*q->out) TRY(file_check_target(q->out));
  return *q->export_dir ? export_prepare(r->config, q->export_dir) : ERROR_NONE;
}

static int export_found(run *r, const char *run_path, const request *q, const search_result *e) {
  char *id;
  TRY(runfile_read_attribute_text(run_path, "", "experiment_id", &id));
  int code = supernet_follow(r, e->candidates[e->best].path);
  if (!code) code = export_backbone(r->model, r->chosen, id, q->export_dir);
  free(id);
  return code;
}

/* What was found first: a disk that has filled up meanwhile must not cost the search. */
static int give_out(run *r, const char *run_path, const request *q, const supernet_report *report) {
  (q->json ? search_print_json : search_print_text)(r, run_path, report);
  if (*q->out) TRY(search_write_tsv(q->out, r, &report->evolution));
  return *q->export_dir ? export_found(r, run_path, q, &report->evolution) : ERROR_NONE;
}

static int search(run *r, const char *run_path, request *q) {
  supernet_report report;
  const method_paths *paths;
  arena *memory = NULL;
  int rank = comm_rank(r->comm), code = supernet_paths(r, &paths);
  if (!code && rank == 0) code = check_places(r, q);
  if (!code) code = arena_create(&memory);
  code = comm_agree(r->comm, code);
  if (q->options.seed == (uint64_t)-1) q->options.seed = (uint64_t)r->config->seed;
  if (!code) code = supernet_search(r, &q->options, q->examples, memory, &report);
  if (!code && rank == 0) code = give_out(r, run_path, q, &report);
  code = comm_agree(r->comm, code);
  arena_destroy(memory);
  return code;
}

static int act(comm *c, int argc, char **argv) {
  arguments a;
  request q = {.out = "", .export_dir = ""};
  run *r = NULL;
  int code = read_request(argc, argv, &a, &q);
  log_setup(comm_rank(c) == 0, q.quiet ? LOG_QUIET : LOG_NORMAL);
  TRY(comm_agree(c, code));
  TRY(arguments_agree(c, argc, argv)); /* ranks that evolve by other rules would wait for each other for ever */
  TRY(trained_open(c, NULL, &a, SPLIT_VALIDATION, &r));
  code = search(r, a.words[0], &q);
  run_destroy(r);
  return code;
}

const verb verb_search = {"search", "search the paths of a trained super-network",
                          "usage: [mpirun -np N] peftscale search RUN.h5 [--limit-params N] [--out FILE.tsv] [--export DIR] [--json | --quiet]\n"
                          "         [--population 50] [--generations 20] [--parents 10] [--mutations 25] [--crossovers 25] [--mutate-share 0.2]\n"
                          "         [--by metric|loss] [--random N] [--examples N] [--seed S] [section.key=value ...]\n"
                          "\n"
                          "The evolutionary search of GLoRA (arXiv 2306.07967) for a path per adapted map, in a run trained with method.path=random.\n"
                          "Nothing is trained. Each rank evaluates whole candidates; the result is the same for any number of ranks and threads.\n"
                          "\n"
                          "Data: the run's validation split is cut in two by a hash of the example id. Candidates are scored on the search half, by\n"
                          "the run's metric; the unseen half takes no part in the search and says what the choice is worth; test is read once, at the\n"
                          "end. Train with train.keep=last, or the epoch has been chosen on both halves.\n"
                          "\n"
                          "  --limit-params N  the cap on a path's parameters (head apart); default: the mean size of a random path\n"
                          "  --by loss         the loss on the search half decides, not the run's metric: smoother, so less is chosen by luck\n"
                          "  --random N        random paths under the same cap to compare with (default: the population): the first ones of\n"
                          "                    generation 0, and if there are fewer, further ones of origin `baseline`, which do not evolve\n"
                          "  --examples N      use at most N examples of the search half, always the same ones\n"
                          "  --mutations N, --crossovers N   per generation, from the best --parents so far (default: half the population each);\n"
                          "                    what is missing then is filled up with random paths\n"
                          "  --mutate-share P  the probability that a mutation draws a tensor's support anew\n"
                          "  --seed S          of the search (default: the run's)\n"
                          "  --out FILE        every evaluated path: generation, origin, parameters, score, loss, path ids\n"
                          "  --export DIR      the base model with the found path folded in, as model.safetensors and config.json\n"
                          "\n"
                          "Prints the generations, the found path map by map, its scores beside random paths of the same cap and the widest path, and\n"
                          "the configuration words that train the found path from its start.\n"
                          "\n"
                          "example:\n"
                          "  mpirun -np 2 peftscale search results/runs/wordnet-verbs-glora-s1-0a1b2c3d.h5 --generations 10 --out paths.tsv\n",
                          1, act};
