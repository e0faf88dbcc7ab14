;; Greets: each argument, or the world if there are none.
;;
;;   gate run examples/hello.wat
;;   gate run examples/hello.wat Ada Grace
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; 0: list of buffers for fd_write   32: number of bytes written
  ;; 40: number of arguments           44: size of all arguments
  ;; 1024: pointers to the arguments, and behind them the arguments themselves
  (memory (export "memory") 1)
  (data (i32.const 64) "Hello, ")
  (data (i32.const 72) "world")
  (data (i32.const 80) "!\n")

  (func (export "_start")
    (local $count i32)
    (local $i i32)
    (local $strings i32)
    (if (call $args_sizes_get (i32.const 40) (i32.const 44))
      (then (call $proc_exit (i32.const 1))))
    (local.set $count (i32.load (i32.const 40)))

    ;; The first argument is the program's own name.
    (if (i32.le_u (local.get $count) (i32.const 1))
      (then
        (call $greet (i32.const 72) (i32.const 5))
        (return)))

    ;; Pointers take four bytes each; whatever does not fit in memory is refused with an error number.
    (local.set $strings (i32.add (i32.const 1024) (i32.mul (local.get $count) (i32.const 4))))
    (if (call $args_get (i32.const 1024) (local.get $strings))
      (then (call $proc_exit (i32.const 1))))
    (local.set $i (i32.const 1))
    (loop $next
      (call $greet_string
        (i32.load (i32.add (i32.const 1024) (i32.mul (local.get $i) (i32.const 4)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $count)))))

  ;; Greets a name that ends with a zero byte.
  (func $greet_string (param $name i32)
    (local $end i32)
    (local.set $end (local.get $name))
    (block $found
      (loop $search
        (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $search)))
    (call $greet (local.get $name) (i32.sub (local.get $end) (local.get $name))))

  ;; Writes "Hello, NAME!" with a single call: a list of three buffers.
  (func $greet (param $name i32) (param $length i32)
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 7))
    (i32.store (i32.const 8) (local.get $name))
    (i32.store (i32.const 12) (local.get $length))
    (i32.store (i32.const 16) (i32.const 80))
    (i32.store (i32.const 20) (i32.const 2))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 3) (i32.const 32))
      (then (call $proc_exit (i32.const 1))))))
