;; A library that wants to be initialized.
(module
  (global $value (mut i32) (i32.const 1))
  (memory (export "memory") 1)
  (func (export "_initialize")
    (global.set $value (i32.add (global.get $value) (i32.const 41)))
    (i32.store (i32.const 8) (i32.const 7)))
  (func (export "value") (result i32) (i32.add (global.get $value) (i32.load (i32.const 8)))))
