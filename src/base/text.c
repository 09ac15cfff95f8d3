#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int text_format(char *buffer, size_t bytes, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int used = vsnprintf(buffer, bytes, format, list);
  va_end(list);
  if (used < 0 || (size_t)used >= bytes) return FAIL(ERROR_INPUT, "use a shorter path or name", "'%.60s...' is longer than %zu characters", buffer, bytes - 1);
  return ERROR_NONE;
}

int text_to_int(const char *text, int64_t *value) {
  char *end;
  errno = 0;
  long long parsed = strtoll(text, &end, 10);
  if (end == text || *end) return FAIL(ERROR_INPUT, NULL, "'%s' is not a whole number", text);
  if (errno) return FAIL(ERROR_INPUT, NULL, "'%s' is out of range", text);
  *value = parsed;
  return ERROR_NONE;
}

int text_to_double(const char *text, double *value) {
  char *end;
  errno = 0;
  double parsed = strtod(text, &end);
  if (end == text || *end || isnan(parsed)) return FAIL(ERROR_INPUT, NULL, "'%s' is not a number", text);
  if (errno == ERANGE && fabs(parsed) > 1) return FAIL(ERROR_INPUT, NULL, "'%s' is out of range", text);
  *value = parsed;
  return ERROR_NONE;
}

enum { LONGEST_NAME = 64 };

int text_distance(const char *a, const char *b) {
  int n = (int)strlen(a), m = (int)strlen(b);
  if (n > LONGEST_NAME || m > LONGEST_NAME) return n > m ? n : m;
  int d[LONGEST_NAME + 1][LONGEST_NAME + 1];
  for (int i = 0; i <= n; i++) d[i][0] = i;
  for (int j = 0; j <= m; j++) d[0][j] = j;
  for (int i = 1; i <= n; i++)
    for (int j = 1; j <= m; j++) {
      int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
      if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
      if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
      d[i][j] = best;
    }
  return d[n][m];
}

int text_nearest(const char *word, const char *const *names, int count) {
  int best = -1, best_distance = (int)strlen(word) / 2 + 1; /* farther than half the word is another word */
  for (int i = 0; i < count; i++) {
    int distance = text_distance(word, names[i]);
    if (distance < best_distance || (distance == best_distance && best < 0 && distance <= 1)) {
      best = i;
      best_distance = distance;
    }
  }
  return best;
}

int text_utf8_length(const unsigned char *text) {
  int length = *text < 0x80 ? 1 : *text >= 0xc2 && *text < 0xe0 ? 2 : *text >= 0xe0 && *text < 0xf0 ? 3 : *text >= 0xf0 && *text < 0xf5 ? 4 : 0;
  for (int i = 1; i < length; i++)
    if ((text[i] & 0xc0) != 0x80) return 0;
  if ((*text == 0xe0 && text[1] < 0xa0) || (*text == 0xed && text[1] > 0x9f)) return 0; /* overlong, surrogate */
  if ((*text == 0xf0 && text[1] < 0x90) || (*text == 0xf4 && text[1] > 0x8f)) return 0; /* overlong, above U+10FFFF */
  return length;
}

void text_clean(char *text) {
  for (unsigned char *place = (unsigned char *)text; *place;) {
    int length = *place < 0x20 || *place == 0x7f ? 0 : text_utf8_length(place);
    if (!length) *place = '?';
    place += length ? length : 1;
  }
}

const char *text_thousands(int64_t value, char buffer[32]) {
  char digits[24];
  unsigned long long size = value < 0 ? 0ull - (unsigned long long)value : (unsigned long long)value; /* INT64_MIN has no positive twin */
  int length = snprintf(digits, sizeof digits, "%llu", size), used = 0;
  if (value < 0) buffer[used++] = '-';
  for (int i = 0; i < length; i++) {
    if (i && (length - i) % 3 == 0) buffer[used++] = ',';
    buffer[used++] = digits[i];
  }
  buffer[used] = 0;
  return buffer;
}

const char *text_bytes(double bytes, char buffer[32]) {
  static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
  int i = 0;
  while (i < 4 && fabs(bytes) >= 999.5) {
    bytes /= 1000;
    i++;
  }
  snprintf(buffer, 32, i && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
  return buffer;
}
