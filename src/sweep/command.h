/* A command in the making: the words of a program, and variables for its environment. Not collective. */
#ifndef PEFTSCALE_COMMAND_H
#define PEFTSCALE_COMMAND_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

enum { COMMAND_WORDS = 512, COMMAND_SPACE = 1 << 16 };

/* Starts as all zeros. What the three lists point to lies in `space`, which does not grow: a command is never moved. */
typedef struct command {
  const char *word[COMMAND_WORDS + 1]; /* ends with NULL */
  const char *variable[COMMAND_WORDS]; /* NAME=VALUE, whatever the environment says */
  const char *fallback[COMMAND_WORDS]; /* NAME=VALUE where the environment has no such name */
  int words, variables, fallbacks;
  char space[COMMAND_SPACE];
  size_t used;
} command;

/* Each adds one. Errors: ERROR_USAGE where there is no more room. */
int command_word(command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
int command_variable(command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
int command_fallback(command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The words of a line that spaces separate; quotes mean nothing. */
int command_line(command *c, const char *line);

/* As a shell would read it again: variables first, a line each. */
void command_print(const command *c, FILE *out);

#endif
