(format t "before~%")
(finish-output)
(error "this program ends here")
