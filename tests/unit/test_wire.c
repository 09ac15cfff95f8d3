/* Bytes handed to the network: TCP sockets of this process, InfiniBand's counters in a made-up tree, and what the system says of binding and delays. */
#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/machine.h"
#include "comm/wire.h"

/* A TCP connection to oneself. */
typedef struct pair {
  int listener, client, server, port;
} pair;

static pair connect_pair(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  pair p = {.listener = socket(AF_INET, SOCK_STREAM, 0), .client = socket(AF_INET, SOCK_STREAM, 0)};
  assert_int_equal(bind(p.listener, (struct sockaddr *)&address, length), 0);
  assert_int_equal(listen(p.listener, 1), 0);
  assert_int_equal(getsockname(p.listener, (struct sockaddr *)&address, &length), 0);
  p.port = ntohs(address.sin_port);
  assert_int_equal(connect(p.client, (struct sockaddr *)&address, length), 0);
  p.server = accept(p.listener, NULL, NULL);
  assert_true(p.server >= 0);
  return p;
}

static void disconnect(pair p) {
  close(p.client);
  close(p.server);
  close(p.listener);
}

static void send_bytes(int from, int to, size_t count) {
  static char bytes[4096];
  while (count) {
    size_t part = count < sizeof bytes ? count : sizeof bytes;
    assert_int_equal(send(from, bytes, part, 0), part);
    assert_int_equal(recv(to, bytes, part, MSG_WAITALL), part);
    count -= part;
  }
}

static void every_byte_counts_once(void **state) {
  wire *w;
  (void)state;
  pair before = connect_pair();
  assert_int_equal(wire_create(&w), 0);
  assert_int_equal(wire_scan(w), 0);
  send_bytes(before.client, before.server, 1000); /* was there before: not MPI's */
  assert_int_equal(wire_tcp_bytes(w), 0);
  pair data = connect_pair();
  assert_int_equal(wire_scan(w), 2); /* both ends are this process's own */
  send_bytes(data.client, data.server, 100001);
  send_bytes(data.server, data.client, 7);
  assert_int_equal(wire_tcp_bytes(w), 100008);
  assert_int_equal(wire_scan(w), 2);
  assert_int_equal(wire_tcp_bytes(w), 100008);
  /* Nobody has read it yet: what was written counts at once. */
  char text[5000] = "";
  assert_int_equal(send(data.client, text, sizeof text, 0), sizeof text);
  assert_int_equal(wire_tcp_bytes(w), 105008);
  /* A closed one keeps what it had, and its descriptor may come back as another. */
  disconnect(data);
  assert_int_equal(wire_tcp_bytes(w), 105008);
  pair again = connect_pair();
  wire_scan(w);
  send_bytes(again.client, again.server, 50);
  assert_int_equal(wire_tcp_bytes(w), 105058);
  disconnect(again);
  disconnect(before);
  wire_destroy(w);
}

/* Bytes that count of 100 sent to the port of a daemon that a variable says to listen somewhere: `before`, then its port. */
static int64_t counted_with_daemon_at(const char *variable, const char *before) {
  wire *w;
  char text[64];
  pair daemon = connect_pair(); /* only for its port */
  snprintf(text, sizeof text, "%s:%d", before, daemon.port);
  setenv(variable, text, 1);
  assert_int_equal(wire_create(&w), 0);
  unsetenv(variable);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)daemon.port)};
  int client = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
  int found = wire_scan(w);
  char bytes[100] = "";
  assert_int_equal(send(client, bytes, sizeof bytes, 0), sizeof bytes);
  int64_t counted = wire_tcp_bytes(w);
  assert_int_equal(found, counted > 0);
  close(client);
  disconnect(daemon);
  wire_destroy(w);
  return counted;
}

static void the_daemon_does_not_count(void **state) {
  (void)state;
  assert_int_equal(counted_with_daemon_at("PMIX_SERVER_URI21", "12.0;tcp4://127.0.0.1"), 0);
  assert_int_equal(counted_with_daemon_at("PMIX_SERVER_URI21", "12.0;tcp4://10.1.2.3"), 100); /* another machine's process may have the same port */
  assert_int_equal(counted_with_daemon_at("PMI_PORT", "localhost"), 0);
  assert_int_equal(counted_with_daemon_at("PMI_PORT", "10.1.2.3"), 100);
  assert_int_equal(counted_with_daemon_at("PMI_PORT", "no.such.host.invalid"), 100);
  assert_int_equal(counted_with_daemon_at("PMI_PORT", ""), 100);
}

