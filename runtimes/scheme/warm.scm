;; Uses what programs use most, so that a template's page cache holds it.
(import (chicken condition) (chicken file) (chicken format) (chicken io) (chicken irregex) (chicken port) (chicken process)
        (chicken process-context) (chicken random) (chicken sort) (chicken string) (chicken time) (chicken time posix))

(define words (sort (string-split "warm the cache") string<?))
(printf "~A ~A ~A~%" words (pseudo-random-real) (irregex-replace "a" "warm" "A"))
(display (handle-exceptions condition "caught" (error "warm")))
(system "true")
(newline)
