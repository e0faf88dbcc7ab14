// Image work: makes a picture, blurs it, looks for edges, scales it, and compresses it by blocks of cosine transforms.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int width, height;
    uint8_t *pixels;
} Image;

static Image image(int width, int height) {
    return (Image){width, height, calloc(width * height, 3)};
}

static uint8_t *at(Image *im, int x, int y) {
    x = x < 0 ? 0 : x >= im->width ? im->width - 1 : x;
    y = y < 0 ? 0 : y >= im->height ? im->height - 1 : y;
    return im->pixels + 3 * (y * im->width + x);
}

static uint32_t hash(Image *im) {
    uint32_t hash = 2166136261u;
    for (int i = 0; i < im->width * im->height * 3; i++)
        hash = (hash ^ im->pixels[i]) * 16777619u;
    return hash;
}

static Image draw(int width, int height) {
    Image im = image(width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = at(&im, x, y);
            int dx = x - width / 2, dy = y - height / 2, ring = (dx * dx + dy * dy) >> 7;
            p[0] = x * 255 / width, p[1] = ring & 255, p[2] = (x ^ y) & 255;
        }
    return im;
}

// A Gaussian of five pixels, first along rows, then along columns.
static Image blur(Image *from) {
    static const int weights[5] = {1, 4, 6, 4, 1};
    Image rows = image(from->width, from->height), out = image(from->width, from->height);
    for (int pass = 0; pass < 2; pass++) {
        Image *source = pass ? &rows : from, *target = pass ? &out : &rows;
        for (int y = 0; y < from->height; y++)
            for (int x = 0; x < from->width; x++) {
                int sums[3] = {0};
                for (int k = -2; k <= 2; k++) {
                    uint8_t *p = pass ? at(source, x, y + k) : at(source, x + k, y);
                    for (int c = 0; c < 3; c++)
                        sums[c] += weights[k + 2] * p[c];
                }
                for (int c = 0; c < 3; c++)
                    at(target, x, y)[c] = sums[c] / 16;
            }
    }
    free(rows.pixels);
    return out;
}

static Image edges(Image *from) {
    Image out = image(from->width, from->height);
    for (int y = 0; y < from->height; y++)
        for (int x = 0; x < from->width; x++)
            for (int c = 0; c < 3; c++) {
                int gx = 0, gy = 0;
                for (int k = -1; k <= 1; k++) {
                    int weight = k ? 1 : 2;
                    gx += weight * (at(from, x + 1, y + k)[c] - at(from, x - 1, y + k)[c]);
                    gy += weight * (at(from, x + k, y + 1)[c] - at(from, x + k, y - 1)[c]);
                }
                int size = sqrtf(gx * gx + gy * gy);
                at(&out, x, y)[c] = size > 255 ? 255 : size;
            }
    return out;
}

static Image scale(Image *from, int width, int height) {
    Image out = image(width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            float sx = (float)x * from->width / width, sy = (float)y * from->height / height;
            int ix = sx, iy = sy;
            float fx = sx - ix, fy = sy - iy;
            for (int c = 0; c < 3; c++) {
                float top = at(from, ix, iy)[c] * (1 - fx) + at(from, ix + 1, iy)[c] * fx;
                float bottom = at(from, ix, iy + 1)[c] * (1 - fx) + at(from, ix + 1, iy + 1)[c] * fx;
                at(&out, x, y)[c] = top * (1 - fy) + bottom * fy;
            }
        }
    return out;
}

// Number of coefficients that are not zero after quantisation.
static int compress(Image *from, int quality) {
    static float cosines[8][8];
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 8; i++)
            cosines[k][i] = cos((2 * i + 1) * k * 3.14159265358979 / 16) * (k ? 0.5 : 0.35355339059327);
    int left = 0;
    for (int y = 0; y < from->height; y += 8)
        for (int x = 0; x < from->width; x += 8)
            for (int c = 0; c < 3; c++) {
                float block[8][8], half[8][8];
                for (int i = 0; i < 8; i++)
                    for (int j = 0; j < 8; j++)
                        block[i][j] = at(from, x + j, y + i)[c] - 128;
                for (int i = 0; i < 8; i++)
                    for (int k = 0; k < 8; k++) {
                        float sum = 0;
                        for (int j = 0; j < 8; j++)
                            sum += block[i][j] * cosines[k][j];
                        half[i][k] = sum;
                    }
                for (int l = 0; l < 8; l++)
                    for (int k = 0; k < 8; k++) {
                        float sum = 0;
                        for (int i = 0; i < 8; i++)
                            sum += half[i][k] * cosines[l][i];
                        left += (int)(sum / (quality * (1 + k + l))) != 0;
                    }
            }
    return left;
}

int main(int argc, char **argv) {
    int size = argc > 1 ? atoi(argv[1]) : 96;
    Image picture = draw(size, size * 3 / 4);
    Image soft = blur(&picture), lines = edges(&soft), small = scale(&soft, size / 3, size / 4), large = scale(&small, size, size);
    printf("%08x %08x %08x %08x %08x\n", hash(&picture), hash(&soft), hash(&lines), hash(&small), hash(&large));
    printf("%d %d\n", compress(&picture, 4), compress(&large, 4));
    return 0;
}
