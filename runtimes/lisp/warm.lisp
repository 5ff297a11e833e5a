;;; Uses what programs use most, so that a template's page cache holds the interpreter's core.
(defun twice (number) (* 2 number))
(compile (quote twice))
(format t "~A ~A ~,3F ~S~%" (sort (list "warm" "the" "cache") #'string<) (twice 21) (random 1.0) (get-universal-time))
(handler-case (error "warm") (error (condition) (format t "~A~%" condition)))
(let ((table (make-hash-table :test #'equal)))
  (setf (gethash "a" table) 1)
  (loop for key being the hash-keys of table do (format t "~A~%" key)))
