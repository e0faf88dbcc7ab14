;; Exchanges packets for ever: each exported function in one way.
(module
  (import "gate" "io_65536" (func $io (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (memory (export "memory") 32)

  ;; 0: buffer to receive into, 8: buffer to send from, 16: bytes received, 20: bytes sent, 24: for a while.
  ;; 64 on: packets. 0x10000 on: two buffers of 256 KiB. 0x100000 on: four data packets of the greatest size.

  ;; Discovery of the two services: 0 is "empty", 1 is "origin".
  (data (i32.const 64) "\17\00\00\00\ff\ff\00\00\02\00\05empty\06origin\00")
  ;; An empty call of each.
  (data (i32.const 96) "\08\00\00\00\00\00\00\00")
  (data (i32.const 104) "\08\00\00\00\01\00\00\00")
  ;; How much more is wanted on stream 0.
  (data (i32.const 112) "\10\00\00\00\01\00\02\00\00\00\00\00\00\00\10\00")
  (data (i32.const 0x100000) "\00\00\01\00\01\00\03\00")
  (data (i32.const 0x110000) "\00\00\01\00\01\00\03\00")
  (data (i32.const 0x120000) "\00\00\01\00\01\00\03\00")
  (data (i32.const 0x130000) "\00\00\01\00\01\00\03\00")

  ;; Receives and sends as much as possible at once. Waits until that is something.
  (func $transfer (param $to i32) (param $room i32) (param $from i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $to))
    (i32.store (i32.const 4) (local.get $room))
    (i32.store (i32.const 8) (local.get $from))
    (i32.store (i32.const 12) (local.get $size))
    (call $io
      (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 8) (i32.const 1) (i32.const 20) (i64.const -1) (i32.const 0)))
  (func $received (result i32) (i32.load (i32.const 16)))
  (func $sent (result i32) (i32.load (i32.const 20)))

  ;; Sends a packet, and receives one of a size that is known.
  (func $exchange (param $from i32) (param $size i32) (param $to i32) (param $room i32)
    (loop $more
      (call $transfer (local.get $to) (local.get $room) (local.get $from) (local.get $size))
      (local.set $to (i32.add (local.get $to) (call $received)))
      (local.set $room (i32.sub (local.get $room) (call $received)))
      (local.set $from (i32.add (local.get $from) (call $sent)))
      (local.set $size (i32.sub (local.get $size) (call $sent)))
      (br_if $more (i32.or (local.get $room) (local.get $size)))))

  (func $discover
    (call $exchange (i32.const 64) (i32.const 24) (i32.const 0x10000) (i32.const 16)))
  (func $accept
    (call $discover)
    (call $exchange (i32.const 104) (i32.const 8) (i32.const 0x10000) (i32.const 16)))

  ;; Makes empty calls, each after the reply to the one before.
  (func (export "call")
    (call $discover)
    (loop $again
      (call $exchange (i32.const 96) (i32.const 8) (i32.const 0x10000) (i32.const 8))
      (br $again)))

  ;; Sends everything back that comes, flow packets too: so as much is wanted here as there.
  (func (export "echo")
    (local $in i32) (local $out i32) (local $from i32) (local $size i32)
    (call $accept)
    (local.set $in (i32.const 0x10000))
    (local.set $out (i32.const 0x50000))
    (loop $again
      ;; What comes while something is sent waits in the other buffer.
      (call $transfer (local.get $in) (i32.const 0x40000) (local.get $from) (local.get $size))
      (local.set $from (i32.add (local.get $from) (call $sent)))
      (local.set $size (i32.sub (local.get $size) (call $sent)))
      (br_if $again (i32.eqz (call $received)))
      (block $done (loop $rest
        (br_if $done (i32.eqz (local.get $size)))
        (i32.store (i32.const 24) (call $received))
        (call $transfer (i32.const 0) (i32.const 0) (local.get $from) (local.get $size))
        (local.set $from (i32.add (local.get $from) (call $sent)))
        (local.set $size (i32.sub (local.get $size) (call $sent)))
        (i32.store (i32.const 16) (i32.load (i32.const 24)))
        (br $rest)))
      (local.set $from (local.get $in))
      (local.set $size (call $received))
      (local.set $in (local.get $out))
      (local.set $out (local.get $from))
      (br $again)))

  ;; Sends as much as is wanted. All that comes are flow packets, of 16 bytes.
  (func (export "source") (local $window i32) (local $at i32) (local $from i32) (local $size i32)
    (call $accept)
    (loop $again
      ;; As many whole packets as are allowed.
      (local.set $size (i32.div_u (local.get $window) (i32.const 65520)))
      (if (i32.gt_u (local.get $size) (i32.const 4)) (then (local.set $size (i32.const 4))))
      (local.set $window (i32.sub (local.get $window) (i32.mul (local.get $size) (i32.const 65520))))
      (local.set $size (i32.shl (local.get $size) (i32.const 16)))
      (local.set $from (i32.const 0x100000))
      (loop $send
        (call $transfer (i32.const 0x10000) (i32.const 1024) (local.get $from) (local.get $size))
        (local.set $from (i32.add (local.get $from) (call $sent)))
        (local.set $size (i32.sub (local.get $size) (call $sent)))
        (local.set $at (i32.const 0))
        (block $done (loop $flow
          (br_if $done (i32.ge_u (local.get $at) (call $received)))
          (local.set $window
            (i32.add (local.get $window) (i32.load offset=0x1000c (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br $flow)))
        (br_if $send (local.get $size)))
      (br $again)))

  ;; Receives everything, and wants a little more than that each time.
  (func (export "sink") (local $size i32)
    (call $accept)
    (call $exchange (i32.const 112) (i32.const 16) (i32.const 0x10000) (i32.const 16))
    (loop $again
      (call $transfer (i32.const 0x10000) (i32.const 0x40000) (i32.const 112) (local.get $size))
      (if (i32.ne (call $sent) (local.get $size)) (then unreachable))
      (i32.store (i32.const 124) (call $received))
      (local.set $size (select (i32.const 16) (i32.const 0) (call $received)))
      (br $again)))
)
