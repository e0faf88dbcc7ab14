// Sorts pseudo-random numbers: our own quicksort, then the C library's qsort with a comparison function.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void quicksort(uint32_t *a, int low, int high) {
    while (low < high) {
        uint32_t pivot = a[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        if (j - low < high - i) {
            quicksort(a, low, j);
            low = i;
        } else {
            quicksort(a, i, high);
            high = j;
        }
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void fill(uint32_t *a, int n) {
    uint32_t x = 2463534242u;
    for (int i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        a[i] = x;
    }
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 50000;
    uint32_t *a = malloc(sizeof *a * n), *b = malloc(sizeof *b * n);
    fill(a, n);
    fill(b, n);
    quicksort(a, 0, n - 1);
    qsort(b, n, sizeof *b, compare);
    int different = 0;
    for (int i = 0; i < n; i++)
        different += a[i] != b[i];
    printf("%d numbers, median %u, %d differences\n", n, a[n / 2], different);
    return different != 0;
}
