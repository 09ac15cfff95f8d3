#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/comm_request.h"
#include "train/placement.h"

/* ---- the cases ---- */

static bench_case case_of(const comm_request *q, const comm_item *item, int ranks, bench_algorithm a) {
  return (bench_case){
      .ranks = ranks, .algorithm = a, .messages = {{ELEMENT_BYTE_MAX, item->size.levels}, {q->exact ? ELEMENT_INT64_SUM : ELEMENT_FLOAT_SUM, item->size.sums}}};
}

typedef struct work {
  comm *comm;
  const comm_request *request;
  bench *bench;
  comm_file *file; /* rank 0, with --out */
  bench_case *cases;
  comm_outcome *outcomes;
  int count;
  bench_sample *samples;
} work;

/* Ranks outermost, then algorithms: neighbouring cases share a communicator. */
static int list_cases(work *w) {
  const comm_request *q = w->request;
  size_t count = (size_t)q->rank_count * (size_t)q->algorithm_count * (size_t)q->item_count;
  TRY(arena_take(q->memory, count, sizeof *w->cases, &w->cases));
  TRY(arena_take(q->memory, count, sizeof *w->outcomes, &w->outcomes));
  TRY(arena_take(q->memory, (size_t)q->limits.repetitions, sizeof *w->samples, &w->samples));
  for (int r = 0; r < q->rank_count; r++)
    for (int a = 0; a < q->algorithm_count; a++)
      for (int i = 0; i < q->item_count; i++) {
        comm_outcome *o = &w->outcomes[w->count];
        o->item = &q->items[i];
        o->one = w->cases[w->count++] = case_of(q, o->item, q->ranks[r], q->algorithms[a]);
      }
  return ERROR_NONE;
}

static int keep(work *w, comm_outcome *o) {
  TRY(bench_summarize(w->samples, o->result.samples, &o->summary));
  return w->file ? comm_file_add(w->file, &o->item->what, &o->one, &o->result, w->samples) : ERROR_NONE;
}

/* In a log one line for all sizes of a communicator, which is what takes the time. */
static void tell(const work *w, int index) {
  const comm_outcome *o = &w->outcomes[index];
  int items = w->request->item_count;
  char size[32];
  if (log_is_terminal())
    log_progress("%d of %d: %s, %s, %d ranks, %s", index + 1, w->count, o->item->what.label, text_bytes((double)o->item->size.bytes, size), o->one.ranks,
                 bench_algorithm_names[o->one.algorithm]);
  else if (index % items == 0)
    log_info("%s over %d rank%s: %d size%s", bench_algorithm_names[o->one.algorithm], o->one.ranks, o->one.ranks > 1 ? "s" : "", items, items > 1 ? "s" : "");
}

static int measure_case(work *w, int index) {
  comm_outcome *o = &w->outcomes[index];
  tell(w, index);
  TRY(bench_measure(w->bench, &o->one, &w->request->limits, w->samples, &o->result));
  return comm_agree(w->comm, comm_rank(w->comm) == 0 ? keep(w, o) : ERROR_NONE);
}

static int measure_all(work *w) {
  for (int i = 0; i < w->count; i++) TRY(measure_case(w, i));
  if (log_is_terminal()) log_progress("%s", ""); /* the table takes its place */
  return ERROR_NONE;
}

/* ---- the verb ---- */

static int finish(work *w) {
  comm_file *file = w->file;
  const comm_request *q = w->request;
  w->file = NULL;
  if (file) TRY(comm_file_finish(file));
  if (q->json) comm_print_json(w->comm, q, w->outcomes, w->count);
  else if (q->tsv) comm_print_tsv(w->outcomes, w->count);
  else comm_print_text(w->comm, q, w->outcomes, w->count);
  return ERROR_NONE;
}

/* Ranks beyond those of every case only wait. */
static int is_measured(const work *w) {
  int most = 0;
  for (int i = 0; i < w->count; i++) most = w->cases[i].ranks > most ? w->cases[i].ranks : most;
  return comm_rank(w->comm) < most;
}

