;; The older encoding of exceptions: handlers which can stop, exceptions that are thrown again from there, and such that go to
;; what catches those of an enclosing block.
(module
  (memory (export "memory") 1)
  (tag $number (param i64))
  (tag $pair (param f64 v128))
  (tag $other)

  (func $spin (param $n i32) (result i64)
    (local $sum i64)
    (loop $more
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 7)) (i64.extend_i32_u (local.get $n))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  (func $throws (param $n i32)
    (drop (call $spin (i32.const 5)))
    (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 3)))
      (then (throw $number (i64.extend_i32_u (local.get $n)))))
    (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 5)))
      (then (throw $pair (f64.convert_i32_u (local.get $n)) (i64x2.splat (call $spin (i32.const 6))))))
    (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 7)))
      (then (throw $other))))

  ;; Like a destructor.
  (func $cleans_up (param $n i32)
    try
      (call $throws (local.get $n))
    catch_all
      (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (call $spin (i32.const 8))))
      rethrow 0
    end)

  (func $delegates (param $n i32) (result i64)
    try $outer (result i64)
      (i64.const 3)
      try (param i64) (result i64)
        try (param i64) (result i64)
          (call $cleans_up (local.get $n))
          (i64.add (call $spin (i32.const 4)))
        delegate $outer
      catch_all
        (i64.const 1000000)
      end
    catch $number
    catch $pair
      (i64x2.extract_lane 1)
      (i64.add (call $spin (i32.const 9)))
      (local.set $n (i32.wrap_i64))
      (i64.reinterpret_f64)
      (i64.add (i64.extend_i32_u (local.get $n)))
    end)

  (func $again (param $n i32) (result i64)
    (local $x i64)
    try $t (result i64)
      (call $delegates (local.get $n))
    catch $other
      (local.set $x (call $spin (i32.const 12)))
      try (result i64)
        (drop (call $spin (i32.const 3)))
        rethrow $t
      catch $number
      catch $other
        (i64.sub (call $spin (i32.const 2)) (local.get $x))
      end
    end)

  (func (export "driver") (result i64)
    (local $n i32) (local $sum i64)
    (loop $more
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (call $again (local.get $n))))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1500))))
    (i64.store (i32.const 0) (local.get $sum))
    (local.get $sum)))
