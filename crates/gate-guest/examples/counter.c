// Counts how often it was run, with the service `kv`, and tells who is attached. Built without any library.
//
//     gate run --service kv=counters.db counter.wasm

#include "gate.h"

static struct gate gate;
static struct gate_stream stream;

// What every reply begins with.
struct head {
    int32_t error;
    int32_t index;
    uint64_t version;
};

// Before it stands what to do: 0 gets, 3 puts if the version is still the same.
#define KEY "\4runs"

// Adds one to the number under the key. Returns the new one, or 0.
static uint32_t count(int kv) {
    for (;;) {
        struct {
            struct head head;
            uint32_t value;
        } got = {{0, 0, 0}, 0};
        int size = gate_call(&gate, kv, "\0" KEY, 6, &got, sizeof got);
        if (size < (int)sizeof got.head || got.head.error > 1)
            return 0;
        // Not found: no version, no value.
        uint32_t value = got.head.error ? 1 : got.value + 1;
        uint8_t call[6 + 8 + 4] = "\3" KEY;
        __builtin_memcpy(call + 6, &got.head.version, 8);
        __builtin_memcpy(call + 14, &value, 4);
        struct head put;
        if (gate_call(&gate, kv, call, sizeof call, &put, sizeof put) < (int)sizeof put)
            return 0;
        if (put.error == 0)
            return value;
        // Error 2: another program was faster.
        if (put.error != 2)
            return 0;
    }
}

__attribute__((export_name("_start"))) void start(void) {
    int kv = gate_discover(&gate, "kv");
    int origin = gate_discover(&gate, "origin");
    if (origin < 0 || gate_accept(&gate, origin, &stream) != 0)
        __builtin_trap();
    char text[] = "run 0000\n";
    uint32_t value = kv < 0 ? 0 : count(kv);
    for (int digit = 7; digit >= 4; digit--, value /= 10)
        text[digit] = (char)('0' + value % 10);
    gate_write(&gate, &stream, text, sizeof text - 1);
    gate_close(&gate, &stream);
}
