/* Preloaded into a real program (LD_PRELOAD): writes down, in order, every effect on the files below one directory, and
 * strikes the program at a named one. See `tests/it/support/effects.rs`, which builds it and reads what it writes.
 *
 * EFFECTS_BELOW  the directory
 * EFFECTS_LOG    the file that the effects are appended to; what is written to standard output stands among them
 * EFFECTS_STRIKE MOMENT:KIND:ENDING:N, as in before:sync:-wal:3: SIGKILL `before` or `after` the third sync of a file
 *                whose path ends so; `failing`: that sync fails (EIO)
 *
 * An effect that the reader cannot replay is written down as such, so that nothing is left out unseen. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Kinds of records, as the reader knows them. */
enum kind { OPENED = 1, WRITTEN, TRUNCATED, SYNCED, RENAMED, UNLINKED, MADE_DIRECTORY, SAID, UNKNOWN };

/* What stands before the bytes of a record. */
struct __attribute__((packed)) head {
    uint8_t kind;
    uint64_t file;   /* the number of its inode */
    uint64_t offset; /* or the new length, or what `open` did */
    uint64_t length; /* of the bytes that follow */
};

enum { DIRECTORY_FLAG = 1, TRUNCATED_FLAG = 2, MOST_FILES = 4096 };

struct file {
    int is_watched;
    int appends;
    uint64_t number;
    char path[PATH_MAX];
};

static struct file files[MOST_FILES];
static char below[PATH_MAX];
static int log_file = -1;
static char strike_moment[16], strike_kind[16], strike_ending[64];
static long strike_at = 0;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void give_up(const char *why) {
    fprintf(stderr, "effects: %s\n", why);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *directory = getenv("EFFECTS_BELOW");
    const char *log = getenv("EFFECTS_LOG");
    const char *wanted = getenv("EFFECTS_STRIKE");
    if (directory) snprintf(below, sizeof below, "%s", directory);
    if (log) {
        int opened = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of the program's own. */
        log_file = opened < 0 ? -1 : fcntl(opened, F_DUPFD_CLOEXEC, 900);
        if (log_file < 0) give_up("the log cannot be opened");
        REAL(close)(opened);
    }
    if (wanted && sscanf(wanted, "%15[^:]:%15[^:]:%63[^:]:%ld", strike_moment, strike_kind, strike_ending, &strike_at) != 4)
        give_up("EFFECTS_STRIKE is MOMENT:KIND:ENDING:N");
}

static int is_below(const char *path) {
    size_t length = strlen(below);
    return length && !strncmp(path, below, length) && (path[length] == '/' || !path[length]);
}

static struct file *watched(int number) {
    return number >= 0 && number < MOST_FILES && files[number].is_watched ? &files[number] : NULL;
}

static void record(enum kind kind, uint64_t file, uint64_t offset, const void *bytes, size_t length) {
    struct head head = {kind, file, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, length}};
    int before = errno;
    if (log_file >= 0 && syscall(SYS_writev, log_file, parts, 2) != (long)(sizeof head + length))
        give_up("the log cannot be written");
    errno = before;
}

static void unknown(const char *what) { record(UNKNOWN, 0, 0, what, strlen(what)); }

/* Whether this is the effect to strike at. */
static int is_time(const char *moment, const char *kind, const char *path) {
    size_t all = strlen(path), ending = strlen(strike_ending);
    if (strike_at <= 0 || strcmp(moment, strike_moment) || strcmp(kind, strike_kind)) return 0;
    return ending <= all && !strcmp(path + all - ending, strike_ending) && --strike_at == 0;
}

static void strike(const char *moment, const char *kind, const char *path) {
    if (!is_time(moment, kind, path)) return;
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void before(const char *kind, const char *path) {
    pthread_mutex_lock(&one_at_a_time);
    strike("before", kind, path);
}

static void after(const char *kind, const char *path, int succeeded) {
    if (succeeded) strike("after", kind, path);
    pthread_mutex_unlock(&one_at_a_time);
}

static int opened(int number, const char *path, int flags) {
    struct stat64 status;
    if (number < 0 || !is_below(path)) return number;
    if (number >= MOST_FILES || fstat64(number, &status)) give_up("an open file cannot be watched");
    struct file *file = &files[number];
    file->is_watched = 1;
    file->appends = (flags & O_APPEND) != 0;
    file->number = status.st_ino;
    snprintf(file->path, sizeof file->path, "%s", path);
    uint64_t is_directory = S_ISDIR(status.st_mode) ? DIRECTORY_FLAG : 0;
    uint64_t is_truncated = flags & O_TRUNC ? TRUNCATED_FLAG : 0;
    record(OPENED, file->number, is_directory | is_truncated, path, strlen(path));
    return number;
}

/* The mode of a file that may be made comes behind `flags`. */
#define TAKE_MODE(flags)                                              \
    mode_t mode = 0;                                                  \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                          \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode = va_arg(rest, mode_t);                                  \
        va_end(rest);                                                 \
    }

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        TAKE_MODE(flags)                                              \
        before("open", path);                                         \
        int number = opened(REAL(name)(path, flags, mode), path, flags); \
        after("open", path, number >= 0);                             \
        return number;                                                \
    }

OPEN(open)
OPEN(open64)

int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

#define OPEN_AT(name)                                                 \
    int name(int directory, const char *path, int flags, ...) {       \
        TAKE_MODE(flags)                                              \
        before("open", path);                                         \
        int number = opened(REAL(name)(directory, path, flags, mode), path, flags); \
        after("open", path, number >= 0);                             \
        return number;                                                \
    }

OPEN_AT(openat)
OPEN_AT(openat64)

