import multiprocessing as m
def f(q): q.put(__name__)
if __name__ == '__main__':
    c = m.get_context('spawn'); q = c.Queue(); p = c.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)
