;; Touches so many pages of 64 KiB, says that it is ready, and never ends.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "up\n")
  (func (export "touch") (param $pages i32) (local $addr i32) (local $end i32)
    (drop (memory.grow (local.get $pages)))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (local.set $addr (i32.const 65536))
    (loop $next
      (i64.store (local.get $addr) (i64.const -1))
      (local.set $addr (i32.add (local.get $addr) (i32.const 1024)))
      (br_if $next (i32.lt_u (local.get $addr) (local.get $end))))
    (i32.store (i32.const 0) (i32.const 512))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (loop $again (br $again))))
