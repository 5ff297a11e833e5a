# Uses what programs use most, so that a template's page cache holds the interpreter and its library.
set words [lsort [split "warm the cache"]]
puts "[string toupper [lindex $words 0]] [format %.3f [expr {rand()}]] [clock format 0 -format %Y -gmt 1]"
puts [regsub -all {(\w)(\w)} "warm" {\2\1}]
set found [dict create a 1]
dict for {key value} $found { puts "$key [incr value]" }
exec true
catch { error warm }
encoding names
