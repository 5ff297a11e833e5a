cat("before\n")
number <- (1 + ]
