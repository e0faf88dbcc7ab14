;; Functions that call each other directly, through a table, and with operands below.
(module
  (type $step (func (param i32 i64) (result i64)))
  (table 4 funcref)
  (elem (i32.const 2) $odd $even)
  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
  (func $even (type $step) (local $v v128)
    (local.set $v (i64x2.splat (local.get 1)))
    (if (i32.eqz (local.get 0)) (then (return (call $spin (local.get 1)))))
    (i64.add
      (i64x2.extract_lane 1 (local.get $v))
      (call_indirect (type $step) (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 1)) (i32.const 2))))
  (func $odd (type $step)
    (i64.sub
      (i64.extend_i32_u (local.get 0))
      (call $even (i32.sub (local.get 0) (i32.const 1)) (i64.shl (local.get 1) (i64.const 1)))))
  (func $spin (param $x i64) (result i64) (local $i i32)
    (loop $again
      (local.set $x (i64.add (local.get $x) (i64.extend_i32_u (local.get $i))))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000000))))
    (local.get $x))
  (func (export "chain") (result i64)
    (i64.mul (i64.const 3) (call $even (i32.const 20) (i64.const 5)))))
