/*
 * Computing: the integer work of apps/bench's compute/integer.rs, line by line, with the same checksum; and a product of
 * matrices.
 */
#include <stdio.h>
#include <string.h>

#include "sampler.h"

/* What each iteration comes to. */
#define CHECKSUM 51616

enum { ITERATIONS = 4, NODES = 200, ORDER = 12, NONE = 0xffff, FLOATS = 48 };

static const char TEXT[] =
    "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,"
    "1T3.4e4z,34.0e-T^,9,,-,+.,e5,1e,2e-,";

/* CRC-16/ARC of a word, low byte first. */
static uint16_t crc(uint16_t sum, uint16_t word)
{
    for (int byte = 0; byte < 2; byte++) {
        sum ^= word >> (8 * byte) & 0xff;
        for (int bit = 0; bit < 8; bit++)
            sum = sum & 1 ? sum >> 1 ^ 0xa001 : sum >> 1;
    }
    return sum;
}

static struct {
    struct node {
        uint16_t next, value, place;
    } nodes[NODES];
    uint16_t head;
    int16_t a[ORDER * ORDER], b[ORDER * ORDER];
} work;

static uint16_t by_value(const struct node *node)
{
    return node->value;
}

static uint16_t by_place(const struct node *node)
{
    return node->place;
}

/* Sorts by merging ever longer runs; equal ones stay in order. */
static void sort(uint16_t (*key)(const struct node *))
{
    struct node *nodes = work.nodes;
    for (int length = 1;; length *= 2) {
        uint16_t left = work.head, tail = NONE;
        int merges = 0;
        work.head = NONE;
        while (left != NONE) {
            uint16_t right = left;
            int lefts = 0, rights = length;
            merges++;
            for (; lefts < length && right != NONE; lefts++)
                right = nodes[right].next;
            while (lefts > 0 || (rights > 0 && right != NONE)) {
                int takes_left =
                    lefts > 0 && (rights == 0 || right == NONE || key(&nodes[left]) <= key(&nodes[right]));
                uint16_t *taken = takes_left ? &left : &right, at = *taken;
                *taken = nodes[at].next;
                if (takes_left)
                    lefts--;
                else
                    rights--;
                if (tail == NONE)
                    work.head = at;
                else
                    nodes[tail].next = at;
                tail = at;
            }
            left = right;
        }
        if (tail != NONE)
            nodes[tail].next = NONE;
        if (merges <= 1)
            return;
    }
}

static void reverse(void)
{
    uint16_t at = work.head, reversed = NONE;
    while (at != NONE) {
        uint16_t next = work.nodes[at].next;
        work.nodes[at].next = reversed;
        reversed = at;
        at = next;
    }
    work.head = reversed;
}

static uint16_t find(uint16_t value)
{
    for (uint16_t at = work.head; at != NONE; at = work.nodes[at].next)
        if (work.nodes[at].value == value)
            return work.nodes[at].place;
    return NONE;
}

enum state { START, SIGN, WHOLE, FRACTION, EXPONENT, EXPONENT_SIGN, SCIENTIFIC, INVALID, STATES };

static enum state step(enum state state, char byte)
{
    int digit = byte >= '0' && byte <= '9', sign = byte == '+' || byte == '-';
    if (state == START && sign)
        return SIGN;
    if (state <= WHOLE && digit)
        return WHOLE;
    if (state <= WHOLE && byte == '.')
        return FRACTION;
    if (state == FRACTION && digit)
        return FRACTION;
    if ((state == WHOLE || state == FRACTION) && (byte == 'e' || byte == 'E'))
        return EXPONENT;
    if (state == EXPONENT && sign)
        return EXPONENT_SIGN;
    if ((state == EXPONENT || state == EXPONENT_SIGN || state == SCIENTIFIC) && digit)
        return SCIENTIFIC;
    return INVALID;
}