/* What can be wrong is found out before anything is measured. */
static int run(work *w) {
  comm *c = w->comm;
  const comm_request *q = w->request;
  comm_file_head head = q->head;
  binding_kind binding;
  TRY(comm_agree(c, list_cases(w)));
  TRY(bench_create(c, w->cases, w->count, &w->bench));
  TRY(placement_check(c, is_measured(w), &binding));
  head.binding = binding_names[binding];
  TRY(comm_agree(c, q->out && comm_rank(c) == 0 ? comm_file_create(q->out, c, &head, &w->file) : ERROR_NONE));
  TRY(measure_all(w));
  return comm_agree(c, comm_rank(c) == 0 ? finish(w) : ERROR_NONE);
}

static int act(comm *c, int argc, char **argv) {
  comm_request q;
  int code = comm_agree(c, comm_request_read(argc, argv, comm_size(c), &q));
  if (!code) code = arguments_agree(c, argc, argv);
  if (!code) {
    work w = {.comm = c, .request = &q};
    code = run(&w);
    comm_file_abandon(w.file, error_last()->text);
    bench_destroy(w.bench);
  }
  arena_destroy(q.memory);
  return code;
}

/* Only where an algorithm will be forced: else the library runs as it does for everybody. */
void verb_comm_prepare(int argc, char **argv) {
  static const char flag_name[] = "--algorithms";
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], flag_name, sizeof flag_name - 1)) continue;
    const char *list = argv[i][sizeof flag_name - 1] == '=' ? argv[i] + sizeof flag_name : i + 1 < argc ? argv[i + 1] : "";
    if (strstr(list, "mpi:") || !strcmp(list, "all")) bench_allow_forced();
  }
}

const verb verb_comm = {"comm", "measure sums of exactly each method's size, without weights",
                        "usage: mpirun -np N peftscale comm [--models a,b | none] [--methods x,y | all | none] [key=value ...] [--sizes 4,64KiB,1MiB]\n"
                        "         [--ranks 2,3,4] [--algorithms mpi,ring | all] [--head linear|tanh|none] [--classes C] [--reduce float|exact]\n"
                        "         [--repetitions 20] [--seconds 2] [--network LABEL] [--rate 100mbit] [--out FILE.h5] [--json | --tsv]\n"
                        "\n"
                        "For each model and method, the sum over ranks of what one training step sends: the method's numbers, the head's, and the loss\n"
                        "and counts behind them. Of full fine-tuning it has all rows of the embeddings, as payload=dense sends them: which ones a\n"
                        "batch reaches is known with data alone. Default: minilm-l6 and roberta-base, all methods, all ranks.\n"
                        "\n"
                        "  --models         known shapes (peftscale list models) or directories with a config.json\n"
                        "  key=value        of the methods: rank=8 for all chosen ones that have the key, lora.rank=8 for one\n"
                        "  --sizes          plain sizes as well (B, kB, MB, GB, KiB, MiB, GiB)\n"
                        "  --ranks          communicators of the first so many ranks; the others sleep\n"
                        "  --algorithms     mpi: MPI_Allreduce by its own choice; mpi:doubling, mpi:ring, mpi:segmented_ring, mpi:rabenseifner:\n"
                        "                   Open MPI's, forced; doubling, ring, rabenseifner: the suite's own, with exact counts of rounds and bytes;\n"
                        "                   all: those that there are with the MPI library of this program\n"
                        "  --head           default as in `count`; none: the method's numbers alone\n"
                        "  --reduce exact   8 bytes a number, and a byte per segment ahead, as the training's exact sum\n"
                        "  --seconds S      stop a case after so long, but not before 3 repetitions\n"
                        "  --network, --rate  notes for the file: what lies between the ranks, and how fast it is known to be\n"
                        "  --out FILE       every repetition, as HDF5 (src/store/SCHEMA.md)\n"
                        "\n"
                        "A repetition begins at a barrier and lasts until the slowest rank has the sum. Large vectors go in one call here; a training\n"
                        "sends them in buckets while it computes.\n"
                        "\n"
                        "example:\n"
                        "  mpirun -np 4 peftscale comm --models minilm-l6 --methods lora,full rank=8 --ranks 2,3,4 --algorithms mpi,ring --out comm.h5\n",
                        1, act};
