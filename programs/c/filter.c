// Image filters over bytes, which the compiler turns into vector instructions.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 1024, HEIGHT = 64 };

static uint8_t image[HEIGHT][WIDTH], blurred[HEIGHT][WIDTH], edges[HEIGHT][WIDTH];

static void blur(void) {
    for (int y = 1; y < HEIGHT - 1; y++)
        for (int x = 1; x < WIDTH - 1; x++)
            blurred[y][x] = (image[y - 1][x] + image[y + 1][x] + image[y][x - 1] + image[y][x + 1] +
                             4 * image[y][x] + 4) >> 3;
}

static void detect(int threshold) {
    for (int y = 0; y < HEIGHT - 1; y++)
        for (int x = 0; x < WIDTH; x++) {
            int d = blurred[y][x] - blurred[y + 1][x];
            edges[y][x] = (d < 0 ? -d : d) > threshold ? 255 : 0;
        }
}

static void mix(void) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            image[y][x] = (3 * image[y][x] + edges[y][x]) >> 2 ^ blurred[y][x];
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 20;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            image[y][x] = x * y + (x ^ y);
    for (int i = 0; i < rounds; i++) {
        blur();
        detect(16);
        mix();
    }
    uint32_t sum = 0, weighted = 0;
    float mean = 0;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            sum += image[y][x];
            weighted += image[y][x] * (uint32_t)(x + y * WIDTH);
            mean += image[y][x] * (1.0f / 64);
        }
    printf("%u %u %.3f\n", sum, weighted, mean);
    return 0;
}
