#include "base/energy.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

enum { COUNTERS_MAX = 64, INTERVAL_S = 10, PATH_BYTES = 512 };
static const double most_watts = 1000; /* of one counter: no processor takes as much */

typedef struct counter {
  char path[PATH_BYTES];
  double joules_per_unit;
  int64_t range; /* it starts again from 0 after so many units; 0: never */
  int64_t last;
} counter;

struct energy {
  counter counters[COUNTERS_MAX];
  int count;
  char source[PATH_BYTES];
  double joules, read_s; /* so far; when last read (clock_wall_s) */
  pthread_mutex_t lock;
  pthread_cond_t ends;
  pthread_t watcher;
  int is_watched, is_ending;
};

/* ---- files ---- */

/* The first word of a file of one line. 0: it cannot be read. */
static int read_word(const char *path, char *word, size_t bytes) {
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  char *line = fgets(word, (int)bytes, file);
  fclose(file);
  if (!line) return 0;
  word[strcspn(word, " \t\n")] = 0;
  return *word != 0;
}

/* A count at the start of a file, such as "12345" or Cray's "12345 J 1700000000 us"; -1: there is none. */
static int64_t read_count(const char *path) {
  char word[64];
  int64_t value;
  return read_word(path, word, sizeof word) && !text_to_int(word, &value) && value >= 0 ? value : -1;
}

/* ---- finding counters ---- */

/* 0: this counter cannot be read. */
static int add_counter(energy *e, const char *path, double joules_per_unit, int64_t range) {
  int64_t now = read_count(path);
  if (e->count == COUNTERS_MAX || now < 0 || (range && now > range)) return 0;
  counter *c = &e->counters[e->count++];
  *c = (counter){.joules_per_unit = joules_per_unit, .range = range, .last = now};
  return snprintf(c->path, sizeof c->path, "%s", path) < (int)sizeof c->path;
}

static int find_cray(energy *e, const char *folder) {
  char path[PATH_BYTES];
  if (snprintf(path, sizeof path, "%s/energy", folder) >= (int)sizeof path || !add_counter(e, path, 1, 0)) return 0;
  snprintf(e->source, sizeof e->source, "cray: node");
  return 1;
}

/* "intel-rapl:0" is a package, "intel-rapl:0:1" a part of it; "intel-rapl-mmio:0" is the same package once more. */
static int is_zone(const char *name) { return !strncmp(name, "intel-rapl:", 11) && name[11] && strspn(name + 11, "0123456789:") == strlen(name + 11); }

typedef enum zone_kind { ZONE_OTHER, ZONE_PACKAGE, ZONE_MEMORY, ZONE_KINDS } zone_kind;

/* Adds a zone that counts. 0: it would, and cannot be read. */
static int add_zone(energy *e, const char *zone, int kinds[ZONE_KINDS]) {
  char path[PATH_BYTES], name[64];
  if (snprintf(path, sizeof path, "%s/name", zone) >= (int)sizeof path || !read_word(path, name, sizeof name)) return 0;
  zone_kind kind = !strncmp(name, "package", 7) ? ZONE_PACKAGE : !strcmp(name, "dram") ? ZONE_MEMORY : ZONE_OTHER;
  kinds[kind]++;
  if (kind == ZONE_OTHER) return 1;
  if (snprintf(path, sizeof path, "%s/max_energy_range_uj", zone) >= (int)sizeof path) return 0;
  int64_t range = read_count(path);
  if (range <= 0 || snprintf(path, sizeof path, "%s/energy_uj", zone) >= (int)sizeof path) return 0;
  return add_counter(e, path, 1e-6, range);
}

static const char *plural(int count) { return count == 1 ? "" : "s"; }

