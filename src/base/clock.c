#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double read_clock(clockid_t id) {
  struct timespec now;
  clock_gettime(id, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double clock_wall_s(void) { return read_clock(CLOCK_MONOTONIC); }
double clock_thread_cpu_s(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }
double clock_process_cpu_s(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

double clock_since_start_s(void) {
  /* Field 22 of /proc/self/stat is the start time in ticks since boot; the command in field 2 may hold blanks, so count from its ')'. */
  char text[1024];
  FILE *file = fopen("/proc/self/stat", "r");
  if (!file) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char *place = strrchr(text, ')');
  unsigned long long ticks = 0;
  if (!place || sscanf(place + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1) return 0;
  return read_clock(CLOCK_BOOTTIME) - (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void clock_utc(char *text, size_t bytes) {
  time_t now = time(NULL);
  struct tm parts;
  gmtime_r(&now, &parts);
  strftime(text, bytes, "%Y-%m-%dT%H:%M:%SZ", &parts);
}
