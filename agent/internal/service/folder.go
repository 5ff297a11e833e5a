package service

import (
	"emberbox.dev/agent/internal/archive"
	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/session"
)

const (
	defaultEntries    = 10000
	defaultTarBytes   = 1 << 30
	defaultTarEntries = 100000
	defaultFolderMode = 0o755
)

func (s *Service) list(call *session.Call, fields *message.Reader) error {
	recursive := fields.Truth("recursive", false)
	most := fields.Int("max_entries", defaultEntries)
	user, path, err := s.subject(fields)
	if err != nil {
		return err
	}
	listing, err := files.List(user, path, recursive, most, call)
	if err != nil {
		return err
	}
	call.End(session.Output)
	call.Succeed(func(b *message.Builder) { b.Int("entries", listing.Entries).Bool("truncated", listing.Truncated) })
	return nil
}

func (s *Service) stat(call *session.Call, fields *message.Reader) error {
	user, path, err := s.subject(fields)
	if err != nil {
		return err
	}
	info, err := files.Stat(user, path)
	if err != nil {
		return err
	}
	call.Succeed(func(b *message.Builder) { files.Describe(b, info) })
	return nil
}

func (s *Service) makeDirectory(call *session.Call, fields *message.Reader) error {
	parents := fields.Truth("parents", true)
	mode := uint32(fields.Int("mode", defaultFolderMode))
	user, path, err := s.subject(fields)
	if err == nil {
		err = files.MakeDirectory(user, path, parents, mode)
	}
	if err == nil {
		call.Succeed(nil)
	}
	return err
}

func (s *Service) delete(call *session.Call, fields *message.Reader) error {
	recursive := fields.Truth("recursive", false)
	missingOK := fields.Truth("missing_ok", false)
	user, path, err := s.subject(fields)
	if err == nil {
		err = files.Delete(user, path, recursive, missingOK)
	}
	if err == nil {
		call.Succeed(nil)
	}
	return err
}

func (s *Service) tarIn(call *session.Call, fields *message.Reader) error {
	defer call.Discard()
	bounds := tarBounds(fields)
	user, path, err := s.subject(fields)
	if err != nil {
		return err
	}
	count, err := archive.Unpack(user, path, call, bounds)
	if err != nil {
		return err
	}
	call.Succeed(func(b *message.Builder) { b.Int("entries", count.Entries).Int("bytes", count.Bytes) })
	return nil
}

func (s *Service) tarOut(call *session.Call, fields *message.Reader) error {
	bounds := tarBounds(fields)
	patterns := fields.Texts("patterns")
	user, path, err := s.subject(fields)
	if err != nil {
		return err
	}
	count, truncated, err := archive.Pack(user, path, patterns, call, bounds)
	if err != nil {
		return err
	}
	call.End(session.Output)
	call.Succeed(func(b *message.Builder) {
		b.Int("entries", count.Entries).Int("bytes", count.Bytes).Bool("truncated", truncated)
	})
	return nil
}

func tarBounds(fields *message.Reader) archive.Bounds {
	return archive.Bounds{
		Bytes:   fields.Limit("max_bytes", defaultTarBytes, defaultTarBytes),
		Entries: fields.Limit("max_entries", defaultTarEntries, defaultTarEntries),
	}
}
