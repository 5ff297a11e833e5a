package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/identity"
)

var errFull = errors.New("the archive is full")

// Pack sends a folder's content, or a single file, as a tar stream: files, folders and links; the rest is left out. With patterns, only
// what one of them matches, and all that is in a matching folder. truncated tells that a bound was reached and the rest left out.
func Pack(user identity.User, path string, patterns []string, target io.Writer, bounds Bounds) (count Count, truncated bool, err error) {
	p := &packer{user: user, patterns: patterns, bounds: bounds, archive: tar.NewWriter(target), buffer: make([]byte, copyBuffer)}
	info, err := p.stat(path)
	if err != nil {
		return p.count, false, err
	}
	if info.IsDir() {
		err = p.folder(path, "", patterns == nil)
	} else {
		err = p.entry(path, filepath.Base(path), info)
	}
	if errors.Is(err, errFull) {
		truncated, err = true, nil
	}
	return p.count, truncated, errors.Join(err, p.archive.Close())
}

type packer struct {
	user     identity.User
	patterns []string
	bounds   Bounds
	count    Count
	archive  *tar.Writer
	buffer   []byte
}

func (p *packer) stat(path string) (info os.FileInfo, err error) {
	err = p.user.Act(func() error {
		info, err = os.Stat(path)
		return err
	})
	return info, err
}

func (p *packer) read(path string) (infos []os.FileInfo, err error) {
	err = p.user.Act(func() error {
		folder, err := os.Open(path)
		if err != nil {
			return err
		}
		defer folder.Close()
		infos, err = folder.Readdir(-1)
		return err
	})
	sort.Slice(infos, func(i, j int) bool { return infos[i].Name() < infos[j].Name() })
	return infos, err
}

// folder packs what is in a folder; all tells that a pattern matched the folder itself.
func (p *packer) folder(path, prefix string, all bool) error {
	infos, err := p.read(path)
	if err != nil {
		return err
	}
	for _, info := range infos {
		name := prefix + info.Name()
		full := filepath.Join(path, info.Name())
		wanted := all || matchesAny(p.patterns, name)
		if wanted {
			if err := p.entry(full, name, info); err != nil {
				return err
			}
		}
		if info.IsDir() {
			err := p.folder(full, name+"/", wanted)
			if err != nil && !(errors.Is(err, fs.ErrNotExist)) && !(!wanted && errors.Is(err, fs.ErrPermission)) {
				return err
			}
		}
	}
	return nil
}

// entry packs one entry; one that has vanished meanwhile is left out.
func (p *packer) entry(path, name string, info os.FileInfo) error {
	mode := info.Mode()
	if !mode.IsRegular() && !mode.IsDir() && mode&fs.ModeSymlink == 0 {
		return nil
	}
	if p.count.Entries >= p.bounds.Entries {
		return errFull
	}
	header := &tar.Header{Name: name, Mode: int64(files.UnixMode(mode)), ModTime: info.ModTime()}
	var err error
	switch {
	case mode.IsDir():
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		err = p.archive.WriteHeader(header)
	case mode.IsRegular():
		err = p.file(path, header)
	default:
		err = p.link(path, header)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		p.count.Entries++
	}
	return err
}

func (p *packer) link(path string, header *tar.Header) (err error) {
	header.Typeflag = tar.TypeSymlink
	err = p.user.Act(func() error {
		header.Linkname, err = os.Readlink(path)
		return err
	})
	if err != nil {
		return err
	}
	return p.archive.WriteHeader(header)
}

func (p *packer) file(path string, header *tar.Header) error {
	file, err := p.open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrNotExist // replaced since it was listed
	}
	if info.Size() > p.bounds.Bytes-p.count.Bytes {
		return errFull
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := p.archive.WriteHeader(header); err != nil {
		return err
	}
	p.count.Bytes += header.Size
	return p.copy(file, header.Size)
}

func (p *packer) open(path string) (file *os.File, err error) {
	err = p.user.Act(func() error {
		// What is a file now may be a link or a FIFO by the time it is opened.
		file, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		return err
	})
	return file, err
}

// copy sends exactly size bytes: a file that grew is cut, one that shrank is filled up with zeros, as tar has named its size already.
func (p *packer) copy(file *os.File, size int64) error {
	for size > 0 {
		n, err := file.Read(p.buffer[:min(int64(len(p.buffer)), size)])
		if n == 0 && err != nil {
			if !errors.Is(err, io.EOF) {
				return err
			}
			n = int(min(int64(len(p.buffer)), size))
			clear(p.buffer[:n])
		}
		if _, err := p.archive.Write(p.buffer[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
