cat("ready\n")
