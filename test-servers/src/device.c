/* What a process does with store.db, store.db-wal and store.db-shm fails as the file device-mode in its folder says, while
   that is there. Each failure adds a byte to the file device-failures. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum call { WRITE, FLUSH, READ, LOCK };

/* The error that the mode gives such a call, or 0. */
static int error_of(char mode, enum call call) {
    switch (mode) {
        case 'e': return call == WRITE || call == FLUSH ? EIO : 0;
        case 'f': return call == WRITE ? ENOSPC : 0;
        case 'r': return call == READ ? EIO : 0;
        case 'l': return call == LOCK ? EIO : 0;
        default: return 0;
    }
}

/* 0, or the error that the call gets. */
static int fails(int fd, enum call call) {
    const char *folder = getenv("STREAMER_DEVICE_FOLDER");
    if (!folder) return 0;
    char path[PATH_MAX], mode[16] = {0}, name[64], target[PATH_MAX];
    snprintf(path, sizeof path, "%s/device-mode", folder);
    int control = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    if (control < 0) return 0;
    ssize_t length = syscall(SYS_read, control, mode, sizeof mode - 1);
    syscall(SYS_close, control);
    int error = length > 0 ? error_of(mode[0], call) : 0;
    if (!error) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t end = readlink(name, target, sizeof target - 1);
    if (end < 0) return 0;
    target[end] = 0;
    if (!strstr(target, "/store.db")) return 0;
    snprintf(path, sizeof path, "%s/device-failures", folder);
    int failures = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (failures >= 0) {
        syscall(SYS_write, failures, mode, 1);
        syscall(SYS_close, failures);
    }
    return error;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CHECK(fd, call) do { int error = fails(fd, call); if (error) { errno = error; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    CHECK(fd, WRITE);
    return real(fd, bytes, length);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    REAL(pwrite);
    CHECK(fd, WRITE);
    return real(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    REAL(pwrite64);
    CHECK(fd, WRITE);
    return real(fd, bytes, length, at);
}

ssize_t read(int fd, void *bytes, size_t length) {
    REAL(read);
    CHECK(fd, READ);
    return real(fd, bytes, length);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at) {
    REAL(pread);
    CHECK(fd, READ);
    return real(fd, bytes, length, at);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    REAL(pread64);
    CHECK(fd, READ);
    return real(fd, bytes, length, at);
}

int fsync(int fd) {
    REAL(fsync);
    CHECK(fd, FLUSH);
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    CHECK(fd, FLUSH);
    return real(fd);
}

/* The third argument, if there is one, is a number or a pointer: it is passed on as it came. */
#define FCNTL(name)                                                                             \
    int name(int fd, int command, ...) {                                                        \
        static int (*real)(int, int, ...);                                                      \
        if (!real) real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name);                      \
        va_list arguments;                                                                      \
        va_start(arguments, command);                                                           \
        void *argument = va_arg(arguments, void *);                                             \
        va_end(arguments);                                                                      \
        if (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_GETLK) { \
            struct flock *lock = argument;                                                      \
            if (command == F_GETLK || lock->l_type != F_UNLCK) CHECK(fd, LOCK);                 \
        }                                                                                       \
        return real(fd, command, argument);                                                     \
    }

FCNTL(fcntl)
FCNTL(fcntl64)
