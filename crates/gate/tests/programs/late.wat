;; Functions that do what they are named after, but sleep for half a second of their own time before that.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func $sleep
    (i64.store (i32.const 70000) (i64.const 0x0102030405060708))
    (i32.store (i32.const 80) (i32.const 1)) ;; The monotonic clock.
    (i64.store (i32.const 88) (i64.const 500000000))
    (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 8))))
  (func (export "random_bytes") (result i64)
    (local $shared i64)
    (call $sleep)
    (local.set $shared (i64.load (i32.const 70000)))
    (drop (call $random_get (i32.const 70000) (i32.const 8)))
    (i64.xor (local.get $shared) (i64.load (i32.const 70000))))
  (func (export "trap")
    (call $sleep)
    (unreachable)))
