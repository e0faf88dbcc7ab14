;; A reactor whose initialisation takes its time, and must have happened before anything else.
(module
  (global $initialized (mut i32) (i32.const 0))
  (func (export "_initialize") (local $i i32)
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000000))))
    (global.set $initialized (i32.const 1000)))
  (func (export "add") (param i32 v128) (result i32 v128)
    (i32.add (global.get $initialized) (local.get 0))
    (local.get 1)))
