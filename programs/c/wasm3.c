// The wasm3 interpreter running a small WebAssembly module: an interpreter inside.
#include <stdio.h>
#include <stdlib.h>

#include <extra/fib32.wasm.h>
#include <m3_env.h>
#include <wasm3.h>

static void check(M3Result result) {
    if (result) {
        printf("wasm3: %s\n", result);
        exit(1);
    }
}

int main(int argc, char **argv) {
    const char *n = argc > 1 ? argv[1] : "20";
    IM3Environment environment = m3_NewEnvironment();
    IM3Runtime runtime = m3_NewRuntime(environment, 64 * 1024, NULL);
    IM3Module module;
    IM3Function function;
    check(m3_ParseModule(environment, &module, fib32_wasm, fib32_wasm_len));
    check(m3_LoadModule(runtime, module));
    check(m3_FindFunction(&function, runtime, "fib"));
    check(m3_CallWithArgs(function, 1, &n));
    // This version has no function that returns the result: it is at the bottom of the stack.
    printf("fib(%s) = %u\n", n, *(uint32_t *)runtime->stack);
    m3_FreeRuntime(runtime);
    m3_FreeEnvironment(environment);
    return 0;
}
