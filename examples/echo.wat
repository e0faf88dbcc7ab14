;; Sends back what it receives on each connection to its service `origin`.
;;
;;   echo hello | gate run examples/echo.wat
;;   gate run --origin listen=127.0.0.1:7000 examples/echo.wat
;;
;; It asks for the service, and accepts connections, one call for each. Everything else it receives, data and how much may be
;; sent, it sends back as it is: so the one direction of a stream never carries more than the other has room for.
(module
  (import "gate" "io_65536" (func $io (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (memory (export "memory") 4)

  ;; Where the calls' results go. (An address of zero would mean that they are not wanted.)
  (global $received i32 (i32.const 4))
  (global $sent i32 (i32.const 24))
  ;; Buffers for the calls: pointer and size.
  (global $receive_buffer i32 (i32.const 8))
  (global $send_buffer i32 (i32.const 16))
  ;; The packet that is being received, as far as it has come.
  (global $packet i32 (i32.const 0x10000))
  (global $size (mut i32) (i32.const 0))
  ;; Streams that are open.
  (global $open (mut i32) (i32.const 0))

  ;; Asks for one service. Its code will be 0.
  (data (i32.const 32) "\11\00\00\00\ff\ff\00\00" "\01\00\06origin\00\00\00\00\00\00\00")
  ;; Calls it: accepts a connection.
  (data (i32.const 64) "\08\00\00\00\00\00\00\00")

  ;; Sends all of some packets.
  (func $send (param $from i32) (param $size i32)
    (loop $more
      (i32.store (global.get $send_buffer) (local.get $from))
      (i32.store offset=4 (global.get $send_buffer) (local.get $size))
      (call $io (i32.const 0) (i32.const 0) (i32.const 0)
        (global.get $send_buffer) (i32.const 1) (global.get $sent) (i64.const -1) (i32.const 0))
      (local.set $from (i32.add (local.get $from) (i32.load (global.get $sent))))
      (local.set $size (i32.sub (local.get $size) (i32.load (global.get $sent))))
      (br_if $more (local.get $size))))

  ;; Receives until there are so many bytes of the packet.
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

  ;; Receives a packet with its padding. Returns its size with that.
  (func $receive (result i32)
    (local $padded i32)
    (global.set $size (i32.const 0))
    (call $receive_until (i32.const 8))
    (local.set $padded (i32.and (i32.add (i32.load (global.get $packet)) (i32.const 7)) (i32.const -8)))
    (call $receive_until (local.get $padded))
    (local.get $padded))

  (func (export "_start")
    (local $padded i32) (local $domain i32)
    (call $send (i32.const 32) (i32.const 24))
    (call $send (i32.const 64) (i32.const 8))
    (loop $next
      (local.set $padded (call $receive))
      (local.set $domain (i32.load8_u offset=6 (global.get $packet)))
      ;; What is not from the service is about which services there are.
      (br_if $next (i32.load16_s offset=4 (global.get $packet)))
      (if (i32.eqz (local.get $domain))
        (then
          ;; Somebody has connected, or nobody ever will again.
          (if (i32.eqz (i32.load offset=12 (global.get $packet)))
            (then
              (global.set $open (i32.add (global.get $open) (i32.const 1)))
              (call $send (i32.const 64) (i32.const 8)))
            (else (global.set $open (i32.or (global.get $open) (i32.const 0x80000000)))))
          ;; It may be that all streams have ended before.
          (br_if $next (i32.ne (global.get $open) (i32.const 0x80000000)))
          (return)))
      (call $send (global.get $packet) (local.get $padded))
      ;; Data without bytes is the end of a stream.
      (if (i32.and
            (i32.eq (local.get $domain) (i32.const 3))
            (i32.eq (i32.load (global.get $packet)) (i32.const 16)))
        (then (global.set $open (i32.sub (global.get $open) (i32.const 1)))))
      (br_if $next (i32.ne (global.get $open) (i32.const 0x80000000))))))
