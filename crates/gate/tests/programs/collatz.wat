;; Sums up how many steps the numbers up to a limit take to one: long loops, and calls.
(module
  (func $steps (param $n i64) (result i64) (local $s i64)
    (block $done
      (loop $again
        (br_if $done (i64.eq (local.get $n) (i64.const 1)))
        (local.set $s (i64.add (local.get $s) (i64.const 1)))
        (if (i32.wrap_i64 (i64.and (local.get $n) (i64.const 1)))
          (then (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1))))
          (else (local.set $n (i64.shr_u (local.get $n) (i64.const 1)))))
        (br $again)))
    (local.get $s))
  (func (export "total") (param $limit i64) (result i64 f64) (local $i i64) (local $sum i64)
    (local.set $i (i64.const 1))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (call $steps (local.get $i))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.le_u (local.get $i) (local.get $limit))))
    (local.get $sum) (f64.div (f64.convert_i64_u (local.get $sum)) (f64.convert_i64_u (local.get $limit))))
)
