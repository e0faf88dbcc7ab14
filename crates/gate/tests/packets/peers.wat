;; Waits for a moment, in which it is suspended and copied. Then each of two copies connects with both, whose names are 0 and 1,
;; and accepts as many connections.
(module
  (import "env" "rt_read8" (func $read (result i64)))
  (import "env" "rt_write8" (func $write (param i64)))
  (memory (export "memory") 1)
  (global $first (mut i64) (i64.const 0))
  (global $accepted (mut i32) (i32.const 0))

  ;; Receives down to the next packet that is, or is not, about which services there are. Returns its size.
  (func $receive (param $services i32) (result i32)
    (local $header i64) (local $words i32) (local $code i32)
    (loop $next
      (local.set $header (call $read))
      (local.set $words (i32.shr_u (i32.sub (i32.wrap_i64 (local.get $header)) (i32.const 1)) (i32.const 3)))
      (if (local.get $words) (then (global.set $first (call $read))))
      (loop $rest
        (if (i32.gt_u (local.get $words) (i32.const 1))
          (then
            (drop (call $read))
            (local.set $words (i32.sub (local.get $words) (i32.const 1)))
            (br $rest))))
      (local.set $code (i32.and (i32.wrap_i64 (i64.shr_u (local.get $header) (i64.const 32))) (i32.const 0xffff)))
      (br_if $next (i32.ne (i32.eq (local.get $code) (i32.const 0xffff)) (local.get $services)))
      ;; Not about streams.
      (br_if $next
        (i32.and
          (i32.eqz (local.get $services))
          (i64.ne (i64.and (i64.shr_u (local.get $header) (i64.const 48)) (i64.const 0xf)) (i64.const 0)))))
    (i32.wrap_i64 (local.get $header)))

  ;; Receives the next reply that is not about an accepted connection: that has the other's name behind it.
  (func $reply
    (loop $next
      (if (i32.eq (call $receive (i32.const 0)) (i32.const 17))
        (then
          (global.set $accepted (i32.add (global.get $accepted) (i32.const 1)))
          (br $next)))))

  (func $connect (param $call i64)
    (loop $again
      (call $write (i64.const 0x00000001_0000000a))
      (call $write (local.get $call))
      (call $reply)
      ;; It may not be there yet.
      (br_if $again (i32.wrap_i64 (global.get $first)))))

  (func (export "_start")
    ;; Asks for "clock", and waits for 300 milliseconds.
    (call $write (i64.const 0x0000ffff_00000010))
    (call $write (i64.const 0x6b636f6c63_05_0001))
    (drop (call $receive (i32.const 1)))
    (call $write (i64.const 17))
    (call $write (i64.const 0x11e1a300_01))
    (call $write (i64.const 0))
    (drop (call $receive (i32.const 0)))
    ;; Asks for "peer", accepts twice, and connects with both.
    (call $write (i64.const 0x0000ffff_0000000f))
    (call $write (i64.const 0x72656570_04_0001))
    (drop (call $receive (i32.const 1)))
    (call $write (i64.const 0x00000001_00000009))
    (call $write (i64.const 0))
    (call $write (i64.const 0x00000001_00000009))
    (call $write (i64.const 0))
    (call $connect (i64.const 0x30_01))
    (call $connect (i64.const 0x31_01))
    (loop $more
      (if (i32.lt_u (global.get $accepted) (i32.const 2))
        (then
          (if (i32.eq (call $receive (i32.const 0)) (i32.const 17))
            (then (global.set $accepted (i32.add (global.get $accepted) (i32.const 1)))))
          (br $more))))))
