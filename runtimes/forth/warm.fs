\ Uses what programs use most, so that a template's page cache holds the interpreter.
: square ( n -- n ) dup * ;
5 square . s" warm" type cr
variable x  3 x !  x @ .
1e 3e f/ f. cr
bye
