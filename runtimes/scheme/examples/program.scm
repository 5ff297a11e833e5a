;; Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
(import (chicken io) (chicken port) (chicken sort) (chicken string))

(define numbers (sort (map string->number (string-split (read-string #f (current-input-port)) " \t\r\n")) <))
(define sum (apply + numbers))

(display (string-intersperse (map number->string numbers) " "))
(newline)
(display "sum ")
(display sum)
(newline)
(with-output-to-file "sum.txt" (lambda () (display sum) (newline)))
(exit 3)
