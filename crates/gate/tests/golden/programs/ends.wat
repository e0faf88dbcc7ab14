;; Programs that have ended.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "return") (param i32) (result i32 f64) (i32.store (i32.const 4) (local.get 0)) (local.get 0) (f64.const 0.25))
  (func $divide (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
  (func $dig (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $dig (i32.sub (local.get 0) (i32.const 1)))))
      (else (call $divide (i32.const 0)))))
  (func (export "trap") (result i32) (i32.store (i32.const 4) (i32.const 9)) (call $dig (i32.const 2)))
  (func (export "exit") (call $exit (i32.const 42)))
  (func (export "load") (result i32) (i32.load (i32.const 4))))
