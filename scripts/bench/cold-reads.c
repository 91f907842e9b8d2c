/* Reads that the kernel has nothing of, timed: cold-reads touch|random|sequential [<file>].
 * touch: opens and reads every path of standard input once, each with a NUL behind it. Prints the
 * microseconds of the middle one. random: 20 000 reads of a page, the mean in microseconds.
 * sequential: the seconds of a gigabyte. In C, so that the file system is what is measured. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { pathsMax = 1 << 16, randomReads = 20000, pageBytes = 4096 };

static char buffer[1 << 20];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int byValue(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

static double touch(void) {
  static char text[1 << 24];
  static double times[pathsMax];
  size_t size = 0, count = 0;
  ssize_t got;
  while ((got = read(0, text + size, sizeof text - size)) > 0) size += (size_t)got;
  for (char *at = text; at < text + size && count < pathsMax; at += strlen(at) + 1) {
    double start = now();
    int file = open(at, O_RDONLY);
    if (file < 0) fail(at);
    while ((got = read(file, buffer, sizeof buffer)) > 0) {
    }
    if (got < 0) fail(at);
    close(file);
    times[count++] = now() - start;
  }
  qsort(times, count, sizeof *times, byValue);
  return times[count / 2];
}

/* Opens a file of which nothing is in memory any more. */
static int openCold(const char *path, off_t *size) {
  struct stat status;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &status) != 0) fail(path);
  if (posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) fail("posix_fadvise");
  *size = status.st_size;
  return file;
}

static double readRandomly(const char *path) {
  off_t size;
  int file = openCold(path, &size);
  off_t pages = size / pageBytes, page = 0;
  double start = now();
  /* A step that is odd and large: every page once, none near the one before. */
  for (int count = 0; count < randomReads; count++) {
    page = (page + 24593) % pages;
    if (pread(file, buffer, pageBytes, page * pageBytes) != pageBytes) fail("pread");
  }
  return (now() - start) / randomReads;
}

static double readThrough(const char *path) {
  off_t size;
  int file = openCold(path, &size);
  double start = now();
  ssize_t got;
  while ((got = read(file, buffer, sizeof buffer)) > 0) {
  }
  if (got < 0) fail("read");
  return (now() - start) / 1e6 / (double)size * 1e9;
}

int main(int count, char **words) {
  const char *workload = count > 1 ? words[1] : "", *file = count > 2 ? words[2] : "";
  double result;
  if (strcmp(workload, "touch") == 0) result = touch();
  else if (strcmp(workload, "random") == 0) result = readRandomly(file);
  else if (strcmp(workload, "sequential") == 0) result = readThrough(file);
  else return 2;
  printf("%.3f\n", result);
  return 0;
}
