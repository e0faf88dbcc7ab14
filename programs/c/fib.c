// Recursive Fibonacci numbers: calls and little else.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t fib(uint32_t n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

int main(int argc, char **argv) {
    uint32_t n = argc > 1 ? atoi(argv[1]) : 25;
    printf("fib(%u) = %u\n", n, fib(n));
    return 0;
}
