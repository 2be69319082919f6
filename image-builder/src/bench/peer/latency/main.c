/*
 * The suites of the image `bench` on Linux: the same names, definitions and counts, one JSON object a line.
 *
 *   latency SUITE full|quick tsc|instructions
 *
 * Where Linux has no such operation, its nearest one is measured, and the benchmark says which. Threads have real-time
 * priorities, as ours have; the caller has switched off the limit on these.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sampler.h"

/* The priority that everything runs at unless it says otherwise. */
#define NORMAL 20

void push(struct sampler *sampler, uint64_t sample)
{
    if (sampler->warm_up > 0)
        sampler->warm_up--;
    else if (wants(sampler))
        sampler->samples[sampler->count++] = sample;
}

void push_rate(struct sampler *sampler, uint64_t things, uint64_t ticks)
{
    push(sampler, (unsigned __int128)things * sampler->context->hertz / (ticks ? ticks : 1));
}

uint64_t below(uint64_t *state, uint64_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % limit;
}

static int ascending(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static uint64_t at(const uint64_t *sorted, size_t count, size_t per_cent)
{
    return sorted[(count - 1) * per_cent / 100];
}

/* Samples further from the quartiles than three times the distance between these. */
static size_t outliers(const uint64_t *sorted, size_t count)
{
    uint64_t first = at(sorted, count, 25), third = at(sorted, count, 75), fence = (third - first) * 3;
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += sorted[i] + fence < first || sorted[i] > third + fence;
    return found;
}

static void print(const struct benchmark *benchmark, const struct context *context, uint64_t *samples, size_t count,
                  uint64_t *medians, size_t runs)
{
    char unit[64];
    if (benchmark->things)
        snprintf(unit, sizeof unit, "%s_per_%s", benchmark->things, context->instructions ? "1e9_instructions" : "second");
    else
        snprintf(unit, sizeof unit, "%s", context->instructions ? "instructions" : "tsc");
    qsort(samples, count, sizeof *samples, ascending);
    qsort(medians, runs, sizeof *medians, ascending);
    uint64_t middle = at(medians, runs, 50);
    double spread = middle ? (double)(medians[runs - 1] - medians[0]) / (double)middle : 0;
    printf("{\"name\":\"%s\",\"mode\":\"linux\",\"cpus\":%d,\"unit\":\"%s\",\"n\":%zu,\"min\":%lu,\"p50\":%lu,\"p99\":%lu,"
           "\"max\":%lu,\"runs\":%zu,\"spread\":%.3f,\"outliers\":%zu}\n",
           benchmark->name, context->cpus, unit, count, at(samples, count, 0), at(samples, count, 50),
           at(samples, count, 99), at(samples, count, 100), runs, spread, outliers(samples, count));
    fflush(stdout);
}

static int measure(const struct benchmark *benchmark, const struct context *context)
{
    size_t runs = context->quick ? 2 : 5;
    size_t wanted = context->quick ? (benchmark->samples + 9) / 10 : benchmark->samples;
    uint64_t *samples = calloc(runs * wanted, sizeof *samples), medians[5];
    for (size_t i = 0; i < runs; i++) {
        uint64_t *mine = samples + i * wanted;
        struct sampler sampler = {context, mine, 0, wanted, (wanted + 9) / 10};
        if (benchmark->run(context, &sampler) != 0) {
            fprintf(stderr, "ERROR %s failed\n", benchmark->name);
            free(samples);
            return -1;
        }
        qsort(mine, wanted, sizeof *mine, ascending);
        medians[i] = at(mine, wanted, 50);
    }
    print(benchmark, context, samples, runs * wanted, medians, runs);
    free(samples);
    return 0;
}

/* Ticks of the time-stamp counter a second, by the system's clock. */
static uint64_t hertz(void)
{
    struct timespec from, to, nap = {0, 100 * 1000 * 1000};
    clock_gettime(CLOCK_MONOTONIC, &from);
    uint64_t start = tsc();
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    uint64_t ticks = tsc() - start;
    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    return (uint64_t)((double)ticks / seconds);
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        const struct benchmark *benchmarks;
    } suites[] = {{"threads", thread_benchmarks},
                  {"memory", memory_benchmarks},
                  {"compute", compute_benchmarks},
                  {"storage", storage_benchmarks}};
    if (argc != 4) {
        fprintf(stderr, "usage: latency SUITE full|quick tsc|instructions\n");
        return 2;
    }
    struct context context = {.cpus = (int)sysconf(_SC_NPROCESSORS_ONLN),
                              .quick = strcmp(argv[2], "quick") == 0,
                              .instructions = strcmp(argv[3], "instructions") == 0};
    context.hertz = context.instructions ? 1000000000 : hertz();
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    struct sched_param priority = {.sched_priority = NORMAL};
    if (sched_setaffinity(0, sizeof first, &first) != 0 || sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
        perror("latency");
    /* A rounded result, as nearly all floating point leaves one (MXCSR.PE): without, QEMU computes bit by bit. */
    volatile double third = 1.0;
    third /= 3.0;
    int failed = 0;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (strcmp(suites[i].name, argv[1]) != 0)
            continue;
        for (const struct benchmark *benchmark = suites[i].benchmarks; benchmark->name; benchmark++)
            if (context.cpus >= benchmark->cpus)
                failed |= measure(benchmark, &context) != 0;
    }
    return failed;
}
