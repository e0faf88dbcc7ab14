;; Connects a stream of its service `origin` with one of its service `notes`. All that the one says on the stream it tells the
;; other: data, and how much is wanted. It exits with the note at the end of what `notes` sends.
(module
  (import "gate" "io_65536" (func $io (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 8)

  (global $received i32 (i32.const 4))
  (global $sent i32 (i32.const 24))
  (global $receive_buffer i32 (i32.const 8))
  (global $send_buffer i32 (i32.const 16))
  (global $packet i32 (i32.const 0x10000))
  (global $size (mut i32) (i32.const 0))
  ;; Packets that came before both streams were there.
  (global $kept i32 (i32.const 0x40000))
  (global $kept_size (mut i32) (i32.const 0))
  (global $open (mut i32) (i32.const 0))
  ;; Directions that are over.
  (global $over (mut i32) (i32.const 0))
  (global $note (mut i32) (i32.const 0))

  ;; Asks for two services. Their codes will be 0 and 1. Then accepts a connection of the one, and calls the other.
  (data (i32.const 32)
    "\17\00\00\00\ff\ff\00\00" "\02\00\06origin\05notes\00"
    "\08\00\00\00\00\00\00\00"
    "\0c\00\00\00\01\00\00\00" "open\00\00\00\00")

  (func $send (param $from i32) (param $size i32)
    (loop $more
      (i32.store (global.get $send_buffer) (local.get $from))
      (i32.store offset=4 (global.get $send_buffer) (local.get $size))
      (call $io (i32.const 0) (i32.const 0) (i32.const 0)
        (global.get $send_buffer) (i32.const 1) (global.get $sent) (i64.const -1) (i32.const 0))
      (local.set $from (i32.add (local.get $from) (i32.load (global.get $sent))))
      (local.set $size (i32.sub (local.get $size) (i32.load (global.get $sent))))
      (br_if $more (local.get $size))))

  (func $receive_until (param $size i32)
    (loop $more
      (if (i32.lt_u (global.get $size) (local.get $size))
        (then
          (i32.store (global.get $receive_buffer) (i32.add (global.get $packet) (global.get $size)))
          (i32.store offset=4 (global.get $receive_buffer) (i32.sub (local.get $size) (global.get $size)))
          (call $io (global.get $receive_buffer) (i32.const 1) (global.get $received)
            (i32.const 0) (i32.const 0) (i32.const 0) (i64.const -1) (i32.const 0))
          (global.set $size (i32.add (global.get $size) (i32.load (global.get $received))))
          (br $more)))))

  (func $receive (result i32)
    (local $padded i32)
    (global.set $size (i32.const 0))
    (call $receive_until (i32.const 8))
    (local.set $padded (i32.and (i32.add (i32.load (global.get $packet)) (i32.const 7)) (i32.const -8)))
    (call $receive_until (local.get $padded))
    (local.get $padded))

  (func (export "_start")
    (local $padded i32) (local $code i32) (local $domain i32) (local $value i32)
    (call $send (i32.const 32) (i32.const 48))
    (loop $next
      (local.set $padded (call $receive))
      (local.set $code (i32.load16_s offset=4 (global.get $packet)))
      (local.set $domain (i32.load8_u offset=6 (global.get $packet)))
      (br_if $next (i32.lt_s (local.get $code) (i32.const 0)))
      (if (i32.eqz (local.get $domain))
        (then
          ;; Both replies have eight bytes. A call that nobody answers has none.
          (if (i32.ne (local.get $padded) (i32.const 16)) (then (call $exit (i32.const 99))))
          (global.set $open (i32.add (global.get $open) (i32.const 1)))
          (br_if $next (i32.lt_u (global.get $open) (i32.const 2)))
          (if (global.get $kept_size)
            (then (call $send (global.get $kept) (global.get $kept_size))))
          (br $next)))
      ;; The end of data, or of what is wanted, is the end of a direction.
      (if (i32.eq (i32.load (global.get $packet)) (i32.const 16))
        (then
          (local.set $value (i32.load offset=12 (global.get $packet)))
          (if (i32.eq (local.get $domain) (i32.const 3))
            (then
              (global.set $over
                (i32.or (global.get $over) (i32.shl (i32.const 1) (local.get $code))))
              (if (local.get $code) (then (global.set $note (local.get $value)))))
            (else
              (if (i32.eqz (local.get $value))
                (then
                  (global.set $over
                    (i32.or (global.get $over) (i32.shl (i32.const 1) (i32.xor (local.get $code) (i32.const 1)))))))))))
      (i32.store16 offset=4 (global.get $packet) (i32.xor (local.get $code) (i32.const 1)))
      (if (i32.lt_u (global.get $open) (i32.const 2))
        (then
          (memory.copy (i32.add (global.get $kept) (global.get $kept_size)) (global.get $packet) (local.get $padded))
          (global.set $kept_size (i32.add (global.get $kept_size) (local.get $padded))))
        (else (call $send (global.get $packet) (local.get $padded))))
      (br_if $next (i32.ne (global.get $over) (i32.const 3))))
    (call $exit (global.get $note))))
