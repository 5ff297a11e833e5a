(format t "ready~%")
