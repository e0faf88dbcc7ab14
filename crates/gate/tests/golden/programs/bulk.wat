;; Fills so much memory at a time that it can be stopped in between.
(module
  (memory 1024)
  (data $d "0123456789")
  (func (export "fill") (result i32) (local $i i32) (local $sum i32)
    (loop $again
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x4000000))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (local.set $sum (i32.add (local.get $sum) (local.get $i)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))
    (memory.init $d (i32.const 100) (i32.const 2) (i32.const 4))
    (i32.add (local.get $sum) (i32.load (i32.const 100)))))
