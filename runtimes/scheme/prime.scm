(display "ready")
