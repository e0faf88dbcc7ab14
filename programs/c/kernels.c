// Kernels as numerical benchmarks have them: Cholesky decomposition, Gram-Schmidt orthogonalisation, shortest paths, a
// Gauss-Seidel stencil, a recurrence of Toeplitz systems, and an alignment by dynamic programming.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static double *doubles(int count) {
    return malloc(sizeof(double) * count);
}

static double cholesky(int n) {
    double *a = doubles(n * n), trace = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            a[i * n + j] = i == j ? 2.0 * n : 1.0 / (1 + (i > j ? i - j : j - i));
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (int k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
        trace += a[i * n + i];
    }
    free(a);
    return trace;
}

static double gram_schmidt(int n) {
    double *a = doubles(n * n), sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            a[i * n + j] = ((i * 7 + j * 11) % 17) / 17.0 + (i == j);
    for (int k = 0; k < n; k++) {
        double norm = 0;
        for (int i = 0; i < n; i++)
            norm += a[i * n + k] * a[i * n + k];
        norm = sqrt(norm);
        sum += norm;
        for (int i = 0; i < n; i++)
            a[i * n + k] /= norm;
        for (int j = k + 1; j < n; j++) {
            double dot = 0;
            for (int i = 0; i < n; i++)
                dot += a[i * n + k] * a[i * n + j];
            for (int i = 0; i < n; i++)
                a[i * n + j] -= dot * a[i * n + k];
        }
    }
    free(a);
    return sum;
}

static int64_t shortest_paths(int n) {
    int *d = malloc(sizeof(int) * n * n);
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            d[i * n + j] = i == j ? 0 : (i * 31 + j * 17) % 23 ? (i * j) % 97 + 1 : 10000;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                int through = d[i * n + k] + d[k * n + j];
                if (through < d[i * n + j])
                    d[i * n + j] = through;
            }
    for (int i = 0; i < n * n; i++)
        sum += d[i];
    free(d);
    return sum;
}

static double seidel(int n, int steps) {
    double *a = doubles(n * n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            a[i * n + j] = (double)i * (j + 2) / n;
    for (int step = 0; step < steps; step++)
        for (int i = 1; i < n - 1; i++)
            for (int j = 1; j < n - 1; j++) {
                double *row = a + i * n + j;
                row[0] = (row[-n - 1] + row[-n] + row[-n + 1] + row[-1] + row[0] + row[1] + row[n - 1] + row[n] + row[n + 1]) / 9;
            }
    double centre = a[n / 2 * n + n / 3];
    free(a);
    return centre;
}

static double durbin(int n) {
    double *r = doubles(n), *y = doubles(n), *z = doubles(n), alpha, beta = 1;
    for (int i = 0; i < n; i++)
        r[i] = 0.9 / (i + 2);
    alpha = y[0] = -r[0];
    for (int k = 1; k < n; k++) {
        double sum = r[k];
        beta *= 1 - alpha * alpha;
        for (int i = 0; i < k; i++)
            sum += r[k - i - 1] * y[i];
        alpha = -sum / beta;
        for (int i = 0; i < k; i++)
            z[i] = y[i] + alpha * y[k - i - 1];
        for (int i = 0; i < k; i++)
            y[i] = z[i];
        y[k] = alpha;
    }
    double last = y[n / 2];
    free(r), free(y), free(z);
    return last * 1e6;
}

static int align(int n) {
    int *row = calloc(n + 1, sizeof(int));
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        for (int j = 1; j <= n; j++) {
            int up = row[j], score = diagonal + ((i * 5 + 1) % 7 == j * 3 % 7 ? 2 : -1);
            if (score < up - 2)
                score = up - 2;
            if (score < row[j - 1] - 2)
                score = row[j - 1] - 2;
            row[j] = score < 0 ? 0 : score;
            diagonal = up;
        }
    }
    int best = 0;
    for (int j = 0; j <= n; j++)
        if (row[j] > best)
            best = row[j];
    free(row);
    return best;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 40;
    printf("%.9f\n", cholesky(n));
    printf("%.9f\n", gram_schmidt(n));
    printf("%lld\n", (long long)shortest_paths(n));
    printf("%.9f\n", seidel(n, 20));
    printf("%.9f\n", durbin(4 * n));
    printf("%d\n", align(4 * n));
    return 0;
}
