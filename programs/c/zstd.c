// Compresses standard input with Zstandard, decompresses it again, and compares.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "input.h"

int main(int argc, char **argv) {
    int level = argc > 1 ? atoi(argv[1]) : 9, rounds = argc > 2 ? atoi(argv[2]) : 1;
    size_t size, bound, packed_size = 0, unpacked_size = 0;
    char *data = read_input(&size);
    char *packed = malloc(bound = ZSTD_compressBound(size)), *unpacked = malloc(size + 1);
    for (int i = 0; i < rounds; i++) {
        packed_size = ZSTD_compress(packed, bound, data, size, level);
        if (ZSTD_isError(packed_size))
            return 1;
        unpacked_size = ZSTD_decompress(unpacked, size + 1, packed, packed_size);
        if (ZSTD_isError(unpacked_size))
            return 2;
    }
    int same = unpacked_size == size && !memcmp(data, unpacked, size);
    printf("%zu bytes, %zu packed, %s\n", size, packed_size, same ? "same" : "different");
    return same ? 0 : 3;
}
