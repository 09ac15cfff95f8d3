/* Options: what a configuration key may hold, declared once, beside the code that reads it.
 *
 * Configuration (src/config) checks values against these declarations and fills them in; PEFT methods declare their own (rank, alpha, ...), so that a
 * new method brings its keys along and no list elsewhere has to know them.
 *
 * Not collective, thread-safe (read only after configuration).
 */
#ifndef PEFTSCALE_OPTION_H
#define PEFTSCALE_OPTION_H

#include <stdint.h>

typedef enum option_type { OPTION_INT, OPTION_REAL, OPTION_BOOL, OPTION_CHOICE, OPTION_TEXT, OPTION_LIST } option_type; /* list: of words, "q,v" */

typedef struct option {
  const char *name;
  option_type type;
  const char *preset;         /* default, written as in YAML; "auto" allowed where may_be_auto                      */
  double low, high;           /* inclusive range of OPTION_INT and OPTION_REAL                                       */
  const char *const *choices; /* OPTION_CHOICE, OPTION_LIST: NULL-terminated valid words; NULL: any word             */
  int may_be_auto;            /* "auto" is accepted: the owner resolves it                                          */
  const char *help;           /* one line                                                                            */
} option;

typedef struct option_value {
  const option *declared;
  int is_auto;
  int64_t integer;  /* OPTION_INT, OPTION_BOOL, and the index of an OPTION_CHOICE */
  double number;    /* OPTION_REAL; also set for OPTION_INT                       */
  const char *text; /* OPTION_CHOICE, OPTION_TEXT, OPTION_LIST (comma-separated); never NULL for these */
} option_value;

typedef struct option_set {
  const option_value *values;
  int count;
} option_set;

/* The value of a declared option; NULL if the set has none of that name. */
const option_value *option_find(const option_set *set, const char *name);

/* Values of options that are known to be declared: asking for another name is a programming error (ERROR_INTERNAL is recorded, 0 or "" returned). */
int64_t option_int(const option_set *set, const char *name);
double option_real(const option_set *set, const char *name);
const char *option_text(const option_set *set, const char *name);
int option_is_auto(const option_set *set, const char *name);

/* Non-zero if the comma-separated list of option `name` holds `word`. */
int option_lists(const option_set *set, const char *name, const char *word);

/* Checks the text `written` against a declaration and converts it. `*value`'s text points to `written`, which must outlive it.
 * Errors: ERROR_USAGE with the reason ("is not a whole number", "must be from 1 to 4096", "must be one of ...; did you mean 'mean'?"). */
int option_parse(const option *declared, const char *written, option_value *value);

/* The one spelling of a value ("auto", "8", "1.0e-3", "q,v", also of v,q): two spellings are equal where the values are. Points to the value's text or
 * into `buffer`. */
const char *option_spell(const option_value *value, char buffer[32]);

#endif
