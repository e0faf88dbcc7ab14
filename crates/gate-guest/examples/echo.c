// Sends back what it receives, one connection after the other. Built with a C library for WASI.
//
//     echo hello | gate run echo.wasm

#include "gate.h"

static struct gate gate;
static struct gate_stream stream;

int main(void) {
    int origin = gate_discover(&gate, "origin");
    if (origin < 0)
        return 1;
    while (gate_accept(&gate, origin, &stream) == 0) {
        static char buffer[8192];
        size_t size;
        while ((size = gate_read(&gate, &stream, buffer, sizeof buffer)) > 0) {
            if (gate_write(&gate, &stream, buffer, size) < size)
                break;
        }
        gate_close(&gate, &stream);
    }
    return 0;
}
