.( ready) cr bye
