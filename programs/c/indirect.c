// A stack machine whose instructions are called through a table of function pointers.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct machine {
    uint32_t stack[16];
    int top, pc;
    uint32_t left;
};

struct instruction {
    void (*run)(struct machine *, uint32_t);
    uint32_t operand;
};

static void push(struct machine *m, uint32_t x) {
    m->stack[m->top++] = x;
}

static void add(struct machine *m, uint32_t unused) {
    (void)unused;
    m->top--;
    m->stack[m->top - 1] += m->stack[m->top];
}

static void multiply(struct machine *m, uint32_t unused) {
    (void)unused;
    m->top--;
    m->stack[m->top - 1] *= m->stack[m->top];
}

static void exchange(struct machine *m, uint32_t unused) {
    (void)unused;
    uint32_t t = m->stack[m->top - 1];
    m->stack[m->top - 1] = m->stack[m->top - 2];
    m->stack[m->top - 2] = t;
}

static void shift_xor(struct machine *m, uint32_t n) {
    m->stack[m->top - 1] ^= m->stack[m->top - 1] >> n;
}

static void repeat(struct machine *m, uint32_t target) {
    if (--m->left)
        m->pc = target;
}

static void stop(struct machine *m, uint32_t unused) {
    (void)unused;
    m->pc = -1;
}

int main(int argc, char **argv) {
    static const struct instruction program[] = {
        {push, 1}, {push, 2},        {exchange, 0}, {push, 1664525},    {multiply, 0}, {push, 1013904223},
        {add, 0},  {shift_xor, 15},  {exchange, 0}, {push, 2654435769}, {add, 0},      {shift_xor, 7},
        {repeat, 2}, {add, 0},       {stop, 0},
    };
    struct machine m = {.left = argc > 1 ? atoi(argv[1]) : 10000};
    while (m.pc >= 0) {
        const struct instruction *i = &program[m.pc++];
        i->run(&m, i->operand);
    }
    printf("top of the stack: %u\n", m.stack[m.top - 1]);
    return 0;
}
