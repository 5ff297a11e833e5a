import sys; print(sorted(sys.modules), sys.flags, sys.orig_argv[1:], sys.warnoptions, sys._xoptions)
