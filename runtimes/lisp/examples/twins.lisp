;;; *random-state* is the same in every run by definition; a state of one's own comes from the system.
(format t "~D~%" (random (expt 2 64) (make-random-state t)))
(with-open-file (source "/dev/urandom" :element-type '(unsigned-byte 64))
  (format t "~16,'0X~%" (read-byte source)))
