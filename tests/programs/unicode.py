print('héllo ☃ 😀'); import sys; print(sys.getfilesystemencoding(), sys.getdefaultencoding(), sys.flags.utf8_mode)
