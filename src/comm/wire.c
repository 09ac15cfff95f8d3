#include "comm/wire.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/tcp.h> /* the C library's tcp_info ends before bytes_sent */
#include <netdb.h>
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

enum { ENDS_MAX = 16 };

/* One end of a TCP connection. */
typedef struct end {
  char address[INET6_ADDRSTRLEN]; /* as inet_ntop writes it */
  int port;
} end;

typedef struct stream {
  int descriptor; /* -1: closed */
  ino_t inode;
  int counts;    /* a data connection; else it is only remembered so as not to be looked at again */
  int64_t bytes; /* when last read */
} stream;

struct wire {
  stream *streams;
  int count, capacity, live; /* live: those that count */
  end daemon[ENDS_MAX];      /* where the launcher's listens */
  int daemon_count;
};

static int is_daemon(const wire *w, const end *e) {
  int found = 0;
  for (int i = 0; i < w->daemon_count; i++) found |= w->daemon[i].port == e->port && !strcmp(w->daemon[i].address, e->address);
  return found;
}

static void add_daemon(wire *w, const end *found) {
  if (found->port > 0 && !is_daemon(w, found) && w->daemon_count < ENDS_MAX) w->daemon[w->daemon_count++] = *found;
}

/* Where the other side of a connection is, in words. 0: not with TCP. */
static int read_address(const struct sockaddr_storage *given, end *result) {
  const struct sockaddr_in *four = (const struct sockaddr_in *)given;
  const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)given;
  if (given->ss_family != AF_INET && given->ss_family != AF_INET6) return 0;
  int is_four = given->ss_family == AF_INET;
  result->port = ntohs(is_four ? four->sin_port : six->sin6_port);
  return inet_ntop(given->ss_family, is_four ? (const void *)&four->sin_addr : (const void *)&six->sin6_addr, result->address, sizeof result->address) != NULL;
}

/* "PMI_PORT=name:44003", of MPICH's mpirun with -pmi-port; else its processes are given a socket, which is there before MPI. */
static void read_named_daemon(wire *w, const char *text) {
  char name[256];
  const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *all;
  const char *colon = text ? strrchr(text, ':') : NULL;
  if (!colon || snprintf(name, sizeof name, "%.*s", (int)(colon - text), text) >= (int)sizeof name || getaddrinfo(name, colon + 1, &wanted, &all)) return;
  for (const struct addrinfo *a = all; a; a = a->ai_next) {
    struct sockaddr_storage given = {0};
    end found;
    if (a->ai_addrlen > sizeof given) continue;
    memcpy(&given, a->ai_addr, a->ai_addrlen);
    if (read_address(&given, &found)) add_daemon(w, &found);
  }
  freeaddrinfo(all);
}

/* "12.0;tcp4://127.0.0.1:44003": where the processes of a job find the daemon that started them (Open MPI's, or SLURM's with PMIx). The port alone would not
 * do: elsewhere it may be MPI's. */
static void read_daemon(wire *w) {
  for (char **e = environ; *e; e++) {
    end found;
    if (strncmp(*e, "PMIX_SERVER_URI", 15)) continue;
    const char *host = strstr(*e, "://"), *colon = strrchr(*e, ':');
    if (!host || colon <= host + 3) continue;
    host += 3;
    int length = (int)(colon - host), brackets = *host == '[' && colon[-1] == ']';
    snprintf(found.address, sizeof found.address, "%.*s", length - 2 * brackets, host + brackets);
    found.port = atoi(colon + 1);
    add_daemon(w, &found);
  }
  read_named_daemon(w, getenv("PMI_PORT"));
}

/* Whether it is an open TCP connection, and to where. */
static int read_peer(int descriptor, end *peer) {
  int type;
  socklen_t length = sizeof type;
  struct sockaddr_storage given;
  if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) || type != SOCK_STREAM) return 0;
  length = sizeof given;
  return !getpeername(descriptor, (struct sockaddr *)&given, &length) && read_address(&given, peer);
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
  end peer;
  if (!before_mpi && !read_peer(descriptor, &peer)) return; /* not connected yet, or no TCP at all */
  if (w->count == w->capacity) {
    int larger = w->capacity ? 2 * w->capacity : 64;
    stream *moved = realloc(w->streams, (size_t)larger * sizeof *moved);
    if (!moved) return;
    w->streams = moved;
    w->capacity = larger;
  }
  int counts = !before_mpi && !is_daemon(w, &peer) && taken(descriptor) >= 0;
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
  read_daemon(w);
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
