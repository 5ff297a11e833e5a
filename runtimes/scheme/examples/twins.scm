;; One line for each source of chance.
(import (chicken blob) (chicken random))

(display (pseudo-random-integer (expt 2 64)))
(newline)
(write (random-bytes (make-blob 16)))
(newline)
