;; A table that grows by more elements than there may be: -1, in every engine with the same limit.
(module
  (table (export "table") 1 funcref)
  (func (export "the driver") (result i64)
    (i64.extend_i32_s (table.grow (ref.null func) (i32.const 0x7fffffff)))))
