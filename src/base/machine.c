#define _GNU_SOURCE /* sched_getaffinity, getloadavg, syscall */
#include "base/machine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int machine_name_cores(char *text, size_t bytes) {
  size_t used = 0;
  cpu_set_t set;
  memset(text, 0, bytes); /* all of it: it goes into files as it is */
  if (sched_getaffinity(0, sizeof set, &set)) {
    snprintf(text, bytes, "unknown");
    return 0;
  }
  for (int i = 0; i < CPU_SETSIZE && used + 24 < bytes; i++) {
    if (!CPU_ISSET(i, &set)) continue;
    int last = i;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) last++;
    int length =
        last > i ? snprintf(text + used, bytes - used, "%s%d-%d", used ? "," : "", i, last) : snprintf(text + used, bytes - used, "%s%d", used ? "," : "", i);
    used += (size_t)length;
    i = last;
  }
  return CPU_COUNT(&set);
}

/* Linux's high-water mark, in units of 1024 bytes. */
int64_t machine_peak_bytes(void) {
  char line[256];
  long long units, bytes = -1;
  FILE *file = fopen("/proc/self/status", "r");
  if (!file) return -1;
  while (bytes < 0 && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %lld kB", &units) == 1 && units >= 0) bytes = 1024 * units;
  fclose(file);
  return bytes;
}

/* 5 there means: the mark alone. */
void machine_forget_peak(void) {
  int descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  if (write(descriptor, "5", 1) != 1) errno = 0; /* the older mark stays */
  close(descriptor);
}

/* Second number of /proc/self/task/THREAD/schedstat: nanoseconds on the run queue. */
double machine_delay_s(void) {
  double sum = 0;
  int found = 0;
  DIR *threads = opendir("/proc/self/task");
  if (!threads) return NAN;
  for (struct dirent *entry; (entry = readdir(threads));) {
    char path[300];
    unsigned long long ran, delayed;
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", entry->d_name);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    if (fscanf(file, "%llu %llu", &ran, &delayed) == 2) {
      sum += 1e-9 * (double)delayed;
      found = 1;
    }
    fclose(file);
  }
  closedir(threads);
  return found ? sum : NAN;
}

/* Third word of /proc/self/task/THREAD/stat, behind a name in brackets that may hold anything: R runs or is ready to, D waits for a disk. */
static int is_busy(const char *thread) {
  char path[300], text[512];
  snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  const char *state = strrchr(text, ')');
  return state && state[1] && (state[2] == 'R' || state[2] == 'D');
}

int machine_threads_rest(void) {
  int busy = 0;
  char own[24];
  DIR *threads = opendir("/proc/self/task");
  if (!threads) return 1;
  snprintf(own, sizeof own, "%ld", syscall(SYS_gettid));
  for (struct dirent *entry; (entry = readdir(threads));)
    if (entry->d_name[0] != '.' && strcmp(entry->d_name, own)) busy |= is_busy(entry->d_name);
  closedir(threads);
  return !busy;
}

int64_t machine_involuntary_switches(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) ? 0 : usage.ru_nivcsw;
}

double machine_load(void) {
  double load[1];
  return getloadavg(load, 1) == 1 ? load[0] : NAN;
}
