/* store/file: files are whole or absent, failures name the path and leave nothing behind. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/file.h"
#include "support/folder.h"

static int entries(void) {
  int count = 0;
  DIR *d = opendir(folder);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) count += e->d_name[0] != '.' || strlen(e->d_name) > 2;
  closedir(d);
  return count;
}

static void expect_content(const char *path, const char *wanted) {
  char *bytes;
  size_t count;
  assert_int_equal(file_read(path, 1000000, &bytes, &count), ERROR_NONE);
  assert_int_equal(count, strlen(wanted));
  assert_string_equal(bytes, wanted); /* with its end mark */
  free(bytes);
}

static void test_write_and_read(void **state) {
  (void)state;
  const char *path = in_folder("a.txt");
  assert_int_equal(file_write_atomic(path, "first", 5), ERROR_NONE);
  expect_content(path, "first");
  assert_int_equal(file_write_atomic(path, "second one", 10), ERROR_NONE);
  expect_content(path, "second one");
  assert_int_equal(file_write_atomic(path, "", 0), ERROR_NONE);
  expect_content(path, "");
  assert_int_equal(entries(), 1);
  struct stat status;
  mode_t mask = umask(0);
  umask(mask);
  assert_int_equal(stat(path, &status), 0);
  assert_int_equal(status.st_mode & 0777, 0666 & ~mask);
}

static void test_remove_temporaries(void **state) {
  (void)state;
  static const char *const names[] = {"t.bin", "t.bin.tmp-1-0", "t.bin.tmp-77-3", "xt.bin.tmp-1-0", "t.bin.tmp"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_int_equal(file_write_atomic(in_folder(names[i]), "x", 1), ERROR_NONE);
  file_remove_temporaries(in_folder("t.bin"));
  file_remove_temporaries(in_folder("nowhere/t.bin"));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_int_equal(access(in_folder(names[i]), F_OK), i == 1 || i == 2 ? -1 : 0);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_folder(names[i]));
}

static void test_write_in_place_of_names_taken(void **state) {
  (void)state;
  char stale[1024];
  snprintf(stale, sizeof stale, "%s.tmp-%ld-0", in_folder("b.txt"), (long)getpid());
  FILE *f = fopen(stale, "w"); /* what a killed process of this number would leave */
  assert_non_null(f);
  fclose(f);
  assert_int_equal(file_write_atomic(in_folder("b.txt"), "new", 3), ERROR_NONE);
  expect_content(in_folder("b.txt"), "new");
  assert_int_equal(access(stale, F_OK), 0); /* it might be another host's: not ours to remove */
  assert_int_equal(unlink(stale), 0);
}

static void test_failures_leave_nothing(void **state) {
  (void)state;
  int before = entries();
  assert_int_equal(file_write_atomic(in_folder("absent/x"), "x", 1), ERROR_SYSTEM);
  expect_text("absent/x");
  expect_text("No such file");
  assert_int_equal(file_write_atomic("/proc/peftscale-x", "x", 1), ERROR_SYSTEM);
  assert_int_equal(mkdir(in_folder("taken"), 0777), 0);
  assert_int_equal(file_write_atomic(in_folder("taken"), "x", 1), ERROR_SYSTEM);
  expect_text("taken: is a directory");
  assert_int_equal(mkfifo(in_folder("pipe"), 0666), 0); /* root's rename would take its place, as that of /dev/null */
  assert_int_equal(file_write_atomic(in_folder("pipe"), "x", 1), ERROR_SYSTEM);
  expect_text("pipe: is a device or pipe");
  assert_int_equal(unlink(in_folder("pipe")), 0);
  assert_int_equal(file_check_target(in_folder("taken")), ERROR_SYSTEM);
  expect_text("taken: is a directory");
  assert_int_equal(file_check_target(in_folder("absent/x")), ERROR_INPUT);
  expect_text("absent");
  assert_int_equal(file_check_target(in_folder("free")), ERROR_NONE);
  assert_int_equal(entries(), before + 1);
  file_writer *w;
  assert_int_equal(file_writer_create(in_folder("never"), &w), ERROR_NONE);
  assert_int_equal(file_writer_add(w, "abc", 3), ERROR_NONE);
  assert_int_equal(entries(), before + 2);
  file_writer_discard(w);
  file_writer_discard(NULL);
  assert_int_equal(entries(), before + 1);
}

