"""Runs a WASI command in Wasmtime: in_wasmtime.py [--dir HOST::GUEST]... FILE [ARGUMENT]..."""

import sys
from pathlib import Path

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig

args = sys.argv[1:]
wasi = WasiConfig()
while args[0] == "--dir":
    wasi.preopen_dir(*args[1].split("::"))
    args = args[2:]
wasi.argv = [Path(args[0]).name, *args[1:]]
wasi.inherit_stdin()
wasi.inherit_stdout()
wasi.inherit_stderr()
engine = Engine()
store = Store(engine)
store.set_wasi(wasi)
linker = Linker(engine)
linker.define_wasi()
instance = linker.instantiate(store, Module.from_file(engine, args[0]))
try:
    instance.exports(store)["_start"](store)
except ExitTrap as end:
    sys.exit(end.code)
