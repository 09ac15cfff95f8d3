#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

const option_value *option_find(const option_set *set, const char *name) {
  for (int i = 0; i < set->count; i++)
    if (!strcmp(set->values[i].declared->name, name)) return &set->values[i];
  return NULL;
}

static const option_value *option_expect(const option_set *set, const char *name) {
  static const option_value none = {.text = ""};
  const option_value *value = option_find(set, name);
  if (value) return value;
  FAIL(ERROR_INTERNAL, NULL, "option '%s' was never declared", name);
  return &none;
}

int64_t option_int(const option_set *set, const char *name) { return option_expect(set, name)->integer; }
double option_real(const option_set *set, const char *name) { return option_expect(set, name)->number; }
int option_is_auto(const option_set *set, const char *name) { return option_expect(set, name)->is_auto; }

const char *option_text(const option_set *set, const char *name) {
  const char *text = option_expect(set, name)->text;
  return text ? text : "";
}

static int list_holds(const char *list, const char *word) {
  size_t length = strlen(word);
  for (const char *place = list; *place;) {
    size_t item = strcspn(place, ",");
    if (item == length && !strncmp(place, word, length)) return 1;
    place += item + (place[item] == ',');
  }
  return 0;
}

int option_lists(const option_set *set, const char *name, const char *word) { return list_holds(option_text(set, name), word); }

static int refuse_word(const option *declared, const char *word) {
  char list[512] = "";
  int count = 0;
  for (; declared->choices[count]; count++) {
    size_t used = strlen(list);
    snprintf(list + used, sizeof list - used, "%s%s", count ? ", " : "", declared->choices[count]);
  }
  int near = text_nearest(word, declared->choices, count);
  char hint[160] = "";
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", declared->choices[near]);
  return FAIL(ERROR_USAGE, hint, "'%s' is not one of: %s", word, list);
}

static int choice_index(const option *declared, const char *word) {
  for (int i = 0; declared->choices[i]; i++)
    if (!strcmp(declared->choices[i], word)) return i;
  return -1;
}

static int parse_list(const option *declared, const char *written) {
  if (!*written) return FAIL(ERROR_USAGE, NULL, "the list is empty");
  for (const char *place = written; *place;) {
    char word[64];
    size_t item = strcspn(place, ",");
    if (item == 0 || item >= sizeof word) return FAIL(ERROR_USAGE, "write words separated by commas: q,v", "'%s' is not a list of words", written);
    memcpy(word, place, item);
    word[item] = 0;
    if (declared->choices && choice_index(declared, word) < 0) return refuse_word(declared, word);
    place += item;
    if (*place == ',' && !*++place) return FAIL(ERROR_USAGE, NULL, "'%s' ends with a comma", written);
  }
  return ERROR_NONE;
}

int option_parse(const option *declared, const char *written, option_value *value) {
  *value = (option_value){.declared = declared, .text = written};
  if (declared->may_be_auto && !strcmp(written, "auto")) {
    value->is_auto = 1;
    return ERROR_NONE;
  }
  switch (declared->type) {
    case OPTION_INT:
      if (text_to_int(written, &value->integer)) return FAIL(ERROR_USAGE, NULL, "'%s' is not a whole number", written);
      value->number = (double)value->integer;
      break;
    case OPTION_REAL:
      if (text_to_double(written, &value->number)) return FAIL(ERROR_USAGE, NULL, "'%s' is not a number", written);
      break;
    case OPTION_BOOL:
      if (!strcmp(written, "true") || !strcmp(written, "on") || !strcmp(written, "yes")) value->integer = 1;
      else if (strcmp(written, "false") && strcmp(written, "off") && strcmp(written, "no"))
        return FAIL(ERROR_USAGE, NULL, "'%s' is neither true nor false", written);
      break;
    case OPTION_CHOICE: {
      int index = choice_index(declared, written);
      if (index < 0) return refuse_word(declared, written);
      value->integer = index;
      break;
    }
    case OPTION_LIST: return parse_list(declared, written);
    case OPTION_TEXT: break;
  }
  if ((declared->type == OPTION_INT || declared->type == OPTION_REAL) && (value->number < declared->low || value->number > declared->high))
    return FAIL(ERROR_USAGE, NULL, "%s is out of range: it must be from %.10g to %.10g", written, declared->low, declared->high);
  return ERROR_NONE;
}

/* Whatever is written with an exponent gets a point too: YAML 1.1 readers take 1e-05 for a word, 1.0e-05 for a number. */
static const char *spell_real(double number, char buffer[32]) {
  if (number == 0) number = 0; /* no minus sign */
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(buffer, 32, "%.*g", digits, number);
    if (strtod(buffer, NULL) == number) break;
  }
  char *exponent = strchr(buffer, 'e');
  if (exponent && !strchr(buffer, '.')) {
    memmove(exponent + 2, exponent, strlen(exponent) + 1);
    memcpy(exponent, ".0", 2);
  }
  return buffer;
}

/* Words of a fixed choice say the same in any order, and twice: once each, in the order of the choice. */
static const char *spell_list(const option_value *value, char buffer[32]) {
  size_t used = 0;
  for (int i = 0; value->declared->choices && value->declared->choices[i]; i++) {
    const char *word = value->declared->choices[i];
    if (!list_holds(value->text, word)) continue;
    if (used + strlen(word) + 2 > 32) return value->text;
    used += (size_t)snprintf(buffer + used, 32 - used, "%s%s", used ? "," : "", word);
  }
  return used ? buffer : value->text;
}

const char *option_spell(const option_value *value, char buffer[32]) {
  if (value->is_auto) return "auto";
  switch (value->declared->type) {
    case OPTION_INT: snprintf(buffer, 32, "%lld", (long long)value->integer); return buffer;
    case OPTION_REAL: return spell_real(value->number, buffer);
    case OPTION_BOOL: return value->integer ? "true" : "false";
    case OPTION_LIST: return spell_list(value, buffer);
    case OPTION_CHOICE:
    case OPTION_TEXT: break;
  }
  return value->text;
}
