#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cmd/comm_request.h"

/* ---- text ---- */

static const char *seconds_text(double seconds, char buffer[32]) {
  if (seconds < 1e-3) snprintf(buffer, 32, "%.1f us", seconds * 1e6);
  else if (seconds < 1) snprintf(buffer, 32, "%.2f ms", seconds * 1e3);
  else snprintf(buffer, 32, "%.2f s", seconds);
  return buffer;
}

/* "-" for what is not known. */
static const char *known_bytes(double bytes, char buffer[32]) {
  if (isnan(bytes) || bytes < 0) snprintf(buffer, 32, "-");
  else text_bytes(bytes, buffer);
  return buffer;
}

static void print_item(const comm_item *item) {
  char all[32], part[32];
  printf("\n%s: %s", item->what.label, text_bytes((double)item->size.bytes, all));
  if (item->size.bytes != item->bytes_without_head) printf(" (%s without the head)", text_bytes((double)item->bytes_without_head, part));
  printf("\n  ranks algorithm              min   median      p90     wire wire max  counted cnt. max rounds\n");
}

static void print_row(const comm_outcome *o) {
  char t[7][32], rounds[16] = "-";
  const bench_summary *s = &o->summary;
  if (o->result.rounds >= 0) snprintf(rounds, sizeof rounds, "%d", o->result.rounds);
  printf("  %5d %-18s %8s %8s %8s %8s %8s %8s %8s %6s\n", o->one.ranks, bench_algorithm_names[o->one.algorithm], seconds_text(s->min, t[0]),
         seconds_text(s->median, t[1]), seconds_text(s->p90, t[2]), known_bytes(s->wire_mean, t[3]), known_bytes((double)s->wire_max, t[4]),
         known_bytes(o->result.counted_mean, t[5]), known_bytes((double)o->result.counted_max, t[6]), rounds);
}

static void print_notes(comm *c) {
  const char *wire = comm_wire_name(c);
  printf("\ntimes: of the slowest rank, from a common start. wire, counted: bytes sent per rank, mean and max\n");
  printf("counted: the suite's own algorithms, without headers. rounds: messages that wait for one another\n");
  if (!strcmp(wire, "tcp")) printf("wire: what the ranks' TCP sockets took, MPI's headers in it, those of TCP and below not\n");
  else if (!strcmp(wire, "infiniband")) printf("wire: what the machines' InfiniBand ports sent\n");
  else if (!strcmp(wire, "shared memory")) printf("wire: nothing, the ranks are on one machine and share memory\n");
  else printf("wire: -, not measured: no TCP sockets, no InfiniBand counters of machines that are ours alone\n");
}

void comm_print_text(comm *c, const comm_request *q, const comm_outcome *outcomes, int count) {
  for (int i = 0; i < q->item_count; i++) {
    print_item(&q->items[i]);
    for (int k = 0; k < count; k++)
      if (outcomes[k].item == &q->items[i]) print_row(&outcomes[k]);
  }
  print_notes(c);
  if (q->out) printf("%s\n", q->out);
}

/* ---- for programs ---- */

/* An unknown value is an empty field. */
static void print_field(double value, int digits) {
  if (isnan(value) || value < 0) printf("\t");
  else printf("\t%.*g", digits, value);
}

void comm_print_tsv(const comm_outcome *outcomes, int count) {
  printf(
      "label\tmodel\tmethod\tpayload_bytes\tpayload_bytes_without_head\tranks\tnodes\talgorithm\trepetitions\tmin_s\tmedian_s\tp90_s\twire_bytes_mean\twire_"
      "bytes_"
      "max\trounds\tcounted_bytes_mean\tcounted_bytes_max\n");
  for (int k = 0; k < count; k++) {
    const comm_outcome *o = &outcomes[k];
    printf("%s\t%s\t%s\t%lld\t%lld\t%d\t%d\t%s\t%d", o->item->what.label, o->item->what.model, o->item->what.method, (long long)o->item->size.bytes,
           (long long)o->item->bytes_without_head, o->one.ranks, o->result.nodes, bench_algorithm_names[o->one.algorithm], o->result.samples);
    const double values[] = {o->summary.min,
                             o->summary.median,
                             o->summary.p90,
                             o->summary.wire_mean,
                             (double)o->summary.wire_max,
                             o->result.rounds,
                             o->result.counted_mean,
                             (double)o->result.counted_max};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) print_field(values[i], 15);
    printf("\n");
  }
}

static void add_known(cJSON *o, const char *name, double value) { add_json_number(o, name, value < 0 ? NAN : value); }

void comm_print_json(comm *c, const comm_request *q, const comm_outcome *outcomes, int count) {
  cJSON *root = cJSON_CreateObject();
  cJSON_AddStringToObject(root, "network", q->head.network);
  add_json_number(root, "rate_bits_per_s", q->head.rate_bits_per_s);
  cJSON_AddNumberToObject(root, "ranks", comm_size(c));
  cJSON_AddNumberToObject(root, "nodes", comm_nodes(c));
  cJSON_AddStringToObject(root, "wire", comm_wire_name(c));
  cJSON_AddStringToObject(root, "reduce", q->exact ? "exact" : "float");
  if (q->out) cJSON_AddStringToObject(root, "file", q->out);
  cJSON *list = cJSON_AddArrayToObject(root, "cases");
  for (int k = 0; k < count; k++) {
    const comm_outcome *o = &outcomes[k];
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "label", o->item->what.label);
    cJSON_AddStringToObject(row, "model", o->item->what.model);
    cJSON_AddStringToObject(row, "method", o->item->what.method);
    add_json_number(row, "payload_bytes", (double)o->item->size.bytes);
    add_json_number(row, "payload_bytes_without_head", (double)o->item->bytes_without_head);
    cJSON_AddNumberToObject(row, "ranks", o->one.ranks);
    cJSON_AddNumberToObject(row, "nodes", o->result.nodes);
    cJSON_AddStringToObject(row, "algorithm", bench_algorithm_names[o->one.algorithm]);
    cJSON_AddNumberToObject(row, "repetitions", o->result.samples);
    add_known(row, "min_s", o->summary.min);
    add_known(row, "median_s", o->summary.median);
    add_known(row, "p90_s", o->summary.p90);
    add_known(row, "wire_bytes_mean", o->summary.wire_mean);
    add_known(row, "wire_bytes_max", (double)o->summary.wire_max);
    add_known(row, "rounds", o->result.rounds);
    add_known(row, "counted_bytes_mean", o->result.counted_mean);
    add_known(row, "counted_bytes_max", (double)o->result.counted_max);
    cJSON_AddItemToArray(list, row);
  }
  print_json_object(root);
}
