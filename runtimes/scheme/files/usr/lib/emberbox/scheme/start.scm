; Runs a script as `csi -script` does. CHICKEN seeds its generator from the clock as it starts, and an interpreter that is held in a
; template has started long ago: once the script is looked for, which is where it is held, the generator is seeded anew.
(module emberbox-start ()
  (import scheme (chicken base) (chicken file) (chicken load) (chicken process-context) (chicken random))
  (let ((script (car (command-line-arguments))))
    (file-exists? script)
    (set-pseudo-random-seed! (random-bytes (make-string 32)))
    (command-line-arguments (cdr (command-line-arguments)))
    (program-name script)
    (load script)))
