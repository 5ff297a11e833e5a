package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/identity"
)

const (
	folderMode  = 0o755
	permissions = 0o777
	copyBuffer  = 32768
)

// Unpack writes the entries of a tar stream, plain or gzip, to a folder as that user; the folder is made if it is missing.
// An error leaves what was written before it.
func Unpack(user identity.User, folder string, source io.Reader, bounds Bounds) (Count, error) {
	root, err := openRoot(user, folder)
	if err != nil {
		return Count{}, err
	}
	defer root.Close()
	plain, err := decompress(source)
	if err != nil {
		return Count{}, err
	}
	u := &unpacker{user: user, root: root, bounds: bounds, buffer: make([]byte, copyBuffer)}
	err = u.all(tar.NewReader(plain))
	if bad := u.checkLinks(); err == nil {
		err = bad
	}
	if err == nil {
		_, err = io.Copy(io.Discard, source) // what pads the archive's end
	}
	return u.count, err
}

func openRoot(user identity.User, folder string) (root *os.Root, err error) {
	err = user.Act(func() error {
		if err := os.MkdirAll(folder, folderMode); err != nil {
			return err
		}
		root, err = os.OpenRoot(folder)
		return err
	})
	return root, err
}

func decompress(source io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(source, copyBuffer)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return buffered, nil
	}
	plain, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, damaged(err)
	}
	return plain, nil
}

// damaged tells an archive that is broken from a stream that was cancelled.
func damaged(err error) error {
	var known *failure.Failure
	if errors.As(err, &known) {
		return err
	}
	return failure.BadRequest("the archive is damaged: " + err.Error())
}

type unpacker struct {
	user   identity.User
	root   *os.Root
	bounds Bounds
	count  Count
	links  []string
	buffer []byte
}

func (u *unpacker) all(archive *tar.Reader) error {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		if u.count.Entries++; u.count.Entries > u.bounds.Entries {
			return failure.New("too_large", "the archive holds more entries than allowed")
		}
		if err := u.entry(header, archive); err != nil {
			return err
		}
	}
}

func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		u.count.Entries--
		return nil
	}
	name, err := local(header.Name)
	if err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(name, header, content)
	case tar.TypeDir:
		return u.folder(name, header)
	case tar.TypeSymlink:
		return u.link(name, header.Linkname)
	case tar.TypeLink:
		return u.hardLink(name, header.Linkname)
	default:
		return badEntry(header.Name, "is a device, a FIFO or of another type that is not taken")
	}
}

// local returns the clean relative form of an entry's name.
func local(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", outside(name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", outside(name)
		}
	}
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return "", badEntry(name, "has no usable name")
	}
	return path.Clean(name), nil
}

// act does file operations as the user and names the entry where a link led out.
func (u *unpacker) act(name string, work func() error) error {
	return u.user.Act(func() error {
		err := work()
		if failure.Escapes(err) {
			return outside(name)
		}
		return err
	})
}

// makeWay makes the folders above an entry and takes away what is in its place, unless that is a folder.
func (u *unpacker) makeWay(name string) error {
	if parent := path.Dir(name); parent != "." {
		if err := u.root.MkdirAll(parent, folderMode); err != nil {
			return err
		}
	}
	info, err := u.root.Lstat(name)
	if err != nil || info.IsDir() {
		return nil
	}
	return u.root.Remove(name)
}

func (u *unpacker) file(name string, header *tar.Header, content io.Reader) error {
	if header.Size > u.bounds.Bytes-u.count.Bytes {
		return failure.New("too_large", "the archive holds more bytes than allowed")
	}
	var file *os.File
	err := u.act(name, func() error {
		if err := u.makeWay(name); err != nil {
			return err
		}
		var err error
		mode := fs.FileMode(header.Mode) & permissions
		if file, err = u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o200); err != nil {
			return err
		}
		return file.Chmod(mode)
	})
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return err
	}
	err = u.copy(file, content)
	return errors.Join(err, file.Close())
}

func (u *unpacker) copy(file *os.File, content io.Reader) error {
	for {
		n, err := content.Read(u.buffer)
		if n > 0 {
			if u.count.Bytes += int64(n); u.count.Bytes > u.bounds.Bytes {
				return failure.New("too_large", "the archive holds more bytes than allowed")
			}
			if _, err := file.Write(u.buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
	}
}

func (u *unpacker) folder(name string, header *tar.Header) error {
	return u.act(name, func() error {
		if err := u.root.MkdirAll(name, folderMode); err != nil || name == "." {
			return err
		}
		return u.root.Chmod(name, fs.FileMode(header.Mode)&permissions)
	})
}

// link makes a symbolic link whose target stays within, as far as that can be told now; checkLinks looks again at the end, since an
// entry that follows can change what the target means.
func (u *unpacker) link(name, target string) error {
	if target == "" || strings.HasPrefix(target, "/") || escapes(path.Dir(name), target) {
		return outside(name)
	}
	return u.act(name, func() error {
		if err := u.makeWay(name); err != nil {
			return err
		}
		if err := u.root.Symlink(target, name); err != nil {
			return err
		}
		u.links = append(u.links, name)
		return u.follow(name)
	})
}

// escapes walks the target's parts from the link's folder and tells whether it is above the root at any of them.
func escapes(folder, target string) bool {
	depth := 0
	if folder != "." {
		depth = strings.Count(folder, "/") + 1
	}
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// follow removes a link that leads out. A link that leads nowhere yet is fine.
func (u *unpacker) follow(name string) error {
	if _, err := u.root.Stat(name); failure.Escapes(err) {
		_ = u.root.Remove(name)
		return outside(name)
	}
	return nil
}

func (u *unpacker) checkLinks() error {
	if len(u.links) == 0 {
		return nil
	}
	return u.user.Act(func() error {
		var first error
		for _, name := range u.links {
			if err := u.follow(name); err != nil && first == nil {
				first = err
			}
		}
		return first
	})
}

func (u *unpacker) hardLink(name, target string) error {
	existing, err := local(target)
	if err != nil {
		return err
	}
	return u.act(name, func() error {
		info, err := u.root.Lstat(existing)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return badEntry(name, "is a hard link to something other than a file")
		}
		if name == existing {
			return nil
		}
		if err := u.makeWay(name); err != nil {
			return err
		}
		return u.root.Link(existing, name)
	})
}
