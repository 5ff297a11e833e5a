import sys, traceback; print(sys._getframe().f_back); traceback.print_stack(); print(len(traceback.extract_stack()))
