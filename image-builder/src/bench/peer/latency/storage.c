/* Storage: the virtio disk, overwritten, past the page cache (O_DIRECT), as our drivers have none. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "sampler.h"

#define DISK "/dev/vda"

enum { LARGE = 64 << 10, SMALL = 4 << 10 };
/* Bytes that are used, or the whole disk. */
#define BYTES (64L << 20)

static int requests(struct sampler *sampler, size_t length, int random, int write)
{
    int disk = open(DISK, O_RDWR | O_DIRECT);
    off_t size = disk < 0 ? -1 : lseek(disk, 0, SEEK_END);
    void *buffer = aligned_alloc(SMALL, length);
    if (size < (off_t)length || !buffer)
        return -1;
    /* Nothing that looks like a boot sector. */
    memset(buffer, 0xb5, length);
    uint64_t pieces = (uint64_t)(size < BYTES ? size : BYTES) / length, state = 1 << 20 | 5, next = 0;
    int failed = 0;
    while (!failed && wants(sampler)) {
        uint64_t piece = random ? below(&state, pieces) : next++ % pieces;
        off_t place = (off_t)(piece * length);
        uint64_t start = tsc();
        ssize_t done = write ? pwrite(disk, buffer, length, place) : pread(disk, buffer, length, place);
        uint64_t ticks = tsc() - start;
        failed = done != (ssize_t)length;
        if (random)
            push(sampler, ticks);
        else
            push_rate(sampler, length, ticks);
    }
    free(buffer);
    close(disk);
    return -failed;
}

#define REQUESTS(NAME, LENGTH, RANDOM, WRITE)                                                                        \
    static int NAME(const struct context *context, struct sampler *sampler)                                          \
    {                                                                                                                \
        (void)context;                                                                                               \
        return requests(sampler, LENGTH, RANDOM, WRITE);                                                             \
    }
REQUESTS(write_sequential, LARGE, 0, 1)
REQUESTS(read_sequential, LARGE, 0, 0)
REQUESTS(write_random, SMALL, 1, 1)
REQUESTS(read_random, SMALL, 1, 0)

const struct benchmark storage_benchmarks[] = {
    {"disk.write_sequential", "bytes", 40, write_sequential, 0},
    {"disk.read_sequential", "bytes", 40, read_sequential, 0},
    {"disk.write_random", NULL, 100, write_random, 0},
    {"disk.read_random", NULL, 100, read_random, 0},
    {0},
};
