"""Runs programs in Wasmtime with its own WASI, for gate-bench.

A request is one line of JSON on standard input: the file (a module that is compiled beforehand), arguments, directories, and
where standard input comes from and standard output goes. The reply is one line: the time in nanoseconds from loading the compiled
module to the program's end, that of the program alone, the processor time of all, and its exit code.
"""

import json
import os
import sys
import time

import wasmtime

engine = wasmtime.Engine()


def compiled(file):
    cached = file + ".cwasm"
    if not os.path.exists(cached) or os.path.getmtime(cached) < os.path.getmtime(file):
        with open(cached, "wb") as out:
            out.write(wasmtime.Module.from_file(engine, file).serialize())
    return cached


def run(request):
    file = compiled(request["file"])
    start, cpu = time.perf_counter_ns(), time.process_time_ns()
    module = wasmtime.Module.deserialize_file(engine, file)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    config = wasmtime.WasiConfig()
    config.argv = request["args"]
    for directory in request.get("dirs", []):
        config.preopen_dir(directory, directory)
    config.stdin_file = request.get("stdin", "/dev/null")
    config.stdout_file = request["stdout"]
    store = wasmtime.Store(engine)
    store.set_wasi(config)
    entry = linker.instantiate(store, module).exports(store)["_start"]
    begin = time.perf_counter_ns()
    try:
        entry(store)
        code = 0
    except wasmtime.ExitTrap as end:
        code = end.code
    end = time.perf_counter_ns()
    cpu = time.process_time_ns() - cpu
    return {"total": end - start, "program": end - begin, "cpu": cpu, "code": code}


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
