;; Accepts connections from descriptor 3, one after the other, and sends back what comes, until one begins with "q".
(module
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $exit (local.get $errno)))))
  (func (export "_start") (local $fd i32)
    (loop $next
      (call $check (call $accept (i32.const 3) (i32.const 0) (i32.const 8)))
      (local.set $fd (i32.load (i32.const 8)))
      (loop $more
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 1024))
        (call $check (call $recv (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8) (i32.const 16)))
        (if (i32.load (i32.const 8)) (then
          (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 113)) (then (call $exit (i32.const 0))))
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (call $check (call $send (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8)))
          (br $more))))
      (call $check (call $close (local.get $fd)))
      (br $next))))
