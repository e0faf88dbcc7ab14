// Runs the JavaScript program on standard input. It has `print` and the global `argument` (a number).
#include <quickjs.h>
#include <stdio.h>
#include <stdlib.h>

#include "input.h"

static JSValue print(JSContext *js, JSValueConst this, int count, JSValueConst *values) {
    (void)this;
    for (int i = 0; i < count; i++) {
        const char *text = JS_ToCString(js, values[i]);
        if (!text)
            return JS_EXCEPTION;
        printf(i ? " %s" : "%s", text);
        JS_FreeCString(js, text);
    }
    puts("");
    return JS_UNDEFINED;
}

int main(int argc, char **argv) {
    size_t size;
    char *script = read_input(&size);
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *js = JS_NewContext(runtime);
    JSValue global = JS_GetGlobalObject(js);
    JS_SetPropertyStr(js, global, "print", JS_NewCFunction(js, print, "print", 1));
    JS_SetPropertyStr(js, global, "argument", JS_NewInt32(js, argc > 1 ? atoi(argv[1]) : 0));
    JS_FreeValue(js, global);
    JSValue result = JS_Eval(js, script, size, "stdin", JS_EVAL_TYPE_GLOBAL);
    int failed = JS_IsException(result);
    if (failed) {
        JSValue exception = JS_GetException(js);
        const char *text = JS_ToCString(js, exception);
        printf("uncaught: %s\n", text ? text : "?");
        JS_FreeCString(js, text);
        JS_FreeValue(js, exception);
    }
    JS_FreeValue(js, result);
    JSContext *pending;
    while (JS_ExecutePendingJob(runtime, &pending) > 0)
        ;
    JS_FreeContext(js);
    JS_FreeRuntime(runtime);
    free(script);
    return failed;
}
