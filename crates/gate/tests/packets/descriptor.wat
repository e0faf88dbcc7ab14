  (import "gate" "fd_65536" (func $fd (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))

  ;; A subscription, at 0x30000 and after: what for, and of which descriptor.
  (func $subscribe (param $at i32) (param $tag i32)
    (i32.store8 offset=8 (local.get $at) (local.get $tag))
    (i32.store offset=16 (local.get $at) (call $fd)))

  ;; What can be had without waiting: a number of bytes, after an operation that fails when it would have to wait.
  (func $now (param $errno i32) (param $count i32) (result i32)
    (if (i32.eqz (local.get $errno)) (then (return (i32.load (local.get $count)))))
    (if (i32.ne (local.get $errno) (i32.const 6)) (then unreachable))
    (i32.store (local.get $count) (i32.const 0))
    (i32.const 0))

  (func $io (param $receive i32) (param $receive_len i32) (param $received i32)
    (param $send i32) (param $send_len i32) (param $sent i32) (param i64 i32)
    (local $done i32)
    (loop $again
      (if (local.get $send_len) (then
        (local.set $done (call $now
          (call $fd_write (call $fd) (local.get $send) (local.get $send_len) (local.get $sent))
          (local.get $sent)))))
      (if (local.get $receive_len) (then
        (local.set $done (i32.add (local.get $done) (call $now
          (call $fd_read (call $fd) (local.get $receive) (local.get $receive_len) (local.get $received))
          (local.get $received))))))
      (if (local.get $done) (then (return)))
      (call $subscribe (i32.const 0x30000) (i32.const 1))
      (call $subscribe (i32.const 0x30030) (i32.const 2))
      ;; Only what is wanted: to receive, or else to send.
      (if (call $poll
            (select (i32.const 0x30000) (i32.const 0x30030) (local.get $receive_len))
            (i32.const 0x30100) (i32.const 1) (i32.const 0x30200))
        (then unreachable))
      (if (i32.load16_u (i32.const 0x30108)) (then unreachable))
      (br $again)))
