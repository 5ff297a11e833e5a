"""The waiting interpreter: see spec/waiting-interpreter.md.

Python imports this module after it has started and before it opens its main script. Here the process waits; each run is a forked
child that returns from this module and so goes on as an ordinary `python3 script.py`. Nothing that a program does
not find in an ordinary process may stay: only modules that are loaded anyway are imported at the top.
"""

import os
import sys

_FD_VARIABLE = "EMBERBOX_WAITING_FD"
_PRELOAD_VARIABLE = "EMBERBOX_WAITING_PRELOAD"
_MESSAGE_BYTES = 131_072
_SCM_RIGHTS = 1


class _Order(Exception):
    """Carries a run's order out of the waiting loop, in the child that is to become the program."""

    def __init__(self, order, memory):
        super().__init__()
        self.order = order
        self.memory = memory


# -- finding where the interpreter keeps its script's name --------------------------------------------------------


def _find_names(placeholder):
    """Return the addresses of every copy of the script's name in the interpreter's configuration.

    A forked child looks, so that ctypes never becomes part of the process that waits.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            found = ",".join(str(address) for address in _search_configuration(placeholder))
            os.write(write_end, found.encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    text = b""
    while piece := os.read(read_end, 4096):
        text += piece
    os.close(read_end)
    os.waitpid(child, 0)
    return [int(address) for address in text.split(b",") if address]


def _search_configuration(placeholder):
    import ctypes

    needle = _wide(placeholder)
    get_configuration = ctypes.pythonapi._Py_GetConfig
    get_configuration.restype = ctypes.c_void_p
    memory = os.open("/proc/self/mem", os.O_RDONLY)

    def words(address, count):
        try:
            data = os.pread(memory, 8 * count, address)
        except (OSError, OverflowError, ValueError):
            return []
        return [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, len(data), 8)]

    def is_name(address):
        try:
            return address != 0 and os.pread(memory, len(needle), address) == needle
        except (OSError, OverflowError, ValueError):
            return False

    found = set()
    for pointer in words(get_configuration(), 100):
        # A string of the configuration, or the array of strings of a list (argv, orig_argv).
        for candidate in (pointer, *words(pointer, 2)):
            if is_name(candidate):
                found.add(candidate)
    return sorted(found)


def _wide(text):
    """Return the text as C's wchar_t; by hand, since a codec would stay behind in sys.modules."""
    return b"".join([ord(character).to_bytes(4, sys.byteorder) for character in text])


# -- the waiting loop ------------------------------------------------------------------------------------------------


def _wait(descriptor):
    """Fork a waiting child for each request; returns only by `_Order`, in a child, or ends the process."""
    import _socket

    nursery = _socket.socket(fileno=descriptor)
    placeholder = sys.argv[0]
    try:
        names = _find_names(placeholder)
        _preload()
        problem = "" if names else "this interpreter's configuration was not found"
    except BaseException as error:
        names, problem = [], f"{type(error).__name__}: {error}"
    if problem:
        text = problem.replace("\\", "/").replace('"', "'")
        nursery.send(f'{{"ready": false, "error": "{text[:500]}"}}'.encode("ascii", "replace"))
        os._exit(1)
    nursery.send(b'{"ready": true}')
    while True:
        message, descriptors = _receive(nursery)
        if not message:
            os._exit(0)
        if len(descriptors) == 1:
            _grow(nursery, descriptors[0], names, placeholder)


def _receive(socket):
    message, control, _flags, _address = socket.recvmsg(_MESSAGE_BYTES, 256)
    descriptors = []
    for _level, kind, data in control:
        if kind == _SCM_RIGHTS:
            descriptors += [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data) - 3, 4)]
    return message, descriptors


def _grow(nursery, order_descriptor, names, placeholder):
    """Fork twice, so that the program becomes a child of PID 1; tell its pid."""
    first = os.fork()
    if first == 0:
        second = os.fork()
        if second == 0:
            nursery.close()
            _await_order(order_descriptor, names, placeholder)
        nursery.send(f'{{"pid": {second}}}'.encode())
        os._exit(0)
    os.close(order_descriptor)
    os.waitpid(first, 0)


