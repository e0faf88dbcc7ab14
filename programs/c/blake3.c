// Hashes standard input, and as many times the hash of what it has hashed before, with BLAKE3.
#include "blake3.h"
#include "input.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    size_t size;
    char *bytes = read_input(&size);
    uint8_t hash[BLAKE3_OUT_LEN] = {0};
    for (int i = 0; i < rounds; i++) {
        blake3_hasher hasher;
        blake3_hasher_init_keyed(&hasher, hash);
        blake3_hasher_update(&hasher, bytes, size);
        blake3_hasher_finalize(&hasher, hash, sizeof hash);
    }
    for (size_t i = 0; i < sizeof hash; i++)
        printf("%02x", hash[i]);
    printf("\n");
    return 0;
}
