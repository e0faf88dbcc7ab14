;; Never ends by itself.
(module (func $spin (export "_start") (loop $again (br $again))))
