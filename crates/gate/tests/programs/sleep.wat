;; Says that it is there, sleeps for the nanoseconds which the function `sleep` is given, or for an hour, and says so.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "up\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 512))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $sleep (i64.const 3600000000000))))
  ;; Returns how long it took.
  (func $sleep (export "sleep") (param $nanoseconds i64) (result i64)
    (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 16)))
    (i32.store (i32.const 80) (i32.const 1)) ;; The monotonic clock.
    (i64.store (i32.const 88) (i64.add (i64.load (i32.const 16)) (local.get $nanoseconds)))
    (i32.store16 (i32.const 104) (i32.const 1)) ;; The time is absolute.
    (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 8)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
    (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16)))))
