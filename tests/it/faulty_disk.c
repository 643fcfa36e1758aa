/* A disk with faults, between hookline and the C library. The presence of files in the directory
 * FAULTY_DISK_SWITCHES steers it; only files in FAULTY_DISK_LOG are touched by it.
 *
 *   hold    syncs block while it is there; the file `held` is made when one does
 *   skip    syncs return 0 without having synced or waited: hookline as it would be without its sync
 *   eio     the next sync fails with EIO, and the file is gone
 *   enospc  page writes fail with ENOSPC while it is there
 *
 * These are the calls of LMDB, which makes every write and sync of the log. What hookline allocates ahead
 * goes to the kernel past the C library, and is not seen here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The two root pages are overwritten where they stand and never need space. */
#define ROOT_PAGES (2 * sysconf(_SC_PAGESIZE))

static int is_of_the_log(int fd)
{
	const char *log = getenv("FAULTY_DISK_LOG");
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	if (log == NULL || length < 0)
		return 0;
	path[length] = 0;
	return strncmp(path, log, strlen(log)) == 0 && path[strlen(log)] == '/';
}

static const char *switch_path(char *path, const char *name)
{
	const char *switches = getenv("FAULTY_DISK_SWITCHES");
	snprintf(path, PATH_MAX, "%s/%s", switches == NULL ? "" : switches, name);
	return path;
}

static int is_on(const char *name)
{
	char path[PATH_MAX];
	return access(switch_path(path, name), F_OK) == 0;
}

static int take(const char *name)
{
	char path[PATH_MAX];
	return unlink(switch_path(path, name)) == 0;
}

static int faulty_sync(int fd, int (*sync)(int))
{
	if (!is_of_the_log(fd))
		return sync(fd);
	if (is_on("skip"))
		return 0;
	if (take("eio")) {
		errno = EIO;
		return -1;
	}
	while (is_on("hold")) {
		char path[PATH_MAX];
		int held = open(switch_path(path, "held"), O_CREAT | O_WRONLY, 0600);
		if (held >= 0)
			close(held);
		usleep(2000);
	}
	return sync(fd);
}

static int is_full(int fd, off_t offset)
{
	if (offset < ROOT_PAGES || !is_on("enospc") || !is_of_the_log(fd))
		return 0;
	errno = ENOSPC;
	return 1;
}

int fdatasync(int fd)
{
	return faulty_sync(fd, (int (*)(int))dlsym(RTLD_NEXT, "fdatasync"));
}

int fsync(int fd)
{
	return faulty_sync(fd, (int (*)(int))dlsym(RTLD_NEXT, "fsync"));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
	ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
	return is_full(fd, offset) ? -1 : next(fd, bytes, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	ssize_t (*next)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
	return is_full(fd, lseek(fd, 0, SEEK_CUR)) ? -1 : next(fd, parts, count);
}