/* All that count, or none: a part of the machine would pass for the whole. */
static int find_rapl(energy *e, const char *folder) {
  char zone[PATH_BYTES];
  int kinds[ZONE_KINDS] = {0}, readable = 1;
  DIR *zones = opendir(folder);
  if (!zones) return 0;
  for (struct dirent *entry; (entry = readdir(zones));)
    if (is_zone(entry->d_name)) readable &= snprintf(zone, sizeof zone, "%s/%s", folder, entry->d_name) < (int)sizeof zone && add_zone(e, zone, kinds);
  closedir(zones);
  if (!readable || !kinds[ZONE_PACKAGE]) {
    e->count = 0;
    return 0;
  }
  int packages = kinds[ZONE_PACKAGE], memories = kinds[ZONE_MEMORY],
      used = snprintf(e->source, sizeof e->source, "rapl: %d package%s", packages, plural(packages));
  if (memories) snprintf(e->source + used, sizeof e->source - (size_t)used, ", %d memor%s", memories, memories == 1 ? "y" : "ies");
  return 1;
}

energy_places energy_places_default(void) {
  const char *given = getenv("PEFTSCALE_POWERCAP");
  return given && *given ? (energy_places){.powercap = given, .named = 1} : (energy_places){"/sys/class/powercap", "/sys/cray/pm_counters", 0};
}

/* ---- counting ---- */

/* Joules since the last look; NaN: not known. */
static double advance(counter *c, double passed_s) {
  int64_t now = read_count(c->path);
  if (now < 0 || (c->range && (now > c->range || passed_s * most_watts > (double)c->range * c->joules_per_unit)) || (!c->range && now < c->last)) return NAN;
  int64_t units = now >= c->last ? now - c->last : now + (c->range - c->last);
  c->last = now;
  return (double)units * c->joules_per_unit;
}

static double look(energy *e) {
  double now_s = clock_wall_s(), passed_s = now_s - e->read_s;
  for (int i = 0; i < e->count; i++) e->joules += advance(&e->counters[i], passed_s); /* what is not known stays so */
  e->read_s = now_s;
  return e->joules;
}

/* Reads so often that no counter goes round unseen, until it is to end. */
static void *watch(void *given) {
  energy *e = given;
  pthread_mutex_lock(&e->lock);
  while (!e->is_ending) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += INTERVAL_S;
    while (!e->is_ending && pthread_cond_timedwait(&e->ends, &e->lock, &until) != ETIMEDOUT) {
    }
    look(e);
  }
  pthread_mutex_unlock(&e->lock);
  return NULL;
}

/* Signals are for the threads that were there before. */
static int start_watching(energy *e) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  e->is_watched = !pthread_create(&e->watcher, NULL, watch, e);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return e->is_watched;
}

static int find(energy *e, const energy_places *where) {
  if (where->cray && find_cray(e, where->cray)) return 1;
  if (!where->powercap || !find_rapl(e, where->powercap)) return 0;
  size_t used = strlen(e->source);
  if (where->named) snprintf(e->source + used, sizeof e->source - used, ", below %s", where->powercap);
  return 1;
}

energy *energy_open(const energy_places *where) {
  pthread_condattr_t attributes;
  energy *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  pthread_mutex_init(&e->lock, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&e->ends, &attributes);
  pthread_condattr_destroy(&attributes);
  int found = find(e, where);
  e->read_s = clock_wall_s();
  if (found && start_watching(e)) return e;
  energy_close(e);
  return NULL;
}

void energy_close(energy *e) {
  if (!e) return;
  if (e->is_watched) {
    pthread_mutex_lock(&e->lock);
    e->is_ending = 1;
    pthread_cond_signal(&e->ends);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->watcher, NULL);
  }
  pthread_cond_destroy(&e->ends);
  pthread_mutex_destroy(&e->lock);
  free(e);
}

double energy_read(energy *e) {
  if (!e) return NAN;
  pthread_mutex_lock(&e->lock);
  double joules = look(e);
  pthread_mutex_unlock(&e->lock);
  return joules;
}

const char *energy_source(const energy *e) { return e ? e->source : "none"; }
