(display "before")
(newline)
(let ((number 1)
  (display number)
