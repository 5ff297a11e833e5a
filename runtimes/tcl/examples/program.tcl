# Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
set numbers [lsort -integer [regexp -all -inline {\S+} [read stdin]]]
set sum [tcl::mathop::+ {*}$numbers]
puts [join $numbers " "]
puts "sum $sum"
set file [open sum.txt w]
puts $file $sum
close $file
exit 3