def _await_order(descriptor, names, placeholder):
    import _socket

    socket = _socket.socket(fileno=descriptor)
    message, descriptors = _receive(socket)
    socket.close()
    if not message or len(descriptors) != 3:
        os._exit(0)
    # The agent's JSON holds only strings, lists and objects, which are literals of this language as well. The json
    # package is not used since it would stay behind in sys.modules.
    order = eval(message.decode(), {"__builtins__": {}})
    for number, received in enumerate(descriptors):
        os.dup2(received, number)
    for received in descriptors:
        os.close(received)
    raise _Order(order, (names, placeholder))


# -- becoming the program -----------------------------------------------------------------------------------------------


def _become(order, names, placeholder):
    os.setsid()
    for number in (0, 1, 2):
        os.set_inheritable(number, True)
    _set_environment(order["env"])
    os.chdir(order["cwd"])
    _write_names(order["script"], names, placeholder)
    _write_command_line(order["orig_argv"])
    sys.argv[:] = order["argv"]
    sys.orig_argv[:] = order["orig_argv"]
    _reseed()
    _unload_shadowed(os.path.dirname(os.path.realpath(order["script"])))


def _set_environment(environment):
    import posix

    os.environ.clear()
    os.environ.update(environment)
    posix.environ.clear()
    posix.environ.update({os.fsencode(key): os.fsencode(value) for key, value in environment.items()})
    if "TZ" in environment:
        import time

        time.tzset()


def _write_names(script, names, placeholder):
    data = _wide(script + "\0")
    if len(data) > len(placeholder) * 4:
        raise ValueError("the script's path is too long")
    memory = os.open("/proc/self/mem", os.O_WRONLY)
    for address in names:
        os.pwrite(memory, data, address)
    os.close(memory)


def _write_command_line(arguments):
    """Show the program's own command line in /proc, as far as the placeholder's room goes."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = b"".join(os.fsencode(argument) + b"\0" for argument in arguments)
    if start and len(text) <= end - start:
        memory = os.open("/proc/self/mem", os.O_WRONLY)
        os.pwrite(memory, text.ljust(end - start, b"\0"), start)
        os.close(memory)


# -- what clones must not share --------------------------------------------------------------------------------------------


def _preload():
    for name in filter(None, os.environ.get(_PRELOAD_VARIABLE, "").split(",")):
        __import__(name)


def _reseed():
    """Give every generator that lives in this process state of its own; needs the kernel's to be fresh already."""
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(os.urandom(48), 48.0)
    if "numpy.random" in modules:
        modules["numpy.random"].seed()


def _unload_shadowed(folder):
    """Forget preloaded modules that the program brings itself under the same name."""
    for name in filter(None, _preloaded.split(",")):
        top = name.partition(".")[0]
        if os.path.exists(f"{folder}/{top}.py") or os.path.isdir(f"{folder}/{top}"):
            for loaded in [m for m in sys.modules if m == top or m.startswith(f"{top}.")]:
                del sys.modules[loaded]


# -- entry --------------------------------------------------------------------------------------------------------------------


def _forget(folder):
    """Take this module's folder and helpers out of the interpreter, as if it had never been here."""
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)
    if "_socket" not in _loaded_before:
        sys.modules.pop("_socket", None)
    sys.modules.pop("sitecustomize", None)


def _chain():
    """Import the sitecustomize that this one stood in front of, if there is one."""
    import sitecustomize  # noqa: F401


_loaded_before = set(sys.modules)
_preloaded = os.environ.get(_PRELOAD_VARIABLE, "")
_descriptor = os.environ.get(_FD_VARIABLE)
if _descriptor is not None:
    try:
        _wait(int(_descriptor))
    except _Order as _order:
        try:
            _become(_order.order, *_order.memory)
        except BaseException as _error:
            os.write(2, f"emberbox: the program could not be started: {_error}\n".encode("utf-8", "replace"))
            os._exit(126)
_forget(os.path.dirname(__file__))
_chain()
