// Says something every so many milliseconds, three times; says then how often it was resumed. Built with a C library for WASI.
//
//     gate run ticks.wasm 100

#include "gate.h"
#include <stdio.h>
#include <stdlib.h>

static struct gate gate;

int main(int argc, char **argv) {
    uint64_t interval = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1000) * 1000000;
    // From now on, it can tell a resumption from its start.
    gate_wait(&gate, 0);
    uint64_t begin = gate_time();
    for (int tick = 1; tick <= 3; tick++) {
        gate_sleep(&gate, interval);
        printf("tick %d%s\n", tick, gate_time() - begin < interval * tick ? ", too early" : "");
        fflush(stdout);
    }
    printf("resumed %u times\n", gate.resumptions);
    return 0;
}
