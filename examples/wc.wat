;; Counts lines, words and bytes of standard input, like wc.
;;
;;   gate run examples/wc.wat <README.md
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; 0: a buffer's address and length, as fd_read and fd_write take them
  ;; 8: number of bytes read or written
  ;; 1024 to 1152: the output, which is put together from its end
  ;; 65536: input
  (memory (export "memory") 2)

  (global $lines (mut i64) (i64.const 0))
  (global $words (mut i64) (i64.const 0))
  (global $bytes (mut i64) (i64.const 0))
  ;; Whether the last byte seen belongs to a word: it may go on in the next piece of input.
  (global $in_word (mut i32) (i32.const 0))
  ;; Where the output begins.
  (global $output (mut i32) (i32.const 1152))

  (func (export "_start")
    (local $size i32)
    (loop $more
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 65536))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (local.set $size (i32.load (i32.const 8)))
      ;; Nothing read is the end of the input.
      (if (local.get $size)
        (then
          (call $count (local.get $size))
          (br $more))))

    ;; From right to left.
    (call $put (i32.const 10))
    (call $put_number (global.get $bytes))
    (call $put (i32.const 32))
    (call $put_number (global.get $words))
    (call $put (i32.const 32))
    (call $put_number (global.get $lines))
    (i32.store (i32.const 0) (global.get $output))
    (i32.store (i32.const 4) (i32.sub (i32.const 1152) (global.get $output)))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 1)))))

  ;; Counts what is in a piece of the input.
  (func $count (param $size i32)
    (local $at i32)
    (local $end i32)
    (local $byte i32)
    (global.set $bytes (i64.add (global.get $bytes) (i64.extend_i32_u (local.get $size))))
    (local.set $at (i32.const 65536))
    (local.set $end (i32.add (i32.const 65536) (local.get $size)))
    (loop $next
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 10))
        (then (global.set $lines (i64.add (global.get $lines) (i64.const 1)))))
      (if (call $is_space (local.get $byte))
        (then (global.set $in_word (i32.const 0)))
        (else
          ;; A word is counted at its first byte.
          (global.set $words
            (i64.add (global.get $words) (i64.extend_i32_u (i32.eqz (global.get $in_word)))))
          (global.set $in_word (i32.const 1))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))

  ;; Space, or one of the five controls from tab to carriage return.
  (func $is_space (param $byte i32) (result i32)
    (i32.or
      (i32.eq (local.get $byte) (i32.const 32))
      (i32.lt_u (i32.sub (local.get $byte) (i32.const 9)) (i32.const 5))))

  ;; Puts a byte in front of the output.
  (func $put (param $byte i32)
    (global.set $output (i32.sub (global.get $output) (i32.const 1)))
    (i32.store8 (global.get $output) (local.get $byte)))

  ;; Puts a number in front of the output, last digit first.
  (func $put_number (param $number i64)
    (loop $digit
      (call $put
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $number) (i64.const 0))))))
