;; A host call with values around it.
(module
  (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $outer (param $x i64) (result i64)
    (i64.add
      (local.get $x)
      (i64.extend_i32_u (call $seek (i32.const 3) (i64.const 0x123456789a) (i32.const 2) (i32.const 64)))))
  (func (export "main") (result i64) (call $outer (i64.const 1000))))
