# Makes the snapshot from which the compiler starts in each clone.
sh /usr/lib/emberbox/typescript/compile prepare
