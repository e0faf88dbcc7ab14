;; Relaxed vector instructions, with operands for which engines differ.
(module
  (memory (export "memory") 1)

  (func $mix (param $v v128) (param $n i32) (result v128)
    (local $f v128)
    (local.set $f
      (f32x4.relaxed_madd
        (f32x4.convert_i32x4_s (local.get $v))
        (f32x4.splat (f32.convert_i32_u (local.get $n)))
        (f32x4.splat (f32.const 0.1))))
    (i16x8.relaxed_dot_i8x16_i7x16_s
      (i8x16.relaxed_swizzle (local.get $v) (i32x4.relaxed_trunc_f32x4_s (local.get $f)))
      (i32x4.relaxed_dot_i8x16_i7x16_add_s
        (i32x4.relaxed_laneselect (local.get $v) (local.get $f) (i32x4.splat (i32.mul (local.get $n) (i32.const 0x9e3779b9))))
        (i16x8.relaxed_q15mulr_s (local.get $v) (i16x8.splat (i32.const -32768)))
        (i32x4.relaxed_trunc_f64x2_u_zero
          (f64x2.relaxed_nmadd (f64x2.splat (f64.const 0.3)) (f64x2.promote_low_f32x4 (local.get $f)) (f64x2.splat (f64.const 1e10)))))))

  (func (export "driver") (result i64)
    (local $n i32) (local $v v128)
    (local.set $v (v128.const i32x4 0x01234567 0x89abcdef 0x80808080 0x7f7f7f7f))
    (loop $more
      (local.set $v (v128.xor (call $mix (local.get $v) (local.get $n)) (i32x4.splat (local.get $n))))
      (v128.store (i32.and (local.get $n) (i32.const 0xfff0)) (local.get $v))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000))))
    (i64.add (i64x2.extract_lane 0 (local.get $v)) (i64x2.extract_lane 1 (local.get $v)))))
