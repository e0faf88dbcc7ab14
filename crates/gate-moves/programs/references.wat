;; Typed references to functions: as parameters, locals that are not null, operands, in globals and tables, across loops and calls.
(module
  (type $unary (func (param i32) (result i64)))
  (type $picker (func (param i32 (ref null $unary)) (result (ref $unary))))
  (memory (export "memory") 1)
  (table $unaries (export "unaries") 6 20 (ref $unary) (ref.func $spin))
  (table $pickers (export "pickers") 3 (ref null $picker))
  (global $latest (export "latest") (mut (ref $unary)) (ref.func $spin))
  (global $maybe (export "maybe") (mut (ref null $unary)) (ref.null $unary))
  (elem (table $unaries) (i32.const 2) (ref $unary) (ref.func $double) (ref.func $square))
  (elem (table $pickers) (i32.const 0) (ref null $picker) (ref.func $pick) (ref.null $picker) (ref.func $keep))

  (func $spin (type $unary) (param $n i32) (result i64)
    (local $sum i64)
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (loop $more
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 5)) (i64.extend_i32_u (local.get $n))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func $double (type $unary) (param $n i32) (result i64)
    (i64.mul (i64.const 2) (call_ref $unary (i32.and (local.get $n) (i32.const 15)) (ref.func $spin))))
  (func $square (type $unary) (param $n i32) (result i64)
    (i64.extend_i32_u (i32.mul (local.get $n) (local.get $n))))

  (func $pick (type $picker) (param $n i32) (param $f (ref null $unary)) (result (ref $unary))
    (drop (call $spin (i32.const 3)))
    (table.get $unaries (i32.rem_u (local.get $n) (table.size $unaries))))
  (func $keep (type $picker) (param $n i32) (param $f (ref null $unary)) (result (ref $unary))
    (drop (call $spin (i32.const 4)))
    (block $null
      (br_on_null $null (local.get $f))
      (return))
    (ref.func $square))

  (func $round (param $n i32) (result i64)
    (local $f (ref $unary)) (local $i i32) (local $sum i64)
    (block $none
      (local.get $n)
      (global.get $maybe)
      (br_on_null $none (table.get $pickers (i32.rem_u (local.get $n) (i32.const 3))))
      (local.set $f (call_ref $picker))
      ;; Operands below a call and a loop.
      (local.get $f)
      (global.get $latest)
      (global.set $latest (local.get $f))
      (loop $more
        (local.set $sum (i64.add (local.get $sum) (call_ref $unary (local.get $i) (local.get $f))))
        (local.set $f (table.get $unaries (local.get $i)))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6))))
      (local.set $f)
      (global.set $maybe)
      (table.set $unaries (i32.rem_u (local.get $n) (i32.const 6)) (local.get $f))
      (return (i64.add (local.get $sum) (call_ref $unary (i32.and (local.get $n) (i32.const 31)) (local.get $f)))))
    (if (i32.eq (i32.rem_u (local.get $n) (i32.const 50)) (i32.const 1))
      (then
        (global.set $maybe (ref.null $unary))
        (drop (table.grow $unaries (global.get $latest) (i32.const 1)))))
    (block $null
      (return (call_ref $unary (i32.const 5) (br_on_null $null (global.get $maybe)))))
    (i64.const 17))

  (func (export "driver") (result i64)
    (local $n i32) (local $sum i64)
    (loop $more
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (call $round (local.get $n))))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))
    (i64.store (i32.const 0) (local.get $sum))
    (local.get $sum)))
