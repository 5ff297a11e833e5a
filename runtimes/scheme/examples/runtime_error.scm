(display "before")
(newline)
(flush-output)
(car '())
