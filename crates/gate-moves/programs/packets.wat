;; Exchanges numbered packets with two services, in pieces of random sizes, and checks what comes.
(module
  (import "gate" "io_65536" (func $io (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (memory (export "memory") 16)

  ;; 0x100: two buffers to receive into, 0x110: two to send from. 0x120: bytes received, 0x124: bytes sent, 0x128: flags.
  ;; Discovery of the services, 0 "count" and 1 "origin", and a call of the latter, which accepts a connection.
  (data (i32.const 0x80000)
    "\17\00\00\00\ff\ff\00\00\02\00\05count\06origin\00"
    "\08\00\00\00\01\00\00\00")

  ;; What has been received and not understood yet.
  (global $in (mut i32) (i32.const 0x10000))
  (global $in_end (mut i32) (i32.const 0x10000))
  ;; What is to be sent.
  (global $out (mut i32) (i32.const 0x80000))
  (global $out_end (mut i32) (i32.const 0x80020))

  (global $random (mut i32) (i32.const 1))
  (global $calls (mut i32) (i32.const 0))
  (global $replies (mut i32) (i32.const 0))
  (global $accepted (mut i32) (i32.const 0))
  ;; Bytes that may be sent, were sent, were received, were received and are to be wanted anew.
  (global $window (mut i32) (i32.const 0))
  (global $sent (mut i32) (i32.const 0))
  (global $received (mut i32) (i32.const 0))
  (global $consumed (mut i32) (i32.const 4000))
  (global $ended (mut i32) (i32.const 0))

  ;; Less than the limit.
  (func $rand (param $limit i32) (result i32)
    (global.set $random (i32.xor (global.get $random) (i32.shl (global.get $random) (i32.const 13))))
    (global.set $random (i32.xor (global.get $random) (i32.shr_u (global.get $random) (i32.const 17))))
    (global.set $random (i32.xor (global.get $random) (i32.shl (global.get $random) (i32.const 5))))
    (i32.rem_u (global.get $random) (local.get $limit)))

  ;; Between one and a few thousand, often few.
  (func $size (result i32)
    (i32.add (i32.const 1)
      (call $rand (select (i32.const 20) (i32.const 5000) (call $rand (i32.const 2))))))

  (func $min (param $a i32) (param $b i32) (result i32)
    (select (local.get $a) (local.get $b) (i32.lt_u (local.get $a) (local.get $b))))

  ;; The byte at a place of a stream.
  (func $byte (param $at i32) (result i32)
    (i32.and (i32.const 0xff)
      (i32.xor (i32.mul (local.get $at) (i32.const 7)) (i32.shr_u (local.get $at) (i32.const 8)))))

  ;; Appends a packet of so many bytes, with some content to be filled in. Returns where that is.
  (func $packet (param $size i32) (param $rest i32) (result i32) (local $at i32)
    (local.set $at (global.get $out_end))
    (i32.store (local.get $at) (local.get $size))
    (i32.store offset=4 (local.get $at) (local.get $rest))
    (global.set $out_end
      (i32.add (local.get $at) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (i32.add (local.get $at) (i32.const 8)))

  (func $compose_call (param $calls i32) (local $at i32)
    (if (i32.and
          (i32.lt_u (global.get $calls) (local.get $calls))
          (i32.lt_u (i32.sub (global.get $calls) (global.get $replies)) (i32.const 100)))
      (then
        (local.set $at (call $packet (i32.const 12) (i32.const 0)))
        (i32.store (local.get $at) (global.get $calls))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1))))))

  (func $compose_data (param $bytes i32) (local $at i32) (local $size i32)
    (local.set $size
      (call $min (call $size)
        (call $min (global.get $window) (i32.sub (local.get $bytes) (global.get $sent)))))
    (if (local.get $size)
      (then
        (local.set $at (call $packet (i32.add (local.get $size) (i32.const 16)) (i32.const 0x30001)))
        (i64.store (local.get $at) (i64.const 0))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (global.set $window (i32.sub (global.get $window) (local.get $size)))
        (loop $next
          (i32.store8 (local.get $at) (call $byte (global.get $sent)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (global.set $sent (i32.add (global.get $sent) (i32.const 1)))
          (br_if $next (local.tee $size (i32.sub (local.get $size) (i32.const 1))))))))

  (func $compose_flow (local $at i32)
    (if (i32.and (global.get $accepted) (i32.gt_u (global.get $consumed) (call $rand (i32.const 4000))))
      (then
        (local.set $at (call $packet (i32.const 16) (i32.const 0x20001)))
        (i32.store (local.get $at) (i32.const 0))
        (i32.store offset=4 (local.get $at) (global.get $consumed))
        (global.set $consumed (i32.const 0)))))

  ;; Sends and receives, in pieces of random sizes.
  (func $transfer (local $size i32) (local $first i32)
    (local.set $size (call $min (call $size) (i32.sub (global.get $out_end) (global.get $out))))
    (local.set $first (call $rand (i32.add (local.get $size) (i32.const 1))))
    (i32.store (i32.const 0x110) (global.get $out))
    (i32.store (i32.const 0x114) (local.get $first))
    (i32.store (i32.const 0x118) (i32.add (global.get $out) (local.get $first)))
    (i32.store (i32.const 0x11c) (i32.sub (local.get $size) (local.get $first)))
    (local.set $size (call $size))
    (local.set $first (call $rand (i32.add (local.get $size) (i32.const 1))))
    (i32.store (i32.const 0x100) (global.get $in_end))
    (i32.store (i32.const 0x104) (local.get $first))
    (i32.store (i32.const 0x108) (i32.add (global.get $in_end) (local.get $first)))
    (i32.store (i32.const 0x10c) (i32.sub (local.get $size) (local.get $first)))
    (call $io
      (i32.const 0x100) (i32.const 2) (i32.const 0x120)
      (i32.const 0x110) (i32.const 2) (i32.const 0x124)
      (i64.const -1) (i32.const 0x128))
    (global.set $in_end (i32.add (global.get $in_end) (i32.load (i32.const 0x120))))
    (global.set $out (i32.add (global.get $out) (i32.load (i32.const 0x124)))))

  (func $check (param $is i32) (if (i32.eqz (local.get $is)) (then unreachable)))

  ;; What a whole packet says.
  (func $understand (param $at i32) (param $size i32) (local $kind i32)
    (local.set $kind (i32.load offset=4 (local.get $at)))
    (local.set $size (i32.sub (local.get $size) (i32.const 8)))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    ;; A reply has the number of its call.
    (if (i32.eqz (local.get $kind))
      (then
        (call $check (i32.eq (local.get $size) (i32.const 4)))
        (call $check (i32.eq (i32.load (local.get $at)) (i32.mul (global.get $replies) (i32.const 3))))
        (global.set $replies (i32.add (global.get $replies) (i32.const 1)))
        return))
    ;; A connection was accepted: once, and it is the first.
    (if (i32.eq (local.get $kind) (i32.const 1))
      (then
        (call $check (i64.eqz (i64.load (local.get $at))))
        (call $check (i32.eqz (global.get $accepted)))
        (global.set $accepted (i32.const 1))
        return))
    (if (i32.eq (local.get $kind) (i32.const 0x20001))
      (then
        (call $check (i32.eqz (i32.load (local.get $at))))
        (call $check (i32.gt_s (i32.load offset=4 (local.get $at)) (i32.const 0)))
        (global.set $window (i32.add (global.get $window) (i32.load offset=4 (local.get $at))))
        return))
    (if (i32.eq (local.get $kind) (i32.const 0x30001))
      (then
        (call $check (i64.eqz (i64.load (local.get $at))))
        (call $check (i32.eqz (global.get $ended)))
        (local.set $size (i32.sub (local.get $size) (i32.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (if (i32.eqz (local.get $size)) (then (global.set $ended (i32.const 1)) return))
        (global.set $consumed (i32.add (global.get $consumed) (local.get $size)))
        (loop $next
          (call $check (i32.eq (i32.load8_u (local.get $at)) (call $byte (global.get $received))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (global.set $received (i32.add (global.get $received) (i32.const 1)))
          (br_if $next (local.tee $size (i32.sub (local.get $size) (i32.const 1)))))
        return))
    ;; Which services there are: after discovery, and whenever the program goes on.
    (call $check
      (i32.or (i32.eq (local.get $kind) (i32.const 0xffff)) (i32.eq (local.get $kind) (i32.const 0x1ffff))))
    (call $check (i32.eq (i32.load (local.get $at)) (i32.const 0x1010002))))

  (func $understand_all (local $size i32)
    (block $done
      (loop $next
        (br_if $done (i32.lt_u (i32.sub (global.get $in_end) (global.get $in)) (i32.const 8)))
        (local.set $size (i32.and (i32.add (i32.load (global.get $in)) (i32.const 7)) (i32.const -8)))
        (br_if $done (i32.lt_u (i32.sub (global.get $in_end) (global.get $in)) (local.get $size)))
        (call $understand (global.get $in) (i32.load (global.get $in)))
        (global.set $in (i32.add (global.get $in) (local.get $size)))
        (br $next)))
    ;; What is left moves to the beginning.
    (memory.copy (i32.const 0x10000) (global.get $in) (i32.sub (global.get $in_end) (global.get $in)))
    (global.set $in_end (i32.sub (global.get $in_end) (i32.sub (global.get $in) (i32.const 0x10000))))
    (global.set $in (i32.const 0x10000)))

  ;; Makes so many calls, and sends and receives so many bytes. Returns the number of bytes that were received.
  (func (export "exchange") (param $seed i32) (param $calls i32) (param $bytes i32) (result i32)
    (global.set $random (local.get $seed))
    (loop $again
      (if (i32.eq (global.get $out) (global.get $out_end))
        (then
          (global.set $out (i32.const 0x80000))
          (global.set $out_end (i32.const 0x80000))
          (loop $more
            (call $compose_call (local.get $calls))
            (if (call $rand (i32.const 2)) (then (call $compose_data (local.get $bytes))))
            (call $compose_flow)
            (br_if $more (call $rand (i32.const 3))))))
      (call $transfer)
      (call $understand_all)
      (br_if $again
        (i32.or
          (i32.or
            (i32.ne (global.get $replies) (local.get $calls))
            (i32.ne (global.get $sent) (local.get $bytes)))
          (i32.or
            (i32.ne (global.get $out) (global.get $out_end))
            (i32.eqz (global.get $ended))))))
    (global.get $received))
)
