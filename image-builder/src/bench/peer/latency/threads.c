/* Threads, what they wait with, pages, timers, signals: all on one CPU where nothing else is said. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sampler.h"

enum { LOW = 10, NORMAL = 20, HIGH = 30 };
enum { PAGE = 4096, NAP = 200 /* microseconds */ };

/* What the two threads of a benchmark share. */
static struct {
    atomic_bool stop;
    _Atomic uint64_t stamp; /* the other one's moment; 0: not yet */
    atomic_int token[2];    /* parked on: one for each */
    sem_t ping, pong;
    pthread_mutex_t mutex;
} shared;

static void stamp(void)
{
    atomic_store_explicit(&shared.stamp, tsc(), memory_order_release);
}

static void park(int who)
{
    while (atomic_exchange(&shared.token[who], 0) == 0)
        syscall(SYS_futex, &shared.token[who], FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void unpark(int who)
{
    atomic_store(&shared.token[who], 1);
    syscall(SYS_futex, &shared.token[who], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static uint64_t take(void (*wait)(void))
{
    for (;;) {
        uint64_t ticks = atomic_exchange_explicit(&shared.stamp, 0, memory_order_acq_rel);
        if (ticks)
            return ticks;
        wait();
    }
}

static void spin(void)
{
    __asm__ volatile("pause");
}

static void yield(void)
{
    sched_yield();
}

static void park_me(void)
{
    park(0);
}

static void *work(void *turn)
{
    while (!atomic_load_explicit(&shared.stop, memory_order_acquire))
        ((void (*)(void))turn)();
    return NULL;
}

/* A second thread, which does `turn` until it is stopped. */
static int start(pthread_t *partner, int cpu, int priority, void (*turn)(void))
{
    atomic_store(&shared.stop, false);
    atomic_store(&shared.stamp, 0);
    atomic_store(&shared.token[0], 0);
    atomic_store(&shared.token[1], 0);
    sem_init(&shared.ping, 0, 0);
    sem_init(&shared.pong, 0, 0);
    pthread_mutex_init(&shared.mutex, NULL);
    pthread_attr_t attributes;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    struct sched_param parameter = {.sched_priority = priority};
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof cpus, &cpus);
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &parameter);
    return pthread_create(partner, &attributes, work, (void *)turn) == 0 ? 0 : -1;
}

static int stop(pthread_t partner)
{
    atomic_store(&shared.stop, true);
    unpark(1);
    sem_post(&shared.ping);
    return pthread_join(partner, NULL) == 0 ? 0 : -1;
}

/* Two readings of the clock, one after the other. */
static int clock_read(const struct context *context, struct sampler *sampler)
{
    (void)context;
    BATCHES(sampler, 1, (void)0);
    return 0;
}

static void *nothing(void *argument)
{
    return argument;
}

static int create(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t thread;
    BATCHES(sampler, 1, if (pthread_create(&thread, NULL, nothing, NULL) != 0) return -1; pthread_join(thread, NULL));
    return 0;
}

static int yields(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t partner;
    if (start(&partner, 0, NORMAL, yield) != 0)
        return -1;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        sched_yield();
        push(sampler, (tsc() - begin) / 2);
    }
    return stop(partner);
}

static void sleeper(void)
{
    park(1);
    stamp();
}

/* A futex for `unpark` and `park`. */
static int wakes(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t partner;
    if (start(&partner, 0, HIGH, sleeper) != 0)
        return -1;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        unpark(1);
        push(sampler, take(yield) - begin);
    }
    return stop(partner);
}

static void answer(void)
{
    park(1);
    stamp();
    unpark(0);
}

static int park_on(int cpu, struct sampler *sampler)
{
    pthread_t partner;
    if (start(&partner, cpu, NORMAL, answer) != 0)
        return -1;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        unpark(1);
        take(park_me);
        push(sampler, (tsc() - begin) / 2);
    }
    return stop(partner);
}

static int parks(const struct context *context, struct sampler *sampler)
{
    (void)context;
    return park_on(0, sampler);
}

