;; Operations on many bytes and elements, which stop half-way and go on.
(module
  (memory (export "memory") 256 300)
  (table $a (export "a table") 100000 200000 funcref)
  (table $b 100000 externref)
  (data $hello "hello, world, this is a segment that is copied around")
  (elem $functions func $f $g $f $g $f)
  (func $f (result i64) (i64.const 11))
  (func $g (result i64) (i64.const 22))

  (func $hash (result i64)
    (local $at i32) (local $sum i64)
    (loop $more
      (local.set $sum (i64.rotl (i64.add (i64.load (local.get $at)) (i64.mul (local.get $sum) (i64.const 5))) (i64.const 9)))
      (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 16777216))))
    (local.get $sum))

  (func (export "driver") (result i64)
    (local $n i32) (local $sum i64)
    (loop $more
      (memory.fill (i32.mul (local.get $n) (i32.const 7)) (i32.add (local.get $n) (i32.const 1)) (i32.const 12000000))
      (memory.init $hello (i32.add (local.get $n) (i32.const 4096)) (i32.const 3) (i32.const 40))
      (memory.copy (i32.const 1000) (i32.const 4000) (i32.const 9000000))
      (memory.copy (i32.const 4100) (i32.const 900) (i32.const 9000000))
      (table.fill $a (local.get $n) (ref.func $g) (i32.const 90000))
      (table.init $a $functions (i32.add (local.get $n) (i32.const 3)) (i32.const 0) (i32.const 5))
      (table.copy $a $a (i32.const 10) (local.get $n) (i32.const 80000))
      (table.fill $b (i32.const 0) (ref.null extern) (i32.const 100000))
      (local.set $sum
        (i64.add (i64.mul (local.get $sum) (i64.const 17))
          (i64.add (call $hash) (call_indirect $a (result i64) (i32.add (local.get $n) (i32.const 15))))))
      (drop (memory.grow (i32.const 1)))
      (drop (table.grow $a (ref.func $f) (i32.const 3)))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 12))))
    (data.drop $hello)
    (elem.drop $functions)
    (i64.add (local.get $sum) (i64.add (i64.extend_i32_u (memory.size)) (i64.extend_i32_u (table.size $a))))))
