/* What programs do with a file tree, timed: everyday-reads <workload> <root> <passes> [<file>].
 * Paths below <root>, each with a NUL behind it, come from standard input. Prints the milliseconds of
 * the middle pass. In C, so that the tree is what is measured and not the client. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { pathsMax = 1 << 20, filesRead = 2000, opens = 20000, randomReads = 20000, starts = 50 };

static char *paths[pathsMax];
static size_t pathCount;
static char *chosen[filesRead];
static size_t chosenCount;
static char *root, *file;
static char buffer[1 << 20];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void readPaths(void) {
  size_t size = 0, capacity = 1 << 26;
  char *text = malloc(capacity);
  ssize_t got;
  while ((got = read(0, text + size, capacity - size)) > 0) size += (size_t)got;
  for (char *at = text; at < text + size && pathCount < pathsMax; at += strlen(at) + 1)
    paths[pathCount++] = at;
}

static int openFile(const char *path) {
  int descriptor = open(path, O_RDONLY);
  if (descriptor < 0) fail(path);
  return descriptor;
}

static void readWhole(const char *path) {
  int descriptor = openFile(path);
  while (read(descriptor, buffer, sizeof buffer) > 0) {
  }
  close(descriptor);
}

/* Starts a program; in the tree as its root directory if `inside`. */
static void start(char *const words[], int inside) {
  pid_t child = vfork();
  if (child < 0) fail("vfork");
  if (child == 0) {
    int nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, 1);
    if (inside && (chroot(root) != 0 || chdir("/") != 0)) _exit(126);
    execv(words[0], words);
    _exit(127);
  }
  int status;
  if (waitpid(child, &status, 0) < 0 || status != 0) {
    fprintf(stderr, "%s ended with status %d\n", words[0], status);
    exit(1);
  }
}

static void find(void) {
  start((char *[]){"/usr/bin/find", root, NULL}, 0);
}

static void statAll(void) {
  struct stat found;
  for (size_t at = 0; at < pathCount; at++)
    if (lstat(paths[at], &found) != 0) fail(paths[at]);
}

static void openReadClose(void) {
  for (int at = 0; at < opens; at++) {
    int descriptor = openFile(file);
    if (read(descriptor, buffer, 4096) < 0) fail("read");
    close(descriptor);
  }
}

static void sequential(void) { readWhole(file); }

static void randomly(void) {
  struct stat found;
  int descriptor = openFile(file);
  if (fstat(descriptor, &found) != 0) fail("fstat");
  unsigned long long seed = 1, pages = (unsigned long long)found.st_size / 4096;
  for (int at = 0; at < randomReads; at++) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    if (pread(descriptor, buffer, 4096, (off_t)((seed >> 33) % pages * 4096)) < 0) fail("pread");
  }
  close(descriptor);
}

static void execute(void) {
  for (int at = 0; at < starts; at++) start((char *[]){"/bin/true", NULL}, 1);
}

static void python(void) {
  start((char *[]){"/usr/bin/python3", "-c", "import json, decimal, sqlite3, ssl, numpy", NULL}, 1);
}

/* Not part of what is timed. */
static void chooseFiles(void) {
  struct stat found;
  for (size_t at = 0; at < pathCount && chosenCount < filesRead; at++) {
    if (lstat(paths[at], &found) != 0) fail(paths[at]);
    if (S_ISREG(found.st_mode) && found.st_size <= 65536) chosen[chosenCount++] = paths[at];
  }
}

static void manyFiles(void) {
  for (size_t at = 0; at < chosenCount; at++) readWhole(chosen[at]);
}

static const struct {
  const char *name;
  void (*run)(void);
} workloads[] = {
    {"find", find},           {"stat", statAll},       {"open", openReadClose},
    {"sequential", sequential}, {"random", randomly},  {"exec", execute},
    {"python", python},       {"files", manyFiles},
};

static int ascending(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return (difference > 0) - (difference < 0);
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int count, char **words) {
  if (count < 4) return 2;
  root = words[2];
  file = count > 4 ? words[4] : NULL;
  int passes = atoi(words[3]);
  double *times = calloc((size_t)passes, sizeof *times);
  readPaths();
  if (chdir(root) != 0) fail(root);
  chooseFiles();
  for (size_t at = 0; at < sizeof workloads / sizeof *workloads; at++) {
    if (strcmp(workloads[at].name, words[1]) != 0) continue;
    for (int pass = 0; pass < passes; pass++) {
      double before = milliseconds();
      workloads[at].run();
      times[pass] = milliseconds() - before;
    }
    qsort(times, (size_t)passes, sizeof *times, ascending);
    printf("%.6f\n", times[passes / 2]);
    return 0;
  }
  return 2;
}
