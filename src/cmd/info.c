#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cmd/cmd.h"
#include "linalg/linalg.h"
#include "store/provenance.h"

static int act(comm *none, int argc, char **argv) {
  int json = 0;
  const flag flags[] = {{"json", NULL, &json}};
  arguments a;
  provenance p = {0};
  (void)none;
  TRY(arguments_parse("info", argc, argv, flags, 1, &a));
  if (a.word_count + a.assignment_count) return FAIL(ERROR_USAGE, "see: peftscale info --help", "info takes no words");
  TRY(linalg_setup());
  provenance_collect(&p);
  provenance_add(&p, "mpi", "%s", comm_library());
  provenance_add(&p, "blas", "%s", linalg_library());
  provenance_add(&p, "blas_core", "%s", linalg_core());
  provenance_add(&p, "onednn", "%s", linalg_onednn());
  if (!json) {
    for (int i = 0; i < p.count; i++) printf("%-22s %s\n", p.items[i].name, p.items[i].value);
    return ERROR_NONE;
  }
  cJSON *o = cJSON_CreateObject();
  for (int i = 0; i < p.count; i++) cJSON_AddStringToObject(o, p.items[i].name, p.items[i].value);
  print_json_object(o);
  return ERROR_NONE;
}

const verb verb_info = {"info", "say what this program was built with and runs on",
                        "usage: peftscale info [--json]\n"
                        "\n"
                        "Version, commit, compiler, libraries, processor. The same facts are in every run file, below /provenance.\n"
                        "\n"
                        "example:\n"
                        "  peftscale info --json\n",
                        0, act};
