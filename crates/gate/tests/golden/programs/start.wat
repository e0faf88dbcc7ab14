;; A start function that takes its time, before the entry function.
(module
  (memory 1)
  (global $sum (mut i64) (i64.const 0))
  (start $start)
  (func $start (local $i i32)
    (loop $again
      (global.set $sum (i64.add (global.get $sum) (i64.extend_i32_u (local.get $i))))
      (i32.store (i32.const 8) (local.get $i))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000000)))))
  (func (export "main") (param i32 v128) (result i64 i64)
    (i64.add (global.get $sum) (i64.extend_i32_s (local.get 0)))
    (i64x2.extract_lane 1 (local.get 1))))
