#include "sweep/command.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"

static int add(command *c, const char **list, int *count, const char *format, va_list values) {
  int length = vsnprintf(c->space + c->used, sizeof c->space - c->used, format, values);
  if (*count == COMMAND_WORDS || length < 0 || c->used + (size_t)length + 1 > sizeof c->space)
    return FAIL(ERROR_USAGE, "put settings into the study file", "a command of too many words, or too long ones");
  list[(*count)++] = c->space + c->used;
  c->used += (size_t)length + 1;
  return ERROR_NONE;
}

int command_word(command *c, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int code = add(c, c->word, &c->words, format, values);
  va_end(values);
  return code;
}

int command_variable(command *c, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int code = add(c, c->variable, &c->variables, format, values);
  va_end(values);
  return code;
}

int command_fallback(command *c, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int code = add(c, c->fallback, &c->fallbacks, format, values);
  va_end(values);
  return code;
}

int command_line(command *c, const char *line) {
  for (size_t length; *(line += strspn(line, " \t\n")); line += length) {
    length = strcspn(line, " \t\n");
    TRY(command_word(c, "%.*s", (int)length, line));
  }
  return ERROR_NONE;
}

static void print_word(FILE *out, const char *text) {
  int plain = *text != 0;
  for (const char *at = text; *at; at++) plain = plain && (isalnum((unsigned char)*at) || strchr("-_./=:,%@+", *at));
  if (plain) {
    fputs(text, out);
    return;
  }
  fputc('\'', out);
  for (const char *at = text; *at; at++) fputs(*at == '\'' ? "'\\''" : (char[]){*at, 0}, out);
  fputc('\'', out);
}

void command_print(const command *c, FILE *out) {
  for (int i = 0; i < c->variables; i++) {
    const char *equals = strchr(c->variable[i], '=');
    fprintf(out, "%.*s=", (int)(equals - c->variable[i]), c->variable[i]);
    print_word(out, equals + 1);
    fputs(" \\\n  ", out);
  }
  for (int i = 0; i < c->words; i++) {
    if (i) fputc(' ', out);
    print_word(out, c->word[i]);
  }
  fputc('\n', out);
}
