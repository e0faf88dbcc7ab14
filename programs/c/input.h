// Standard input as a whole, and a hash to report what came out.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// Followed by a zero byte that is not counted.
static char *read_input(size_t *size) {
    size_t capacity = 1 << 16, got;
    char *data = malloc(capacity + 1);
    *size = 0;
    while ((got = fread(data + *size, 1, capacity - *size, stdin)) > 0) {
        *size += got;
        if (*size == capacity)
            data = realloc(data, (capacity *= 2) + 1);
    }
    data[*size] = 0;
    return data;
}

// FNV-1a.
static inline uint32_t hash(const void *data, size_t size) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 16777619u;
    return h;
}
