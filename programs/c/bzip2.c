// Compresses standard input with bzip2, decompresses it again, and compares.
#include <bzlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"

void bz_internal_error(int code) {
    fprintf(stderr, "bzip2: internal error %d\n", code);
    abort();
}

int main(int argc, char **argv) {
    int level = argc > 1 ? atoi(argv[1]) : 9, rounds = argc > 2 ? atoi(argv[2]) : 1;
    size_t size;
    char *data = read_input(&size);
    unsigned packed_size = 0, unpacked_size = 0;
    char *packed = malloc(size + size / 100 + 600), *unpacked = malloc(size + 1);
    for (int i = 0; i < rounds; i++) {
        packed_size = size + size / 100 + 600;
        unpacked_size = size + 1;
        if (BZ2_bzBuffToBuffCompress(packed, &packed_size, data, size, level, 0, 0) != BZ_OK)
            return 1;
        if (BZ2_bzBuffToBuffDecompress(unpacked, &unpacked_size, packed, packed_size, 0, 0) != BZ_OK)
            return 2;
    }
    int same = unpacked_size == size && !memcmp(data, unpacked, size);
    printf("%zu bytes, %u packed, hash %08x, %s\n", size, packed_size, hash(packed, packed_size),
           same ? "same" : "different");
    return same ? 0 : 3;
}