static int ipi_wake(const struct context *context, struct sampler *sampler)
{
    (void)context;
    return park_on(1, sampler);
}

static void pong(void)
{
    sem_wait(&shared.ping);
    sem_post(&shared.pong);
}

static int semaphores(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t partner;
    if (start(&partner, 0, NORMAL, pong) != 0)
        return -1;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        sem_post(&shared.ping);
        sem_wait(&shared.pong);
        push(sampler, (tsc() - begin) / 2);
    }
    return stop(partner);
}

static int mutex(const struct context *context, struct sampler *sampler)
{
    (void)context;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    uint64_t value = 0;
    BATCHES(sampler, 64, pthread_mutex_lock(&lock); BLACK_BOX(&value); value++; pthread_mutex_unlock(&lock));
    return 0;
}

static void contend(void)
{
    sem_wait(&shared.ping);
    pthread_mutex_lock(&shared.mutex);
    stamp();
    pthread_mutex_unlock(&shared.mutex);
}

static int contended(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t partner;
    if (start(&partner, 0, HIGH, contend) != 0)
        return -1;
    while (wants(sampler)) {
        pthread_mutex_lock(&shared.mutex);
        sem_post(&shared.ping); /* it runs at once, as far as the lock */
        uint64_t begin = tsc();
        pthread_mutex_unlock(&shared.mutex);
        push(sampler, take(yield) - begin);
    }
    return stop(partner);
}

static int block(struct sampler *sampler, size_t size)
{
    BATCHES(sampler, 16, void *block = malloc(size); BLACK_BOX(block); free(block));
    return 0;
}

#define HEAP(NAME, SIZE)                                                                                             \
    static int NAME(const struct context *context, struct sampler *sampler)                                          \
    {                                                                                                                \
        (void)context;                                                                                               \
        return block(sampler, SIZE);                                                                                 \
    }
HEAP(alloc_64, 64)
HEAP(alloc_1k, 1 << 10)
HEAP(alloc_8k, 8 << 10)
HEAP(alloc_64k, 64 << 10)
HEAP(alloc_1m, 1 << 20)

static volatile char *map(int flags)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return page == MAP_FAILED ? NULL : page;
}

/* mmap with its frame at once: MAP_POPULATE. */
static int page_map(const struct context *context, struct sampler *sampler)
{
    (void)context;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        volatile char *page = map(MAP_POPULATE);
        push(sampler, tsc() - begin);
        if (!page || munmap((void *)page, PAGE) != 0)
            return -1;
    }
    return 0;
}

static int page_protect(const struct context *context, struct sampler *sampler)
{
    (void)context;
    volatile char *page = map(MAP_POPULATE);
    for (int turn = 0; page && wants(sampler); turn++) {
        (void)*page;
        uint64_t begin = tsc();
        int failed = mprotect((void *)page, PAGE, turn % 2 ? PROT_READ | PROT_WRITE : PROT_READ);
        push(sampler, tsc() - begin);
        if (failed)
            return -1;
    }
    return page && munmap((void *)page, PAGE) == 0 ? 0 : -1;
}

static int page_unmap(const struct context *context, struct sampler *sampler)
{
    (void)context;
    while (wants(sampler)) {
        volatile char *page = map(MAP_POPULATE);
        if (!page)
            return -1;
        (void)*page;
        uint64_t begin = tsc();
        munmap((void *)page, PAGE);
        push(sampler, tsc() - begin);
    }
    return 0;
}

/* The first reading of a page: the fault, and the page of noughts that lies ready. */
static int page_fault(const struct context *context, struct sampler *sampler)
{
    (void)context;
    while (wants(sampler)) {
        volatile char *page = map(0);
        if (!page)
            return -1;
        uint64_t begin = tsc();
        (void)*page;
        push(sampler, tsc() - begin);
        munmap((void *)page, PAGE);
    }
    return 0;
}

static void nap(void)
{
    struct timespec time = {0, NAP * 1000};
    nanosleep(&time, NULL);
}

