;;; Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
(let* ((numbers (sort (loop for number = (read *standard-input* nil) while number collect number) #'<))
       (sum (reduce #'+ numbers)))
  (format t "~{~D~^ ~}~%sum ~D~%" numbers sum)
  (with-open-file (file "sum.txt" :direction :output :if-exists :supersede)
    (format file "~D~%" sum))
  (sb-ext:exit :code 3))
