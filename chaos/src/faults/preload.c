/* Writes and flushes of store.db, store.db-wal and store.db-shm fail while the file device-mode is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* 0, or the error that a write gets. */
static int fails(int fd) {
    const char *folder = getenv("STREAMER_CHAOS_FOLDER");
    if (!folder) return 0;
    char path[PATH_MAX], mode[16] = {0}, name[64], target[PATH_MAX];
    snprintf(path, sizeof path, "%s/device-mode", folder);
    int control = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    if (control < 0) return 0;
    ssize_t length = syscall(SYS_read, control, mode, sizeof mode - 1);
    syscall(SYS_close, control);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t end = readlink(name, target, sizeof target - 1);
    if (end < 0) return 0;
    target[end] = 0;
    if (length <= 0 || !strstr(target, "/store.db")) return 0;
    return mode[0] == 'f' ? ENOSPC : EIO;
}

#define CHECK(fd, flush) do { int error = fails(fd); if (error && !(flush && error == ENOSPC)) { errno = error; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    CHECK(fd, 0);
    return real(fd, bytes, length);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite");
    CHECK(fd, 0);
    return real(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    CHECK(fd, 0);
    return real(fd, bytes, length, at);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    CHECK(fd, 1);
    return real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    CHECK(fd, 1);
    return real(fd);
}
