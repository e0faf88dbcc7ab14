;; Chains of tail calls: direct, through a table, with arguments on the stack, below other frames, and at the end of a loop.
(module
  (type $step (func (param i32 i64) (result i64)))
  (memory (export "memory") 1)
  (table funcref (elem $even $odd $spread $last))

  (func $even (type $step)
    (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
    (return_call $odd (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 3))))

  (func $odd (type $step)
    (if (i32.eqz (local.get 0)) (then (return (i64.mul (local.get 1) (i64.const 7)))))
    (return_call_indirect (type $step)
      (i32.sub (local.get 0) (i32.const 1))
      (i64.rotl (local.get 1) (i64.const 5))
      (i32.mul (i32.and (local.get 0) (i32.const 1)) (i32.const 2))))

  (func $spread (type $step)
    (return_call $gather
      (local.get 0) (local.get 1)
      (f64.convert_i32_u (local.get 0)) (f32.const 0.5)
      (i64x2.splat (local.get 1)) (i64x2.splat (i64.const 1)) (i64x2.splat (i64.const 2)) (i64x2.splat (i64.const 3))
      (i64x2.splat (i64.const 4)) (i64x2.splat (i64.const 5)) (i64x2.splat (i64.const 6)) (i64x2.splat (i64.const 7))
      (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i64.const 5) (i64.const 6)))

  (func $gather
    (param i32 i64 f64 f32 v128 v128 v128 v128 v128 v128 v128 v128 i32 i32 i32 i32 i64 i64) (result i64)
    (return_call $even
      (local.get 0)
      (i64.add
        (i64.add (local.get 1) (i64.trunc_sat_f64_u (local.get 2)))
        (i64.add (i64x2.extract_lane 1 (i64x2.add (local.get 4) (local.get 11))) (local.get 17)))))

  ;; Stopped in the loop, it still has the tail call before it.
  (func $last (type $step)
    (local $n i32)
    (i64.const 99)
    (block
      (loop $more
        (local.set 1 (i64.add (i64.mul (local.get 1) (i64.const 31)) (i64.extend_i32_u (local.get $n))))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 2000))))
      (return_call $spread (local.get 0) (local.get 1)))
    (unreachable))

  (func $many (param i32) (result i64 f64 v128 i32 i64 i64 i64 i64 i64 i64)
    (if (local.get 0) (then (return_call $many (i32.sub (local.get 0) (i32.const 1)))))
    (i64.const 1) (f64.const 2) (i64x2.splat (i64.const 3)) (i32.const 4)
    (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10))

  (func $drive (param $n i32) (param $sum i64) (result i64)
    (if (i32.eqz (local.get $n)) (then (return (local.get $sum))))
    (call $many (i32.const 50))
    (local.set $sum (i64.add (local.get $sum)))
    drop drop drop drop drop drop drop drop
    (local.set $sum (i64.xor (local.get $sum)))
    (i64.store (i32.const 8) (local.get $sum))
    (local.set $sum (i64.add (local.get $sum)
      (i64.mul
        (call_indirect (type $step) (i32.const 400) (local.get $sum) (i32.and (local.get $n) (i32.const 3)))
        (call $even (i32.const 333) (i64.const 1)))))
    (return_call $drive (i32.sub (local.get $n) (i32.const 1)) (local.get $sum)))

  (func (export "driver") (result i64)
    (return_call $drive (i32.const 4000) (i64.const 1))))