static uint16_t multiply(void)
{
    uint16_t sum = 0;
    for (int row = 0; row < ORDER; row++) {
        int32_t constant = 0;
        for (int column = 0; column < ORDER; column++) {
            int32_t product = 0, parts = 0;
            for (int i = 0; i < ORDER; i++) {
                int32_t value = (int32_t)work.a[row * ORDER + i] * work.b[i * ORDER + column];
                product += value;
                parts += (value >> 2 & 15) * (value >> 5 & 127);
            }
            sum = crc(sum, (uint16_t)product ^ (uint16_t)parts);
        }
        for (int i = 0; i < ORDER; i++)
            constant += work.a[row * ORDER + i] * 7;
        sum = crc(sum, (uint16_t)constant);
    }
    return sum;
}

static void prepare(void)
{
    uint64_t state = 0x5eed;
    work.head = 0;
    for (uint16_t i = 0; i < NODES; i++)
        work.nodes[i] = (struct node){i + 1 == NODES ? NONE : i + 1, (uint16_t)below(&state, 1 << 16) & 0x3ff, i};
    for (int i = 0; i < ORDER * ORDER; i++)
        work.a[i] = (int16_t)(uint16_t)below(&state, 1 << 16) >> 4;
    for (int i = 0; i < ORDER * ORDER; i++)
        work.b[i] = (int16_t)(uint16_t)below(&state, 1 << 16) >> 4;
}

/* One iteration. Everything is as it was afterwards. */
static uint16_t iterate(void)
{
    uint16_t sum = 0, ends[STATES] = {0};
    sort(by_value);
    for (uint16_t at = work.head; at != NONE; at = work.nodes[at].next)
        sum = crc(sum, work.nodes[at].value);
    for (uint16_t value = 0; value < 0x400; value += 64)
        sum = crc(sum, find(value));
    reverse();
    for (uint16_t at = work.head; at != NONE; at = work.nodes[at].next)
        sum = crc(sum, work.nodes[at].place);
    sort(by_place);
    sum = crc(sum, multiply());
    enum state state = START;
    for (const char *byte = TEXT; *byte; byte++) {
        if (*byte == ',') {
            ends[state]++;
            state = START;
        } else
            state = step(state, *byte);
    }
    for (int i = 0; i < STATES; i++)
        sum = crc(sum, ends[i]);
    return sum;
}

static int integer(const struct context *context, struct sampler *sampler)
{
    (void)context;
    prepare();
    while (wants(sampler)) {
        uint64_t start = tsc();
        for (int i = 0; i < ITERATIONS; i++) {
            BLACK_BOX(&work);
            uint16_t sum = iterate();
            if (sum != CHECKSUM) {
                fprintf(stderr, "ERROR compute.integer: %u instead of %u\n", sum, CHECKSUM);
                return -1;
            }
        }
        push_rate(sampler, ITERATIONS, tsc() - start);
    }
    return 0;
}

static double a[FLOATS * FLOATS], b[FLOATS * FLOATS], c[FLOATS * FLOATS];

static int left(int row, int column)
{
    return row * 3 + column - 70;
}

static int right(int row, int column)
{
    return row - column * 2;
}

/* Additions and multiplications of a product of two matrices. */
static int floats(const struct context *context, struct sampler *sampler)
{
    (void)context;
    for (int i = 0; i < FLOATS * FLOATS; i++) {
        a[i] = left(i / FLOATS, i % FLOATS);
        b[i] = right(i / FLOATS, i % FLOATS);
    }
    while (wants(sampler)) {
        uint64_t start = tsc();
        BLACK_BOX(a);
        memset(c, 0, sizeof c);
        for (int row = 0; row < FLOATS; row++)
            for (int i = 0; i < FLOATS; i++)
                for (int column = 0; column < FLOATS; column++)
                    c[row * FLOATS + column] += a[row * FLOATS + i] * b[i * FLOATS + column];
        BLACK_BOX(c);
        push_rate(sampler, 2L * FLOATS * FLOATS * FLOATS, tsc() - start);
    }
    for (int row = 0; row < FLOATS; row++) {
        int expected = 0;
        for (int i = 0; i < FLOATS; i++)
            expected += left(row, i) * right(i, row);
        if (c[row * FLOATS + row] != expected)
            return -1;
    }
    return 0;
}

const struct benchmark compute_benchmarks[] = {
    {"compute.integer", "iterations", 10, integer, 0},
    {"compute.float", "operations", 10, floats, 0},
    {0},
};