/* root/ADAPTER/ports/PORT/counters/port_xmit_data */
static void put_port(const char *root, const char *adapter, const char *port, const char *text) {
  char path[512];
  const char *parts[] = {adapter, "ports", port, "counters"};
  size_t used = (size_t)snprintf(path, sizeof path, "%s", root);
  for (int i = 0; i < 4; i++) {
    used += (size_t)snprintf(path + used, sizeof path - used, "/%s", parts[i]);
    mkdir(path, 0700);
  }
  snprintf(path + used, sizeof path - used, "/port_xmit_data");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void infiniband_counts_words_of_all_ports(void **state) {
  char root[] = "/tmp/peftscale-wire-XXXXXX", command[64];
  (void)state;
  assert_non_null(mkdtemp(root));
  assert_int_equal(wire_infiniband_bytes("/nonexistent"), -1);
  assert_int_equal(wire_infiniband_bytes(root), -1);
  put_port(root, "mlx5_0", "1", "1000\n");
  assert_int_equal(wire_infiniband_bytes(root), 4000);
  put_port(root, "mlx5_0", "2", "5\n");
  put_port(root, "mlx5_1", "1", "3000000000000\n");
  assert_int_equal(wire_infiniband_bytes(root), 4020 + 12000000000000);
  put_port(root, "mlx5_2", "1", "broken\n"); /* one that cannot be read is none */
  put_port(root, "mlx5_3", "1", "-4\n");
  assert_int_equal(wire_infiniband_bytes(root), 4020 + 12000000000000);
  snprintf(command, sizeof command, "rm -r %s", root);
  assert_int_equal(system(command), 0);
}

static void the_machine_is_ours_only_if_said(void **state) {
  char cores[32];
  (void)state;
  unsetenv("PEFTSCALE_EXCLUSIVE_NODE");
  unsetenv("SLURM_JOB_CPUS_PER_NODE");
  assert_int_equal(wire_machine_is_ours(), 0);
  setenv("SLURM_JOB_CPUS_PER_NODE", "0(x3)", 1);
  assert_int_equal(wire_machine_is_ours(), 0);
  snprintf(cores, sizeof cores, "%ld(x3),2", sysconf(_SC_NPROCESSORS_ONLN));
  setenv("SLURM_JOB_CPUS_PER_NODE", cores, 1);
  assert_int_equal(wire_machine_is_ours(), 1);
  setenv("PEFTSCALE_EXCLUSIVE_NODE", "0", 1);
  assert_int_equal(wire_machine_is_ours(), 0);
  setenv("PEFTSCALE_EXCLUSIVE_NODE", "1", 1);
  unsetenv("SLURM_JOB_CPUS_PER_NODE");
  assert_int_equal(wire_machine_is_ours(), 1);
  unsetenv("PEFTSCALE_EXCLUSIVE_NODE");
}

static void *run_until_told(void *told) {
  while (!*(volatile int *)told) {
  }
  return NULL;
}

static void threads_rest_or_do_not(void **state) {
  pthread_t thread;
  int told = 0;
  (void)state;
  assert_true(machine_threads_rest());
  assert_int_equal(pthread_create(&thread, NULL, run_until_told, &told), 0);
  assert_false(machine_threads_rest());
  *(volatile int *)&told = 1;
  pthread_join(thread, NULL);
  assert_true(machine_threads_rest());
}

static void the_peak_of_memory_is_that_since_it_was_forgotten(void **state) {
  enum { BYTES = 64 << 20, SLACK = 8 << 20 };
  int64_t before = machine_peak_bytes();
  (void)state;
  if (before < 0) skip();
  char *held = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(held != MAP_FAILED);
  assert_true(machine_peak_bytes() < before + SLACK); /* not touched yet: nothing of the machine's memory */
  memset(held, 1, BYTES);
  munmap(held, BYTES);
  int64_t most = machine_peak_bytes();
  assert_true(most >= before + BYTES - SLACK && most < before + BYTES + SLACK);
  machine_forget_peak();
  if (access("/proc/self/clear_refs", W_OK)) assert_true(machine_peak_bytes() >= most);
  else assert_true(machine_peak_bytes() < most - BYTES + SLACK && machine_peak_bytes() > 0);
}

static void the_system_is_asked(void **state) {
  char text[64];
  (void)state;
  memset(text, 'x', sizeof text);
  int count = machine_name_cores(text, sizeof text);
  assert_true(count >= 1 && text[0] >= '0' && text[0] <= '9');
  for (size_t i = strlen(text); i < sizeof text; i++) assert_int_equal(text[i], 0);
  double delay = machine_delay_s(), start = clock_wall_s();
  int64_t switches = machine_involuntary_switches();
  while (clock_wall_s() < start + 0.02) {
  }
  assert_true(isnan(delay) || machine_delay_s() >= delay);
  assert_true(machine_involuntary_switches() >= switches);
  assert_true(isnan(machine_load()) || machine_load() >= 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte_counts_once),
      cmocka_unit_test(the_daemon_does_not_count),
      cmocka_unit_test(infiniband_counts_words_of_all_ports),
      cmocka_unit_test(the_machine_is_ours_only_if_said),
      cmocka_unit_test(the_system_is_asked),
      cmocka_unit_test(threads_rest_or_do_not),
      cmocka_unit_test(the_peak_of_memory_is_that_since_it_was_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
