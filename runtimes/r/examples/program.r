# Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
numbers <- sort(scan(file("stdin"), what = integer(), quiet = TRUE))
cat(numbers)
cat("\nsum ", sum(numbers), "\n", sep = "")
cat(sum(numbers), "\n", sep = "", file = "sum.txt")
quit(status = 3)
