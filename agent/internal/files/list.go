package files

import (
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/message"
)

// Listing is what a walk through a folder has found.
type Listing struct {
	Entries   int64
	Truncated bool
}

var errFull = errors.New("the listing is full")

// lister writes entries in batches, outside of the user's rights: waiting for the host must not keep a thread.
type lister struct {
	user    identity.User
	target  io.Writer
	most    int64
	listing Listing
	buffer  []byte
}

const listBatch = 32768

// List writes one JSON object a line for each entry of a folder, and of the folders below it if recursive, at most that many.
func List(user identity.User, path string, recursive bool, most int64, target io.Writer) (Listing, error) {
	l := &lister{user: user, target: target, most: most}
	err := l.folder(path, "", recursive)
	if errors.Is(err, errFull) {
		l.listing.Truncated = true
		err = nil
	}
	if err == nil {
		err = l.flush()
	}
	return l.listing, err
}

// folder lists one folder. Below the first, one that vanished or that the user may not read is left out.
func (l *lister) folder(path, prefix string, recursive bool) error {
	entries, err := l.read(path)
	if err != nil {
		if prefix != "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return nil
		}
		return err
	}
	for _, entry := range entries {
		name := prefix + entry.Name()
		if err := l.add(name, entry); err != nil {
			return err
		}
		if recursive && entry.IsDir() {
			if err := l.folder(filepath.Join(path, entry.Name()), name+"/", true); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lister) read(path string) (infos []os.FileInfo, err error) {
	left := int(min(l.most-l.listing.Entries+1, 1<<20))
	err = l.user.Act(func() error {
		folder, err := os.Open(path)
		if err != nil {
			return err
		}
		defer folder.Close()
		infos, err = folder.Readdir(max(left, 1))
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	return infos, err
}

func (l *lister) add(name string, info os.FileInfo) error {
	if l.listing.Entries >= l.most {
		return errFull
	}
	l.listing.Entries++
	b := message.Build()
	if utf8.ValidString(name) {
		b.Text("name", name)
	} else {
		b.Text("name_b64", base64.StdEncoding.EncodeToString([]byte(name)))
	}
	Describe(b, info)
	l.buffer = append(append(l.buffer, b.Bytes()...), '\n')
	if len(l.buffer) >= listBatch {
		return l.flush()
	}
	return nil
}

func (l *lister) flush() error {
	_, err := l.target.Write(l.buffer)
	l.buffer = l.buffer[:0]
	return err
}

// Describe adds the fields that say what an entry is.
func Describe(b *message.Builder, info os.FileInfo) {
	b.Text("type", TypeName(info.Mode())).Int("size", info.Size())
	b.Int("mode", int64(UnixMode(info.Mode()))).Int("mtime_ns", info.ModTime().UnixNano())
}
