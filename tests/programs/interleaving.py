import sys
for i in range(3):
    print('o', i); print('e', i, file=sys.stderr)
sys.stdout.flush(); sys.stderr.write('last')