int close(int number) {
    pthread_mutex_lock(&one_at_a_time);
    struct file *file = watched(number);
    if (file) file->is_watched = 0;
    int result = REAL(close)(number);
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

ssize_t write(int number, const void *bytes, size_t length) {
    struct file *file = watched(number);
    if (!file && !(number == STDOUT_FILENO && log_file >= 0)) return REAL(write)(number, bytes, length);
    before("write", file ? file->path : "");
    off64_t offset = file ? lseek64(number, 0, SEEK_CUR) : 0;
    ssize_t written = REAL(write)(number, bytes, length);
    if (file && file->appends) unknown("append");
    else if (written > 0) record(file ? WRITTEN : SAID, file ? file->number : 0, offset, bytes, written);
    after("write", file ? file->path : "", written > 0);
    return written;
}

#define WRITE_AT(name, place)                                         \
    ssize_t name(int number, const void *bytes, size_t length, place offset) { \
        struct file *file = watched(number);                          \
        if (!file) return REAL(name)(number, bytes, length, offset);  \
        before("write", file->path);                                  \
        ssize_t written = REAL(name)(number, bytes, length, offset);  \
        if (written > 0) record(WRITTEN, file->number, offset, bytes, written); \
        after("write", file->path, written > 0);                      \
        return written;                                               \
    }

WRITE_AT(pwrite, off_t)
WRITE_AT(pwrite64, off64_t)

#define TRUNCATE(name, place)                                         \
    int name(int number, place length) {                              \
        struct file *file = watched(number);                          \
        if (!file) return REAL(name)(number, length);                 \
        before("truncate", file->path);                               \
        int result = REAL(name)(number, length);                      \
        if (!result) record(TRUNCATED, file->number, length, NULL, 0); \
        after("truncate", file->path, !result);                       \
        return result;                                                \
    }

TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                    \
    int name(int number) {                                            \
        struct file *file = watched(number);                          \
        if (!file) return REAL(name)(number);                         \
        before("sync", file->path);                                   \
        int fails = is_time("failing", "sync", file->path);           \
        int result = fails ? -1 : REAL(name)(number);                 \
        if (!result) record(SYNCED, file->number, 0, NULL, 0);        \
        after("sync", file->path, !result);                           \
        if (fails) errno = EIO;                                       \
        return result;                                                \
    }

SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    if (!is_below(from) && !is_below(to)) return REAL(rename)(from, to);
    before("rename", to);
    int result = REAL(rename)(from, to);
    if (!result) {
        /* Both paths, with the zero between them. */
        char both[2 * PATH_MAX];
        int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
        record(RENAMED, 0, 0, both, length);
    }
    after("rename", to, !result);
    return result;
}

#define OF_PATH(name, word, kind, declared, passed)                   \
    int name declared {                                               \
        if (!is_below(path)) return REAL(name) passed;                \
        before(word, path);                                           \
        int result = REAL(name) passed;                               \
        if (!result) record(kind, 0, 0, path, strlen(path));          \
        after(word, path, !result);                                   \
        return result;                                                \
    }

OF_PATH(unlink, "unlink", UNLINKED, (const char *path), (path))
OF_PATH(mkdir, "mkdir", MADE_DIRECTORY, (const char *path, mode_t mode), (path, mode))

/* What nobody replays. */

#define UNREPLAYED_PATH(name, declared, passed, path)                 \
    int name declared {                                               \
        if (is_below(path)) unknown(#name);                           \
        return REAL(name) passed;                                     \
    }

UNREPLAYED_PATH(link, (const char *from, const char *to), (from, to), to)
UNREPLAYED_PATH(symlink, (const char *from, const char *to), (from, to), to)
UNREPLAYED_PATH(rmdir, (const char *path), (path), path)
UNREPLAYED_PATH(truncate, (const char *path, off_t length), (path, length), path)
UNREPLAYED_PATH(truncate64, (const char *path, off64_t length), (path, length), path)

#define UNREPLAYED_FILE(type, name, declared, passed)                 \
    type name declared {                                              \
        if (watched(number)) unknown(#name);                          \
        return REAL(name) passed;                                     \
    }

UNREPLAYED_FILE(int, fallocate, (int number, int mode, off_t at, off_t length), (number, mode, at, length))
UNREPLAYED_FILE(int, fallocate64, (int number, int mode, off64_t at, off64_t length), (number, mode, at, length))
UNREPLAYED_FILE(int, posix_fallocate, (int number, off_t at, off_t length), (number, at, length))
UNREPLAYED_FILE(int, posix_fallocate64, (int number, off64_t at, off64_t length), (number, at, length))
UNREPLAYED_FILE(ssize_t, writev, (int number, const struct iovec *parts, int n_parts), (number, parts, n_parts))
UNREPLAYED_FILE(ssize_t, pwritev, (int number, const struct iovec *parts, int n_parts, off_t at), (number, parts, n_parts, at))
UNREPLAYED_FILE(ssize_t, pwritev64, (int number, const struct iovec *parts, int n_parts, off64_t at), (number, parts, n_parts, at))

/* The index of SQLite's write-ahead log is shared memory that lies in a file: no state, made anew at every start. */
#define MAP(name, place)                                              \
    void *name(void *address, size_t length, int protection, int flags, int number, place offset) { \
        struct file *file = watched(number);                          \
        size_t all = file ? strlen(file->path) : 0;                   \
        int is_index = all > 4 && !strcmp(file->path + all - 4, "-shm"); \
        if (file && !is_index && (flags & MAP_SHARED) && (protection & PROT_WRITE)) unknown(#name); \
        return REAL(name)(address, length, protection, flags, number, offset); \
    }

MAP(mmap, off_t)
MAP(mmap64, off64_t)
