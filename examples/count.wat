;; Counts how often it has been run, and exits with that number. It keeps the count in the service `kv`.
;;
;;   gate run --service kv=counters.db examples/count.wat; echo $?
;;
;; Packets are sent and received eight bytes at a time, and their numbers are little-endian.
(module
  (import "env" "rt_read8" (func $read (result i64)))
  (import "env" "rt_write8" (func $write (param i64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)

  (func $skip (param $words i32)
    (loop $more
      (drop (call $read))
      (br_if $more (local.tee $words (i32.sub (local.get $words) (i32.const 1))))))

  (func (export "_start")
    (local $count i64)
    ;; Asks for one service (code -1, 13 bytes): its number, the size of its name, the name. The answer says that it is there.
    (call $write (i64.const 0x0000ffff_0000000d))
    (call $write (i64.const 0x76_6b_02_0001)) ;; "kv"
    (call $skip (i32.const 2))
    ;; Gets the key "n" (11 bytes). The answer: header, error, version, and the value if there is no error.
    (call $write (i64.const 11))
    (call $write (i64.const 0x6e_01_00))
    (drop (call $read))
    (if (i32.eqz (i32.wrap_i64 (call $read)))
      (then
        (drop (call $read))
        (local.set $count (i64.and (call $read) (i64.const 0xff))))
      (else
        (drop (call $read))))
    ;; Puts the key "n" with the next number as its value (12 bytes).
    (local.set $count (i64.and (i64.add (local.get $count) (i64.const 1)) (i64.const 0xff)))
    (call $write (i64.const 12))
    (call $write (i64.or (i64.const 0x6e_01_01) (i64.shl (local.get $count) (i64.const 24))))
    (call $skip (i32.const 3))
    (call $exit (i32.wrap_i64 (local.get $count)))))
