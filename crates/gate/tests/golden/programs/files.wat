;; Opens a file of the host, one in memory, one of an image, and a connection, as far as the parameter says; goes on with them.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  ;; Buffers of three bytes and of a hundred.
  (data (i32.const 0) "\00\01\00\00\03\00\00\00")
  (data (i32.const 8) "\00\01\00\00\64\00\00\00")
  (data (i32.const 64) "file")
  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $exit (i32.add (i32.const 100) (local.get $errno))))))
  (func $open_in (param $dir i32) (param $flags i32) (param $rights i64) (result i32)
    (call $check (call $open (local.get $dir) (i32.const 0) (i32.const 64) (i32.const 4) (local.get $flags)
      (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 32)))
    (i32.load (i32.const 32)))
  (func $skip (param $fd i32)
    (call $check (call $read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 32))))
  (func $print
    (i32.store (i32.const 16) (i32.const 256))
    (i32.store (i32.const 20) (i32.load (i32.const 32)))
    (call $check (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32))))
  (func (export "main") (param $which i32)
    (local $i i32) (local $host i32) (local $memory i32) (local $image i32) (local $connection i32)
    (local.set $host (call $open_in (i32.const 3) (i32.const 0) (i64.const 2)))
    (call $skip (local.get $host))
    (if (i32.ge_u (local.get $which) (i32.const 2)) (then
      (local.set $memory (call $open_in (i32.const 4) (i32.const 1) (i64.const 66)))
      (i64.store (i32.const 256) (i64.const 0x2179726f6d656d20))
      (call $check (call $write (local.get $memory) (i32.const 8) (i32.const 1) (i32.const 32)))))
    (if (i32.ge_u (local.get $which) (i32.const 3)) (then
      (local.set $image (call $open_in (i32.const 5) (i32.const 0) (i64.const 2)))
      (call $skip (local.get $image))
      (call $check (call $accept (i32.const 6) (i32.const 0) (i32.const 32)))
      (local.set $connection (i32.load (i32.const 32)))))
    (loop $again
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000000))))
    (call $check (call $read (local.get $host) (i32.const 8) (i32.const 1) (i32.const 32)))
    (call $print)
    (if (i32.ge_u (local.get $which) (i32.const 2)) (then
      (i64.store (i32.const 256) (i64.const 0))
      (call $check (call $pread (local.get $memory) (i32.const 8) (i32.const 1) (i64.const 0) (i32.const 32)))
      (i32.store (i32.const 32) (i32.const 8))
      (call $print)))
    (if (i32.ge_u (local.get $which) (i32.const 3)) (then
      (call $check (call $read (local.get $image) (i32.const 8) (i32.const 1) (i32.const 32)))
      (call $print)
      ;; What it is told about a connection that is no more.
      (call $exit (call $recv (local.get $connection) (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 32)
        (i32.const 40)))))
    (call $exit (i32.const 0))))