static void test_full_disk(void **state) {
  (void)state;
  const char *path = in_folder("full.txt");
  assert_int_equal(file_write_atomic(path, "old", 3), ERROR_NONE);
  int before = entries();
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) { /* a size limit stands in for a full disk */
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    char *large = calloc(1, 5000);
    int code = file_write_atomic(path, large, 5000);
    _exit(code == ERROR_SYSTEM && strstr(error_last()->text, "full.txt") ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_int_equal(entries(), before);
  expect_content(path, "old");
}

static void test_directories(void **state) {
  (void)state;
  assert_int_equal(file_make_directory(in_folder("d/e//f/")), ERROR_NONE);
  assert_int_equal(file_make_directory(in_folder("d/e/f")), ERROR_NONE);
  assert_int_equal(file_make_directory("."), ERROR_NONE);
  assert_int_equal(file_make_directory("/"), ERROR_NONE);
  assert_int_equal(file_check_writable(in_folder("d/e/f")), ERROR_NONE);
  assert_int_equal(rmdir(in_folder("d/e/f")), 0); /* the check left nothing */
  assert_int_equal(file_write_atomic(in_folder("plain"), "x", 1), ERROR_NONE);
  assert_int_equal(file_make_directory(in_folder("plain/sub")), ERROR_SYSTEM);
  expect_text("plain/sub");
  expect_text("no directory");
  assert_int_equal(file_make_directory("/proc/peftscale"), ERROR_SYSTEM);
  assert_int_equal(file_check_writable(in_folder("plain")), ERROR_INPUT);
  assert_int_equal(file_check_writable(in_folder("nowhere")), ERROR_INPUT);
  expect_text("nowhere");
  assert_int_equal(file_check_writable("/proc"), ERROR_INPUT);
}

static void test_read_limits(void **state) {
  (void)state;
  char *bytes;
  size_t count;
  assert_int_equal(file_write_atomic(in_folder("ten"), "0123456789", 10), ERROR_NONE);
  assert_int_equal(file_read(in_folder("ten"), 10, &bytes, &count), ERROR_NONE);
  assert_int_equal(count, 10);
  free(bytes);
  assert_int_equal(file_read(in_folder("ten"), 9, &bytes, &count), ERROR_INPUT);
  expect_text("larger than the 9 bytes");
  assert_null(bytes);
  assert_int_equal(file_read(in_folder("missing"), 9, &bytes, &count), ERROR_INPUT);
  expect_text("missing");
  assert_int_equal(file_read(folder, 9, &bytes, &count), ERROR_INPUT);
  expect_text("a directory");
  assert_int_equal(file_read("/proc/self/status", 1 << 20, &bytes, &count), ERROR_NONE); /* says it has 0 bytes */
  assert_true(count > 100 && strstr(bytes, "Pid:"));
  free(bytes);
  assert_int_equal(mkfifo(in_folder("pipe"), 0666), 0);
  assert_int_equal(file_read(in_folder("pipe"), 9, &bytes, &count), ERROR_INPUT); /* and does not hang */
}

static void test_maps(void **state) {
  (void)state;
  file_map map;
  assert_int_equal(file_write_atomic(in_folder("map"), "mapped", 6), ERROR_NONE);
  assert_int_equal(file_map_open(in_folder("map"), &map), ERROR_NONE);
  assert_int_equal(map.count, 6);
  assert_memory_equal(map.bytes, "mapped", 6);
  file_map_close(&map);
  file_map_close(&map);
  assert_null(map.bytes);
  assert_int_equal(file_write_atomic(in_folder("map"), "", 0), ERROR_NONE);
  assert_int_equal(file_map_open(in_folder("map"), &map), ERROR_INPUT);
  expect_text("empty");
  assert_int_equal(file_map_open(in_folder("gone"), &map), ERROR_INPUT);
  assert_int_equal(file_map_open(folder, &map), ERROR_INPUT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_write_and_read),
      cmocka_unit_test(test_remove_temporaries),
      cmocka_unit_test(test_write_in_place_of_names_taken),
      cmocka_unit_test(test_failures_leave_nothing),
      cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_directories),
      cmocka_unit_test(test_read_limits),
      cmocka_unit_test(test_maps),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
