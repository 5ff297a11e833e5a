# One line for each source of chance.
puts "[expr {rand()}] [expr {rand()}]"
set source [open /dev/urandom rb]
binary scan [read $source 16] H* digits
puts $digits
