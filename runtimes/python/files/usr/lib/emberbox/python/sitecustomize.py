"""The waiting interpreter: see spec/waiting-interpreter.md.

Python imports this module after it has started and before it opens its main script. Here it waits for an order, becomes the program
that the order names, and returns; what follows is an ordinary `python3 script.py`. Two things shape the code: nothing may stay that a
program would not find in an ordinary process, and what runs after the wait must be little, since in an emulated machine each
instruction is translated anew in each clone. So all that can be done ahead is done before the wait.
"""

import os
import sys

_FD_VARIABLE = "EMBERBOX_WAITING_FD"
_PRELOAD_VARIABLE = "EMBERBOX_WAITING_PRELOAD"
_ORDER_BYTES = 131_072
_ARCHIVE_TAIL = 65_535 + 22


# -- before the wait -----------------------------------------------------------------------------


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


def _command_line_place():
    """Return where the kernel looks for this process's command line: address and room in bytes."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[45]), int(fields[46]) - int(fields[45])


def _forget(folder):
    """Take this module and its variables out of the interpreter, as if they had never been here."""
    import posix

    for name in ("PYTHONPATH", _FD_VARIABLE, _PRELOAD_VARIABLE):
        os.environ.pop(name, None)
        posix.environ.pop(name.encode(), None)
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)
    sys.modules.pop("sitecustomize", None)


def _chain(name):
    """Import the module of that name that an ordinary start would find; returns whether there is one."""
    try:
        __import__(name)
    except ImportError as error:
        if error.name != name:
            raise
        return False
    return True


def _freeze():
    """Take what lives so far out of the garbage collector's rounds, three of which end every program."""
    import gc

    gc.freeze()
    if "gc" not in _loaded_before:
        del sys.modules["gc"]


def _user_folder():
    """Return where the program's user may have put modules that an ordinary start would look at."""
    import site

    return site.USER_SITE


# -- the wait ------------------------------------------------------------------------------------


def _await_order(socket, preload):
    """Make ready, wait, and become the program; ends the process where there is nothing to become."""
    placeholder = sys.argv[0]
    try:
        names = _find_names(placeholder)
        if not names:
            raise RuntimeError("this interpreter's configuration was not found")
        for name in preload:
            __import__(name)
        place = _command_line_place()
        _chain("usercustomize")
        user_folder = _user_folder()
        _freeze()
        memory = os.open("/proc/self/mem", os.O_WRONLY)
    except BaseException as error:
        os.write(socket, f"error {type(error).__name__}: {error}"[:1000].encode("utf-8", "replace"))
        os._exit(1)
    os.write(socket, b"ready")
    order = os.read(socket, _ORDER_BYTES)
    if not order:
        os._exit(0)
    os.close(socket)
    try:
        _become(order, memory, names, len(placeholder), place, preload)
        if user_folder and os.path.isdir(user_folder):
            sys.modules.pop("usercustomize", None)
    except BaseException as error:
        os.write(2, f"emberbox: the program could not be started: {error}\n".encode("utf-8", "replace"))
        os._exit(126)


# -- after the wait ------------------------------------------------------------------------------


def _become(order, memory, names, room, place, preload):
    fields = order.split(b"\0")
    script = os.fsdecode(fields[0])
    count = int(fields[2])
    arguments = fields[3 : 3 + count]
    if fields[1]:
        os.chdir(fields[1])
    sys.argv[:] = map(os.fsdecode, arguments)
    sys.orig_argv[1:] = sys.argv
    if len(fields) > 3 + count:
        _set_variables(fields[3 + count :])
    if len(script) >= room:
        raise ValueError("the script's path is too long")
    wide = _wide(script + "\0")
    for address in names:
        os.pwrite(memory, wide, address)
    line = b"\0".join([b"python3", *arguments, b""])
    if len(line) <= place[1]:
        os.pwrite(memory, line.ljust(place[1], b"\0"), place[0])
    os.close(memory)
    _answer_path_hooks(script)
    if preload:
        _reseed()
        _unload_shadowed(os.path.dirname(os.path.realpath(script)))


def _answer_path_hooks(script):
    """Note what the interpreter is about to find out at length: that the script is a plain file and no archive of modules.

    An archive ends in a record that starts with this mark, before a comment of at most 65,535 bytes (zipimport).
    """
    try:
        file = os.open(script, os.O_RDONLY)
    except OSError:
        return
    try:
        length = os.lseek(file, 0, os.SEEK_END)
        tail = os.pread(file, _ARCHIVE_TAIL, max(0, length - _ARCHIVE_TAIL))
    except OSError:
        return
    finally:
        os.close(file)
    if b"PK\5\6" not in tail:
        sys.path_importer_cache[script] = None


def _set_variables(pairs):
    import posix

    for pair in pairs:
        key, _, value = pair.partition(b"=")
        os.environ[os.fsdecode(key)] = os.fsdecode(value)
        posix.environ[key] = value
        if key == b"TZ":
            import time

            time.tzset()


def _reseed():
    """Give every generator that lives in this process state of its own; needs the kernel's to be fresh already."""
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(os.urandom(48), 48.0)
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    if "tempfile" in modules:
        modules["tempfile"]._name_sequence = None
    if "multiprocessing.process" in modules:
        modules["multiprocessing.process"].current_process().authkey = os.urandom(32)


def _unload_shadowed(folder):
    """Forget modules that the program brings itself under the same name, whether they were preloaded or came along with those."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    brought = {name.partition(".")[0] for name in names if name.endswith((".py", ".so"))}
    brought.update(name for name in names if "." not in name and os.path.isfile(f"{folder}/{name}/__init__.py"))
    for loaded in [m for m in sys.modules if m not in _loaded_before and m.partition(".")[0] in brought]:
        del sys.modules[loaded]


# -- entry ---------------------------------------------------------------------------------------

_loaded_before = set(sys.modules)
_socket = os.environ.get(_FD_VARIABLE)
_preload = [name for name in os.environ.get(_PRELOAD_VARIABLE, "").split(",") if name]
_forget(os.path.dirname(__file__))
_chained = _chain("sitecustomize")
if _socket is not None:
    _await_order(int(_socket), _preload)
if not _chained:
    # What the import of a module that does not exist raises; `site` expects it.
    raise ImportError("No module named 'sitecustomize'", name="sitecustomize")
