cat("before\n")
nothing <- NULL
nothing$field()
