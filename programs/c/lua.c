// Runs the Lua script on standard input; arguments are its `...`.
//
// There is no setjmp in wasi-libc: this Lua is built so that an error ends the program (see the build script),
// hence scripts do without `error` under `pcall` and without coroutines.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

#include "input.h"

static int panic(lua_State *lua) {
    fprintf(stderr, "lua: %s\n", lua_tostring(lua, -1));
    exit(1);
}

int main(int argc, char **argv) {
    size_t size;
    char *script = read_input(&size);
    lua_State *lua = luaL_newstate();
    lua_atpanic(lua, panic);
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},          {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math},    {LUA_UTF8LIBNAME, luaopen_utf8}, {NULL, NULL},
    };
    for (const luaL_Reg *library = libraries; library->func; library++) {
        luaL_requiref(lua, library->name, library->func, 1);
        lua_pop(lua, 1);
    }
    if (luaL_loadbuffer(lua, script, size, "=stdin") != LUA_OK)
        return panic(lua);
    for (int i = 1; i < argc; i++)
        lua_pushstring(lua, argv[i]);
    lua_call(lua, argc - 1, 0);
    lua_close(lua);
    return 0;
}
