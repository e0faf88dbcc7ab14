// Numerical kernels: LU decomposition, a five-point stencil, and a correlation matrix.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double *matrix(int n, double (*value)(int, int)) {
    double *m = malloc(sizeof(double) * n * n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            m[i * n + j] = value(i, j);
    return m;
}

static double dominant(int i, int j) {
    return i == j ? 100.0 : 1.0 / (1 + i + 2 * j);
}

static double wave(int i, int j) {
    return (i * j % 13) / 13.0 + (i + j) % 7;
}

static double lu(int n) {
    double *a = matrix(n, dominant), determinant = 0;
    for (int k = 0; k < n; k++) {
        for (int i = k + 1; i < n; i++) {
            double factor = a[i * n + k] /= a[k * n + k];
            for (int j = k + 1; j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
        }
        determinant += log(a[k * n + k]);
    }
    free(a);
    return determinant;
}

static double relax(int n, int steps) {
    double *a = matrix(n, wave), *b = matrix(n, wave);
    for (int step = 0; step < steps; step++) {
        for (int i = 1; i < n - 1; i++)
            for (int j = 1; j < n - 1; j++)
                b[i * n + j] = 0.2 * (a[i * n + j] + a[i * n + j - 1] + a[i * n + j + 1] +
                                      a[(i - 1) * n + j] + a[(i + 1) * n + j]);
        double *t = a;
        a = b;
        b = t;
    }
    double centre = a[n / 2 * n + n / 2];
    free(a);
    free(b);
    return centre;
}

static double correlate(int n) {
    double *m = matrix(n, wave), sum = 0;
    for (int i = 0; i < n; i++) {
        for (int j = i; j < n; j++) {
            double ab = 0, aa = 0, bb = 0;
            for (int k = 0; k < n; k++) {
                double a = m[i * n + k] - 3, b = m[j * n + k] - 3;
                ab += a * b, aa += a * a, bb += b * b;
            }
            sum += ab / sqrt(aa * bb + 1);
        }
    }
    free(m);
    return sum;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 48;
    printf("%.6f %.6f %.6f\n", lu(n), relax(n, 20), correlate(n));
    return 0;
}
