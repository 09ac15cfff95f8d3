#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/profile_print.h"
#include "train/export.h"
#include "train/run.h"
#include "train/stop.h"

static void describe_head(const run *r) {
  char dense[32], factors[32], dense_wire[32], factors_wire[32];
  const head_account *a = &r->head;
  const char *way = r->apart ? "as factors" : "in the sum";
  if (!model_head_row(r->model)) {
    log_detail("the head's gradient travels %s: %s per step and rank", way, text_bytes((double)a->dense_bytes, dense));
    return;
  }
  log_detail("the head's gradient travels %s: %s in the sum, or %s of rows, per step and rank; sent for it, by estimate: %s, or %s", way,
             text_bytes((double)a->dense_bytes, dense), text_bytes((double)a->factor_bytes, factors), text_bytes((double)a->dense_wire_bytes, dense_wire),
             text_bytes((double)a->factor_wire_bytes, factors_wire));
}

static void describe(const run *r) {
  char trained[32], store[32], message[32];
  const config *c = r->config;
  log_info("%s on %s: %s, seed %lld, experiment %.8s", c->method.name, *c->task.name ? c->task.name : r->data->name, *c->model.name ? c->model.name : "model",
           (long long)c->seed, r->experiment_id);
  log_info("trains %s numbers over %s frozen bytes; %d ranks x %d threads, %d shards, %s per step and rank", text_thousands(r->theta_count, trained),
           text_bytes((double)model_store_count(r->model) * 4, store), comm_size(r->comm), r->threads, r->shards,
           text_bytes((double)r->message_bytes, message));
  log_detail("ready %.2f s after the start; %s of activations and scratch per thread, %d copies of the frozen numbers on this node", r->start_s,
             text_bytes((double)model_workspace_bytes(r->workspaces[0]), store), r->store_copies);
  log_detail("%lld steps of %lld examples, %lld an epoch; data %s (%.8s), weights %.8s; run file %s", (long long)r->steps, (long long)c->train.batch,
             (long long)r->plan.steps_per_epoch, r->data->path, r->data->hash, r->weights_hash, r->path);
  describe_head(r);
}

static int finish(run *r, int json) {
  TRY(run_train(r));
  if (r->profile) TRY(run_profile_end(r));
  if (comm_rank(r->comm) == 0 && *r->config->output.export_dir) TRY(export_backbone(r->model, r->chosen, r->experiment_id, r->config->output.export_dir));
  if (comm_rank(r->comm) != 0) return ERROR_NONE;
  if (json) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "run", r->path);
    cJSON_AddStringToObject(o, "experiment_id", r->experiment_id);
    cJSON_AddStringToObject(o, "run_id", r->run_id);
    if (r->profile) cJSON_AddItemToObject(o, "profile", profile_json(r));
    print_json_object(o);
  } else {
    if (r->profile) profile_print(r);
    printf("%s\n", r->path);
  }
  return ERROR_NONE;
}

static int act(comm *c, int argc, char **argv) {
  int json = 0, quiet = 0, verbose = 0, profile = 0;
  const flag flags[] = {{"json", NULL, &json}, {"quiet", NULL, &quiet}, {"verbose", NULL, &verbose}, {"profile", NULL, &profile}};
  arguments a;
  config *conf = NULL;
  run *r;
  int code = arguments_parse("train", argc, argv, flags, 4, &a);
  log_setup(comm_rank(c) == 0, quiet ? LOG_QUIET : verbose ? LOG_VERBOSE : LOG_NORMAL);
  if (!code) code = compose_arguments(&a, &conf);
  code = comm_agree(c, code);
  if (code) {
    config_destroy(conf);
    return code;
  }
  code = comm_agree(c, stop_listen()); /* also to what is said while the run is assembled: it leaves off after its first step */
  machine_forget_peak();
  if (code) config_destroy(conf);
  else code = run_create(c, conf, 1, &r);
  if (!code) {
    if (comm_rank(c) == 0) describe(r);
    code = comm_agree(c, profile ? run_profile_begin(r) : ERROR_NONE);
    if (!code) code = comm_agree(c, finish(r, json));
    run_destroy(r);
  }
  stop_end();
  return code;
}

const verb verb_train = {"train", "train a method on a task and write a run file",
                         "usage: mpirun -np N peftscale train [CONFIG.yaml ...] [section.key=value ...] [--json] [--quiet | --verbose]\n"
                         "                                     [--profile]\n"
                         "\n"
                         "Composes base < model < task < method < preset < CONFIG files < key=value, trains, and writes output.dir/NAME.h5,\n"
                         "whose path is the last line on standard output. `peftscale config` shows what would be used, and why.\n"
                         "\n"
                         "SIGUSR1, SIGTERM or SIGINT stop it at a checkpoint (exit status 75), and output.checkpoint_s writes one by time: the same\n"
                         "command then goes on from NAME.h5.checkpoint, which is removed when the run is complete.\n"
                         "\n"
                         "  --json     print the result as a JSON object\n"
                         "  --quiet    no progress lines          --verbose  more of them\n"
                         "  --profile  in the end, where rank 0's step time went: part by part, with GFLOP/s and share of the cores' peak\n"
                         "\n"
                         "example:\n"
                         "  mpirun -np 2 peftscale train model=minilm-l6 task=trec6 method=lora method.rank=8 train.epochs=2 seed=1\n",
                         1, act};
