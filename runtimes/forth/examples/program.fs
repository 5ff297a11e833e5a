\ Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
4096 constant room
create numbers room cells allot
variable count-of   variable sum
create word-buffer 64 allot   variable word-length

: at ( index -- address ) cells numbers + ;
: insert ( number -- )  \ keeps the numbers in order
    count-of @
    begin dup 0> if 2dup 1- at @ < else false then
    while dup 1- at @ over at ! 1- repeat
    at !  1 count-of +! ;
: take-word ( -- )
    word-length @ if
        word-buffer word-length @ s>number? 0= throw drop
        dup sum +! insert  0 word-length !
    then ;
: take ( character -- )
    dup bl > if word-buffer word-length @ + c!  1 word-length +! else drop take-word then ;
: read-all ( -- )
    begin stdin key-file dup 4 <> over -1 <> and while take repeat drop take-word ;
create one-byte 1 allot
: read-bytes ( -- )
    begin one-byte 1 stdin read-file throw while one-byte c@ take repeat take-word ;
: text ( number -- address length ) dup abs 0 <# #s rot sign #> ;
: show ( -- ) count-of @ 0 ?do i if space then i at @ text type loop cr ." sum " sum @ text type cr ;
: save ( -- )
    s" sum.txt" w/o create-file throw >r
    sum @ text r@ write-line throw  r> close-file throw ;
read-bytes show save
3 (bye)
