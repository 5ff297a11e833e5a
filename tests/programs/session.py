import os; print(os.getsid(0) == os.getpid() == os.getpgrp())
