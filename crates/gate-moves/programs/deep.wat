;; Deep recursion: direct, mutual and indirect, with operands that wait for what is inside.
(module
  (type $walk (func (param i32 i64) (result i64 i32)))
  (memory (export "memory") 1)
  (table funcref (elem $even $odd $ackermann $leaf))

  (func $leaf (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))

  (func $even (param $n i32) (param $sum i64) (result i64 i32)
    (if (result i64 i32) (local.get $n)
      (then
        (i64.const 3)
        (call_indirect (type $walk) (i32.sub (local.get $n) (i32.const 1)) (i64.add (local.get $sum) (i64.const 5)) (i32.const 1))
        (local.set $n)
        (i64.mul)
        (local.get $n))
      (else (call_indirect (type $walk) (local.get $n) (local.get $sum) (i32.const 3)))))

  (func $odd (param $n i32) (param $sum i64) (result i64 i32)
    (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
    (call $even (i32.sub (local.get $n) (i32.const 1)) (i64.xor (local.get $sum) (i64.extend_i32_u (local.get $n)))))

  (func $ackermann (param $m i32) (param $n i64) (result i64 i32)
    (local $depth i32)
    (if (i32.eqz (local.get $m)) (then (return (i64.add (local.get $n) (i64.const 1)) (i32.const 1))))
    (if (i64.eqz (local.get $n))
      (then (return (call $ackermann (i32.sub (local.get $m) (i32.const 1)) (i64.const 1)))))
    (i32.sub (local.get $m) (i32.const 1))
    (call $ackermann (local.get $m) (i64.sub (local.get $n) (i64.const 1)))
    (local.set $depth)
    (call $ackermann)
    (i32.add (local.get $depth)))

  (func $fib (param $n i32) (result i64)
    (if (result i64) (i32.lt_u (local.get $n) (i32.const 2))
      (then (i64.extend_i32_u (local.get $n)))
      (else (i64.add
        (call $fib (i32.sub (local.get $n) (i32.const 1)))
        (call $fib (i32.sub (local.get $n) (i32.const 2)))))))

  (func (export "driver") (result i64)
    (local $n i32) (local $sum i64) (local $x i32)
    (loop $more
      (call $even (i32.const 1200) (local.get $sum))
      (local.set $x)
      (local.set $sum (i64.add (local.get $sum)))
      (call $ackermann (i32.const 2) (i64.const 24))
      (local.set $x)
      (local.set $sum (i64.xor (i64.rotl (local.get $sum) (i64.const 7))))
      (local.set $sum (i64.add (local.get $sum) (call $fib (i32.const 17))))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300))))
    (i64.add (local.get $sum) (i64.extend_i32_u (local.get $x)))))
