// Product of two square matrices of doubles, row by column.
#include <stdio.h>
#include <stdlib.h>

static double *matrix(int n, int step) {
    double *m = malloc(sizeof(double) * n * n);
    for (int i = 0; i < n * n; i++)
        m[i] = (double)(i * step % 17) - 8;
    return m;
}

static void multiply(int n, const double *a, const double *b, double *c) {
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
    }
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 64;
    double *a = matrix(n, 3), *b = matrix(n, 5), *c = matrix(n, 0);
    multiply(n, a, b, c);
    double trace = 0;
    for (int i = 0; i < n; i++)
        trace += c[i * n + i];
    printf("trace of the %d by %d product: %.1f\n", n, n, trace);
    return 0;
}
