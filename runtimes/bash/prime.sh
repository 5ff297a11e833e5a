echo ready | cat
