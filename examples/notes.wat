;; Adds notes to a service in another process, and exits with the number of notes that there are then.
;;
;;   python3 examples/service.py unix:/tmp/notes.sock &
;;   gate run --service notes=grpc:unix:/tmp/notes.sock examples/notes.wat; echo $?
;;
;; It adds a hundred, each a few milliseconds after the other, so that there is time to suspend it, or to stop the server. If
;; the server is gone, it waits for the next one, and the exit code is greater by 128. It uses `rt_read8` and `rt_write8`: packets
;; are sent and received eight bytes at a time, and their numbers are little-endian.
(module
  (import "env" "rt_read8" (func $read (result i64)))
  (import "env" "rt_write8" (func $write (param i64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)

  (global $available (mut i32) (i32.const 0))

  ;; Receives packets down to the next one from the service. Returns its first eight bytes behind the header, or -1 if there are
  ;; none. Packets about which services there are have the code -1. With $change, it returns after one of those.
  (func $receive (param $change i32) (result i64)
    (local $header i64) (local $words i32) (local $first i64)
    (loop $next
      (local.set $header (call $read))
      (local.set $first (i64.const -1))
      (local.set $words (i32.shr_u (i32.sub (i32.wrap_i64 (local.get $header)) (i32.const 1)) (i32.const 3)))
      (if (local.get $words) (then (local.set $first (call $read))))
      (loop $rest
        (if (i32.gt_u (local.get $words) (i32.const 1))
          (then
            (drop (call $read))
            (local.set $words (i32.sub (local.get $words) (i32.const 1)))
            (br $rest))))
      ;; The code is in the header's third 16 bits. What follows is a number of services, and their flags.
      (if (i32.eq (i32.and (i32.wrap_i64 (i64.shr_u (local.get $header) (i64.const 32))) (i32.const 0xffff)) (i32.const 0xffff))
        (then
          (global.set $available
            (i32.and (i32.wrap_i64 (i64.shr_u (local.get $first) (i64.const 16))) (i32.const 1)))
          (br_if $next (i32.eqz (local.get $change))))))
    (local.get $first))

  (func (export "_start")
    (local $added i32) (local $count i64) (local $code i32)
    ;; Asks for one service (code -1, 16 bytes): its number, the size of its name, the name.
    (call $write (i64.const 0x0000ffff_00000010))
    (call $write (i64.const 0x7365746f6e_05_0001)) ;; "notes"
    (drop (call $receive (i32.const 1)))
    (loop $more
      ;; As long as it is not there, something about services comes next.
      (loop $wait
        (if (i32.eqz (global.get $available))
          (then
            (drop (call $receive (i32.const 1)))
            (br $wait))))
      ;; Calls it with "slow" (12 bytes).
      (call $write (i64.const 12))
      (call $write (i64.const 0x776f6c73))
      (local.set $count (call $receive (i32.const 0)))
      (if (i64.eq (local.get $count) (i64.const -1))
        (then (local.set $code (i32.const 128)))
        (else (local.set $added (i32.add (local.get $added) (i32.const 1)))))
      (br_if $more (i32.lt_u (local.get $added) (i32.const 100))))
    (call $exit (i32.or (local.get $code) (i32.and (i32.wrap_i64 (local.get $count)) (i32.const 127))))))
