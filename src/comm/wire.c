#include "comm/wire.h"

#include <dirent.h>
#include <linux/tcp.h> /* the C library's tcp_info ends before bytes_sent */
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

extern char **environ;

enum { PORTS_MAX = 16 };

typedef struct stream {
  int descriptor; /* -1: closed */
  ino_t inode;
  int counts;    /* a data connection; else it is only remembered so as not to be looked at again */
  int64_t bytes; /* when last read */
} stream;

struct wire {
  stream *streams;
  int count, capacity, live; /* live: those that count */
  int ports[PORTS_MAX];      /* of the launcher's daemon */
  int port_count;
};

/* "12.0;tcp4://127.0.0.1:44003": where the processes of a job find the daemon that started them. */
static void read_daemon_ports(wire *w) {
  for (char **e = environ; *e; e++) {
    if (strncmp(*e, "PMIX_SERVER_URI", 15)) continue;
    const char *colon = strrchr(*e, ':');
    int port = colon ? atoi(colon + 1) : 0, known = port <= 0;
    for (int i = 0; i < w->port_count; i++) known |= w->ports[i] == port;
    if (!known && w->port_count < PORTS_MAX) w->ports[w->port_count++] = port;
  }
}

/* The peer's port of an open TCP connection, or -1. */
static int peer_port(int descriptor) {
  int type;
  socklen_t length = sizeof type;
  struct sockaddr_storage peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) || type != SOCK_STREAM) return -1;
  length = sizeof peer;
  if (getpeername(descriptor, (struct sockaddr *)&peer, &length)) return -1;
  if (peer.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&peer)->sin_port);
  if (peer.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&peer)->sin6_port);
  return -1;
}

/* What the kernel took from this end, or -1: a closed one, or a kernel (before 4.19) that does not count. */
static int64_t taken(int descriptor) {
  struct tcp_info info;
  socklen_t length = sizeof info;
  memset(&info, 0, sizeof info);
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length)) return -1;
  if (length < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof info.tcpi_bytes_retrans) return -1;
  return (int64_t)info.tcpi_bytes_sent - (int64_t)info.tcpi_bytes_retrans + (int64_t)info.tcpi_notsent_bytes;
}

static stream *find(wire *w, ino_t inode) {
  for (int i = 0; i < w->count; i++)
    if (w->streams[i].inode == inode && w->streams[i].descriptor >= 0) return &w->streams[i];
  return NULL;
}

/* Without memory for one more the socket is passed over, and tried again by the next scan. */
static void remember(wire *w, int descriptor, ino_t inode, int before_mpi) {
  int port = peer_port(descriptor), is_daemon = 0;
  if (port < 0 && !before_mpi) return; /* not connected yet, or no TCP at all */
  for (int i = 0; i < w->port_count; i++) is_daemon |= w->ports[i] == port;
  if (w->count == w->capacity) {
    int larger = w->capacity ? 2 * w->capacity : 64;
    stream *moved = realloc(w->streams, (size_t)larger * sizeof *moved);
    if (!moved) return;
    w->streams = moved;
    w->capacity = larger;
  }
  int counts = !before_mpi && !is_daemon && taken(descriptor) >= 0;
  w->streams[w->count++] = (stream){.descriptor = descriptor, .inode = inode, .counts = counts};
  w->live += counts;
}

static void scan(wire *w, int before_mpi) {
  DIR *directory = opendir("/proc/self/fd");
  if (!directory) return;
  for (struct dirent *entry; (entry = readdir(directory));) {
    int descriptor = atoi(entry->d_name);
    struct stat status;
    if (entry->d_name[0] == '.' || descriptor == dirfd(directory) || fstat(descriptor, &status) || !S_ISSOCK(status.st_mode)) continue;
    stream *known = find(w, status.st_ino);
    if (!known) remember(w, descriptor, status.st_ino, before_mpi);
  }
  closedir(directory);
}

int wire_create(wire **result) {
  wire *w = calloc(1, sizeof *w);
  *result = w;
  if (!w) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  read_daemon_ports(w);
  scan(w, 1);
  return ERROR_NONE;
}

void wire_destroy(wire *w) {
  if (!w) return;
  free(w->streams);
  free(w);
}

/* A descriptor may have been closed and given to another socket since. */
static void drop_closed(wire *w) {
  for (int i = 0; i < w->count; i++) {
    stream *s = &w->streams[i];
    struct stat status;
    if (s->descriptor >= 0 && (fstat(s->descriptor, &status) || !S_ISSOCK(status.st_mode) || status.st_ino != s->inode)) s->descriptor = -1;
  }
}

int wire_scan(wire *w) {
  drop_closed(w);
  scan(w, 0);
  return w->live;
}

int64_t wire_tcp_bytes(wire *w) {
  int64_t sum = 0;
  for (int i = 0; i < w->count; i++) {
    stream *s = &w->streams[i];
    if (!s->counts) continue;
    int64_t now = s->descriptor >= 0 ? taken(s->descriptor) : -1;
    if (now > s->bytes) s->bytes = now; /* never less: a descriptor that was given to another socket is noticed by the next scan */
    sum += s->bytes;
  }
  return sum;
}

/* ---- InfiniBand ---- */

/* A whole number in a file of one line, or -1. */
static int64_t read_number(const char *path) {
  char text[64];
  int64_t value;
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  char *line = fgets(text, sizeof text, file);
  fclose(file);
  if (!line) return -1;
  text[strcspn(text, "\n")] = 0;
  return text_to_int(text, &value) || value < 0 ? -1 : value;
}

/* Adds what the ports of one adapter sent; port_xmit_data counts words of 4 bytes. */
static int add_ports(const char *adapter, int64_t *sum) {
  enum { WORD = 4 };
  char path[1024];
  int found = 0;
  DIR *ports = opendir(adapter);
  if (!ports) return 0;
  for (struct dirent *entry; (entry = readdir(ports));) {
    if (entry->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s/counters/port_xmit_data", adapter, entry->d_name) >= (int)sizeof path) continue;
    int64_t words = read_number(path);
    if (words < 0) continue;
    *sum += WORD * words;
    found++;
  }
  closedir(ports);
  return found;
}

int64_t wire_infiniband_bytes(const char *root) {
  char path[512];
  int64_t sum = 0;
  int found = 0;
  if (!root) root = "/sys/class/infiniband";
  DIR *adapters = opendir(root);
  if (!adapters) return -1;
  for (struct dirent *entry; (entry = readdir(adapters));) {
    if (entry->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s/ports", root, entry->d_name) >= (int)sizeof path) continue;
    found += add_ports(path, &sum);
  }
  closedir(adapters);
  return found ? sum : -1;
}

int wire_machine_is_ours(void) {
  const char *said = getenv("PEFTSCALE_EXCLUSIVE_NODE"), *given = getenv("SLURM_JOB_CPUS_PER_NODE");
  if (said && *said) return !strcmp(said, "1");
  return given && atol(given) >= sysconf(_SC_NPROCESSORS_ONLN); /* "64(x4),32": the first node stands for all; the others agree or not (comm.c) */
}
