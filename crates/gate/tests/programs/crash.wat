;; Traps.
(module (func (export "fail") unreachable))
