(format t "hello, world~%")
