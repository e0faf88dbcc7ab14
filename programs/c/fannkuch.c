// Reversals of prefixes over all permutations: small arrays and unpredictable branches.
#include <stdio.h>
#include <stdlib.h>

enum { MAX = 16 };

static int flips(const int *permutation, int n) {
    int p[MAX], count = 0;
    for (int i = 0; i < n; i++)
        p[i] = permutation[i];
    for (int first; (first = p[0]) != 0; count++) {
        for (int i = 0, j = first; i < j; i++, j--) {
            int t = p[i];
            p[i] = p[j];
            p[j] = t;
        }
    }
    return count;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 8;
    if (n < 2 || n > MAX)
        return 2;
    int permutation[MAX], rotations[MAX] = {0}, max = 0, checksum = 0;
    for (int i = 0; i < n; i++)
        permutation[i] = i;
    for (int even = 1, done = 0; !done; even = !even) {
        int f = flips(permutation, n);
        max = f > max ? f : max;
        checksum += even ? f : -f;
        done = 1;
        for (int i = 1; i < n; i++) {
            int first = permutation[0];
            for (int j = 0; j < i; j++)
                permutation[j] = permutation[j + 1];
            permutation[i] = first;
            if (++rotations[i] <= i) {
                done = 0;
                break;
            }
            rotations[i] = 0;
        }
    }
    printf("checksum %d, at most %d flips of %d\n", checksum, max, n);
    return 0;
}