/* When the other one is to wake up, in nanoseconds of the system's clock. */
static _Atomic int64_t due;

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void sleep_until_due(void)
{
    park(1);
    int64_t then = atomic_load(&due);
    struct timespec time = {then / 1000000000, then % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* A timer interrupt that makes a sleeper of lower priority ready, seen as a gap between two readings of the clock. */
static int timer(const struct context *context, struct sampler *sampler)
{
    pthread_t partner;
    (void)context;
    if (start(&partner, 0, LOW, sleep_until_due) != 0)
        return -1;
    while (wants(sampler)) {
        /* Asleep until then while this thread sleeps, and for longer than this one may oversleep. */
        int64_t wake = nanoseconds() + 8 * NAP * 1000;
        atomic_store(&due, wake);
        unpark(1);
        nap();
        uint64_t last = tsc(), gap = 0;
        while (nanoseconds() < wake + NAP * 1000) {
            uint64_t now = tsc();
            gap = now - last > gap ? now - last : gap;
            last = now;
        }
        push(sampler, gap);
    }
    return stop(partner);
}

static int late(const struct context *context, struct sampler *sampler)
{
    uint64_t wanted = context->hertz * NAP / 1000000;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        nap();
        uint64_t slept = tsc() - begin;
        push(sampler, slept > wanted ? slept - wanted : 0);
    }
    return 0;
}

static void on_signal(int number)
{
    (void)number;
    stamp();
}

static void on_signal_wake(int number)
{
    (void)number;
    unpark(1);
}

static int to_self(struct sampler *sampler, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    if (sigaction(SIGUSR1, &action, NULL) != 0)
        return -1;
    while (wants(sampler)) {
        uint64_t begin = tsc();
        raise(SIGUSR1);
        push(sampler, take(spin) - begin);
    }
    return 0;
}

/* A signal to oneself in place of an interrupt: what a program here gets of one. */
static int signal_handler(const struct context *context, struct sampler *sampler)
{
    (void)context;
    atomic_store(&shared.stamp, 0);
    return to_self(sampler, on_signal);
}

static int signal_thread(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t partner;
    if (start(&partner, 0, HIGH, sleeper) != 0)
        return -1;
    int result = to_self(sampler, on_signal_wake);
    return stop(partner) | result;
}

/* membarrier: it interrupts the other CPUs that run this program, and waits until they have answered. */
static int ipi(const struct context *context, struct sampler *sampler)
{
    (void)context;
    pthread_t partner;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0 ||
        start(&partner, 1, NORMAL, spin) != 0)
        return -1;
    BATCHES(sampler, 1, syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    return stop(partner);
}

const struct benchmark thread_benchmarks[] = {
    {"clock.read", NULL, 400, clock_read, 0},
    {"thread.create", NULL, 200, create, 0},
    {"thread.yield", NULL, 400, yields, 0},
    {"thread.wake", NULL, 400, wakes, 0},
    {"thread.park", NULL, 400, parks, 0},
    {"semaphore.ping_pong", NULL, 400, semaphores, 0},
    {"mutex.uncontended", NULL, 200, mutex, 0},
    {"mutex.contended", NULL, 400, contended, 0},
    {"heap.alloc_64", NULL, 200, alloc_64, 0},
    {"heap.alloc_1k", NULL, 200, alloc_1k, 0},
    {"heap.alloc_8k", NULL, 200, alloc_8k, 0},
    {"heap.alloc_64k", NULL, 200, alloc_64k, 0},
    {"heap.alloc_1m", NULL, 200, alloc_1m, 0},
    {"page.map", NULL, 200, page_map, 0},
    {"page.protect", NULL, 200, page_protect, 0},
    {"page.unmap", NULL, 200, page_unmap, 0},
    {"page.fault", NULL, 200, page_fault, 0},
    {"timer.interrupt", NULL, 40, timer, 0},
    {"timer.late", NULL, 40, late, 0},
    {"interrupt.handler", NULL, 200, signal_handler, 0},
    {"interrupt.thread", NULL, 200, signal_thread, 0},
    {"ipi.round_trip", NULL, 200, ipi, 2},
    {"ipi.wake", NULL, 200, ipi_wake, 2},
    {0},
};
