;; Counts primes, the slow way, and tells every so often how many there are: some seconds of work.
;;
;;   gate run --suspend-after 1s --snapshot primes.snapshot examples/primes.wat
;;   gate resume primes.snapshot
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 1)
  ;; The end of every line. What precedes it is written in front of it.
  (data (i32.const 64) " primes below ")
  (data (i32.const 160) "\n")

  (func $is_prime (param $n i32) (result i32)
    (local $divisor i32)
    (local.set $divisor (i32.const 2))
    (loop $next
      (if (i32.gt_u (i32.mul (local.get $divisor) (local.get $divisor)) (local.get $n))
        (then (return (i32.const 1))))
      (if (i32.eqz (i32.rem_u (local.get $n) (local.get $divisor)))
        (then (return (i32.const 0))))
      (local.set $divisor (i32.add (local.get $divisor) (i32.const 1)))
      (br $next))
    unreachable)

  ;; Writes a number's digits so that they end at an address. Returns where they begin.
  (func $digits (param $number i32) (param $end i32) (result i32)
    (loop $next
      (local.set $end (i32.sub (local.get $end) (i32.const 1)))
      (i32.store8 (local.get $end)
        (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $next (local.get $number)))
    (local.get $end))

  (func $tell (param $count i32) (param $limit i32)
    (local $start i32)
    ;; The limit precedes the end of the line, the text precedes the limit, and the count precedes the text.
    (local.set $start (call $digits (local.get $limit) (i32.const 160)))
    (local.set $start (i32.sub (local.get $start) (i32.const 14)))
    (memory.copy (local.get $start) (i32.const 64) (i32.const 14))
    (local.set $start (call $digits (local.get $count) (local.get $start)))
    (i32.store (i32.const 0) (local.get $start))
    (i32.store (i32.const 4) (i32.sub (i32.const 161) (local.get $start)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))

  (func $count_primes (export "_start")
    (local $n i32) (local $count i32)
    (local.set $n (i32.const 2))
    (loop $next
      (local.set $count (i32.add (local.get $count) (call $is_prime (local.get $n))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 1000000)))
        (then (call $tell (local.get $count) (local.get $n))))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 8000000))))))
