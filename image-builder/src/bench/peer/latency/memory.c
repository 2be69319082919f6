/* Memory: the kernels of STREAM, and the latency of loads that depend on each other. */
#include <stdlib.h>

#include "sampler.h"

/* Elements of each array: 8 MiB; the same in a quick run. */
enum { ELEMENTS = 1 << 20, QUICK = 1 << 15 };
/* Bytes of a cache line; loads of one sample. */
enum { LINE = 64, STEPS = 1000 };

struct arrays {
    double *restrict a, *restrict b, *restrict c;
    size_t count;
};

typedef void (*kernel)(struct arrays *arrays);

static void copy(struct arrays *arrays)
{
    for (size_t i = 0; i < arrays->count; i++)
        arrays->c[i] = arrays->a[i];
}

static void scale(struct arrays *arrays)
{
    for (size_t i = 0; i < arrays->count; i++)
        arrays->b[i] = 3.0 * arrays->a[i];
}

static void add(struct arrays *arrays)
{
    for (size_t i = 0; i < arrays->count; i++)
        arrays->c[i] = arrays->a[i] + arrays->b[i];
}

static void triad(struct arrays *arrays)
{
    for (size_t i = 0; i < arrays->count; i++)
        arrays->c[i] = arrays->a[i] + 3.0 * arrays->b[i];
}

/* Rates of a kernel that moves so many bytes an element, and leaves `expected` in each element of what it writes. */
static int stream(const struct context *context, struct sampler *sampler, size_t bytes, double expected, kernel kernel,
                  int writes_b)
{
    size_t count = context->quick ? QUICK : ELEMENTS;
    double *memory = malloc(3 * count * sizeof *memory);
    if (!memory)
        return -1;
    struct arrays arrays = {memory, memory + count, memory + 2 * count, count};
    for (size_t i = 0; i < count; i++) {
        arrays.a[i] = 1.0;
        arrays.b[i] = 2.0;
        arrays.c[i] = 0.0;
    }
    kernel(&arrays);
    while (wants(sampler)) {
        uint64_t start = tsc();
        kernel(&arrays);
        BLACK_BOX(memory);
        push_rate(sampler, bytes * count, tsc() - start);
    }
    int wrong = 0;
    for (size_t i = 0; i < count; i++)
        wrong |= (writes_b ? arrays.b : arrays.c)[i] != expected;
    free(memory);
    return -wrong;
}

#define STREAM(KERNEL, BYTES, EXPECTED, WRITES_B)                                                                    \
    static int stream_##KERNEL(const struct context *context, struct sampler *sampler)                               \
    {                                                                                                                \
        return stream(context, sampler, BYTES, EXPECTED, KERNEL, WRITES_B);                                          \
    }
STREAM(copy, 16, 1.0, 0)
STREAM(scale, 16, 3.0, 1)
STREAM(add, 24, 3.0, 0)
STREAM(triad, 24, 7.0, 0)

struct line {
    uint32_t next;
    uint32_t rest[LINE / 4 - 1];
};

static uint32_t walk(const struct line *lines, uint32_t at, uint32_t steps)
{
    for (; steps > 0; steps--)
        at = lines[at].next;
    return at;
}

/* A load that waits for the one before, somewhere in `size` bytes: one cycle through all lines (Sattolo's algorithm). */
static int latency(struct sampler *sampler, size_t size)
{
    uint32_t count = (uint32_t)(size / LINE);
    struct line *lines = aligned_alloc(LINE, size);
    if (!lines)
        return -1;
    for (uint32_t i = 0; i < count; i++)
        lines[i].next = i;
    uint64_t state = 0x9e3779b97f4a7c15;
    for (uint32_t last = count - 1; last >= 1; last--) {
        uint32_t other = (uint32_t)below(&state, last), next = lines[last].next;
        lines[last].next = lines[other].next;
        lines[other].next = next;
    }
    uint32_t at = walk(lines, 0, count);
    int wrong = at != 0;
    at = walk(lines, 0, count < 64 * STEPS ? count : 64 * STEPS);
    while (wants(sampler)) {
        uint64_t start = tsc();
        at = walk(lines, at, STEPS);
        BLACK_BOX(&at);
        push(sampler, (tsc() - start) / STEPS);
    }
    free(lines);
    return -wrong;
}

#define LATENCY(NAME, SIZE)                                                                                          \
    static int NAME(const struct context *context, struct sampler *sampler)                                          \
    {                                                                                                                \
        (void)context;                                                                                               \
        return latency(sampler, SIZE);                                                                               \
    }
LATENCY(latency_4k, 4 << 10)
LATENCY(latency_32k, 32 << 10)
LATENCY(latency_256k, 256 << 10)
LATENCY(latency_2m, 2 << 20)
LATENCY(latency_16m, 16 << 20)

const struct benchmark memory_benchmarks[] = {
    {"memory.copy", "bytes", 10, stream_copy, 0},
    {"memory.scale", "bytes", 10, stream_scale, 0},
    {"memory.add", "bytes", 10, stream_add, 0},
    {"memory.triad", "bytes", 10, stream_triad, 0},
    {"memory.latency_4k", NULL, 40, latency_4k, 0},
    {"memory.latency_32k", NULL, 40, latency_32k, 0},
    {"memory.latency_256k", NULL, 40, latency_256k, 0},
    {"memory.latency_2m", NULL, 40, latency_2m, 0},
    {"memory.latency_16m", NULL, 40, latency_16m, 0},
    {0},
};
