(format t "before~%")
(let ((number 1))
  (format t "never~%")
