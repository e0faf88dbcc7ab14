;; Floating-point values of both widths in tight loops, as operands and as locals; no NaN is computed, but some are moved.
(module
  (memory (export "memory") 1)
  (func $step (param $x f32) (param $y f64) (result f64)
    (f64.add (f64.promote_f32 (f32.sqrt (f32.abs (local.get $x)))) (f64.nearest (local.get $y))))
  (func (export "driver") (result i64)
    (local $n i32) (local $x f32) (local $y f64) (local $quiet f32) (local $v v128)
    (local.set $quiet (f32.const nan:0x123456))
    (loop $more
      (f64.const 0.5)
      (f32.const 1.25)
      (loop $inner
        (local.set $x (f32.add (local.get $x) (f32.const 0.125)))
        (local.set $v (f64x2.add (f64x2.splat (local.get $y)) (f64x2.mul (local.get $v) (v128.const f64x2 0.5 0.25))))
        (br_if $inner (f32.lt (local.get $x) (f32.const 30))))
      (local.set $x (f32.sub (local.get $x)))
      (local.set $x (f32.sub (local.get $x) (f32.const 40)))
      (local.set $y (f64.mul (f64.const 0.75) (f64.add (call $step (local.get $x) (local.get $y)))))
      (f32.store (i32.const 8) (local.get $quiet))
      (local.set $quiet (f32.load (i32.const 8)))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 50000))))
    (i64.add
      (i64.extend_i32_u (i32.reinterpret_f32 (local.get $quiet)))
      (i64.xor (i64.reinterpret_f64 (local.get $y)) (i64x2.extract_lane 1 (local.get $v))))))
