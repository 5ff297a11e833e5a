\ One line for each source of chance: the language has none of its own.
variable drawn
: draw ( -- )
    s" /dev/urandom" r/o open-file throw
    dup drawn 1 cells rot read-file throw drop
    close-file throw ;
draw drawn @ u. cr
bye
