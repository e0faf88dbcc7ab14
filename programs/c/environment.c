// What a program sees of its host: arguments, environment, standard streams, clocks, randomness. Ends with the
// exit code that the first argument says.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    const char *value = getenv("GATE_TEST");
    printf("GATE_TEST=%s\n", value ? value : "(not set)");

    unsigned char buffer[4096];
    size_t size, total = 0;
    uint32_t sum = 0;
    while ((size = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
        for (size_t i = 0; i < size; i++)
            sum = sum * 31 + buffer[i];
        total += size;
    }
    printf("%zu bytes of input, hash %u\n", total, (unsigned)sum);

    struct timespec a, b, now, resolution;
    int failed = clock_gettime(CLOCK_MONOTONIC, &a) || clock_gettime(CLOCK_REALTIME, &now) ||
                 clock_getres(CLOCK_MONOTONIC, &resolution) || clock_gettime(CLOCK_MONOTONIC, &b);
    int forward = b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec);
    printf("clocks: %s, %s, %s\n", failed ? "failed" : "work", forward ? "forward" : "backward",
           now.tv_sec > 1600000000 ? "this century" : "long ago");

    unsigned char random[64] = {0}, zero[64] = {0};
    failed = getentropy(random, sizeof random);
    printf("randomness: %s\n", failed || !memcmp(random, zero, sizeof zero) ? "none" : "some");

    FILE *file = fopen("/etc/passwd", "r");
#ifdef __wasi__
    printf("files: %s\n", file ? "open" : "closed");
#else
    (void)file;
    printf("files: closed\n");
#endif
    fprintf(stderr, "to standard error\n");
    return argc > 1 ? atoi(argv[1]) : 0;
}
