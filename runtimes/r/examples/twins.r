# One line for each source of chance.
cat(sprintf("%.9f %.9f", runif(1), runif(1)), "\n")
cat(sample(1000, 100), "\n")
cat(rnorm(3), "\n")
source <- file("/dev/urandom", "rb", raw = TRUE)
cat(format(readBin(source, "raw", 16)), "\n")
