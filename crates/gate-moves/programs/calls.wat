;; Waits a little, reads a little, and writes the sum of all that it has read, again and again.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  ;; A buffer of 97 bytes, and one with the sum.
  (data (i32.const 0) "\00\04\00\00\61\00\00\00" "\20\00\00\00\08\00\00\00")
  ;; A subscription: the monotonic clock, 300 microseconds.
  (data (i32.const 64) "\2a\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\01\00\00\00\00\00\00\00"
    "\e0\93\04\00\00\00\00\00")

  (func $check (param i32)
    (if (local.get 0) (then (call $exit (i32.const 3)))))

  (func (export "_start") (local $i i32) (local $sum i64)
    (loop $more
      (call $check (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))
      (call $check (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 196)))
      (local.set $i (i32.load (i32.const 196)))
      (if (local.get $i)
        (then
          (loop $bytes
            (local.set $i (i32.sub (local.get $i) (i32.const 1)))
            (local.set $sum
              (i64.add
                (i64.mul (local.get $sum) (i64.const 31))
                (i64.load8_u (i32.add (i32.const 0x400) (local.get $i)))))
            (br_if $bytes (local.get $i)))
          (i64.store (i32.const 32) (local.get $sum))
          (call $check (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 200)))
          (br $more))))
    (call $exit (i32.const 7))))
