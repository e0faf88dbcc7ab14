// Counts primes by the sieve of Eratosthenes, one byte per number.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count(uint8_t *composite, int limit) {
    memset(composite, 0, limit);
    int primes = 0;
    for (int i = 2; i < limit; i++) {
        if (composite[i])
            continue;
        primes++;
        for (int64_t j = (int64_t)i * i; j < limit; j += i)
            composite[j] = 1;
    }
    return primes;
}

int main(int argc, char **argv) {
    int limit = argc > 1 ? atoi(argv[1]) : 100000;
    int rounds = argc > 2 ? atoi(argv[2]) : 1;
    uint8_t *composite = malloc(limit);
    int primes = 0;
    for (int i = 0; i < rounds; i++)
        primes = count(composite, limit);
    printf("%d primes below %d\n", primes, limit);
    return 0;
}
