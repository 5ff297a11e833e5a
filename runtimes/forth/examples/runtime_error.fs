: fail ( -- ) 0 @ ;
.( before) cr
fail
bye
