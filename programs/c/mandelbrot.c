// The Mandelbrot set as a PBM image: binary output.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int size = argc > 1 ? atoi(argv[1]) : 96;
    printf("P4\n%d %d\n", size, size);
    for (int row = 0; row < size; row++) {
        int bits = 0;
        for (int column = 0; column < size; column++) {
            double cr = 2.0 * column / size - 1.5, ci = 2.0 * row / size - 1.0;
            double zr = 0, zi = 0;
            int i = 0;
            for (; i < 50 && zr * zr + zi * zi <= 4.0; i++) {
                double t = zr * zr - zi * zi + cr;
                zi = 2.0 * zr * zi + ci;
                zr = t;
            }
            bits = bits << 1 | (i == 50);
            if (column % 8 == 7 || column == size - 1) {
                putchar(bits << (7 - column % 8));
                bits = 0;
            }
        }
    }
    return 0;
}
