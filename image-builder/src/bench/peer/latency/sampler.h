/*
 * Taking samples as the image `bench` does (apps/bench): a warm-up that is thrown away, then as many as are wanted; several
 * runs of each benchmark. A time is in ticks of the time-stamp counter.
 */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What benchmarks need to know. */
struct context {
    int cpus;
    uint64_t hertz;    /* ticks a second */
    bool instructions; /* one tick is one instruction */
    bool quick;        /* a tenth of the samples, in fewer runs and of smaller things */
};

/* The samples of one run. */
struct sampler {
    const struct context *context;
    uint64_t *samples;
    size_t count, wanted, warm_up;
};

/* 0, or -1 where there is something wrong: then there is no figure. */
typedef int (*run)(const struct context *context, struct sampler *sampler);

/* Something that is measured. A rate counts `things`; a time has none. */
struct benchmark {
    const char *name, *things;
    size_t samples;
    run run;
    int cpus; /* as many are needed; 0: any */
};

extern const struct benchmark thread_benchmarks[], memory_benchmarks[], compute_benchmarks[], storage_benchmarks[];

static inline uint64_t tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline bool wants(const struct sampler *sampler)
{
    return sampler->count < sampler->wanted;
}

void push(struct sampler *sampler, uint64_t sample);
void push_rate(struct sampler *sampler, uint64_t things, uint64_t ticks);

/* Numbers that look random, the same each time (Marsaglia's xorshift64); less than `limit`. */
uint64_t below(uint64_t *state, uint64_t limit);

/* The compiler must not know what happens to the memory at `place`. */
#define BLACK_BOX(place) __asm__ volatile("" : : "r"(place) : "memory")

/* Samples of the mean of `COUNT` executions of the statements that follow. */
#define BATCHES(sampler, COUNT, ...)                                                                                 \
    while (wants(sampler)) {                                                                                         \
        uint64_t start_ = tsc();                                                                                     \
        for (int batch_ = 0; batch_ < (COUNT); batch_++) {                                                           \
            __VA_ARGS__;                                                                                             \
        }                                                                                                            \
        push(sampler, (tsc() - start_) / (COUNT));                                                                   \
    }

#endif
