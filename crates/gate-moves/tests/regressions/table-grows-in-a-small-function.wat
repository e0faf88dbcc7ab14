;; A function that could do without checks, but for growing a table.
(module
  (table (export "table") 1 9 funcref)
  (func $grow (param i32) (result i32)
    (drop (table.grow (ref.null func) (local.get 0)))
    (i32.add (table.size) (local.get 0)))
  (func (export "the driver") (result i64)
    (i64.extend_i32_s (i32.add (call $grow (i32.const 3)) (call $grow (i32.const 40))))))
