;; Spends three quarters of its time in $three, and one in $one. Both are called by $work.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\10\00\00\00\01\00\00\00.")
  (func $three (param $n i32) (result i32) (local $x i32)
    (loop $again
      (local.set $x (i32.xor (i32.mul (local.get $x) (i32.const 1664525)) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $one (param $n i32) (result i32) (local $x i32)
    (loop $again
      (local.set $x (i32.xor (i32.mul (local.get $x) (i32.const 1664525)) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  ;; Rounds are of different lengths, so that none fits the kernel's ticks.
  (func $work (param $rounds i32) (result i32) (local $x i32) (local $turns i32)
    (loop $again
      (local.set $turns (i32.add (i32.const 500000) (i32.mul (local.get $rounds) (i32.const 9973))))
      (local.set $x (i32.add (local.get $x) (call $three (i32.mul (i32.const 3) (local.get $turns)))))
      (local.set $x (i32.add (local.get $x) (call $one (local.get $turns))))
      (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (local.get $x))
  (func (export "_start")
    (drop (call $work (i32.const 160))))
  (func (export "forever")
    (loop $again
      (drop (call $work (i32.const 60)))
      (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
      (br $again))))
