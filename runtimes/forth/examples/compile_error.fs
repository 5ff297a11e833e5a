.( before) cr
: never ( -- ) no-such-word ;
never bye
