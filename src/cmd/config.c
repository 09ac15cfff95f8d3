#include <stdio.h>

#include "base/error.h"
#include "cmd/cmd.h"

static int act(comm *none, int argc, char **argv) {
  int json = 0, keys = 0;
  const flag flags[] = {{"json", NULL, &json}, {"keys", NULL, &keys}};
  arguments a;
  config *c;
  (void)none;
  TRY(arguments_parse("config", argc, argv, flags, 2, &a));
  if (keys && json) return FAIL(ERROR_USAGE, "see: peftscale config --help", "--keys has no JSON form");
  if (keys) {
    config_print_schema(stdout);
    return ERROR_NONE;
  }
  TRY(compose_arguments(&a, &c));
  int code = config_print(c, stdout, json);
  config_destroy(c);
  return code;
}

const verb verb_config = {"config", "show every configuration value and where it came from",
                          "usage: peftscale config [CONFIG.yaml ...] [section.key=value ...] [--json | --keys]\n"
                          "\n"
                          "Composes the configuration as `train` would and prints each key, its value and its origin (file and line, command line,\n"
                          "or default).\n"
                          "\n"
                          "  --keys     print all keys with type, range, default and meaning instead\n"
                          "\n"
                          "example:\n"
                          "  peftscale config model=minilm-l6 task=cola method=lora train.lr=5e-4\n",
                          0, act};
