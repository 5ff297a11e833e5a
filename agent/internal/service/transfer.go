package service

import (
	"io/fs"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/session"
)

const permissions = 0o7777

// subject reads the fields that all file operations share.
func (s *Service) subject(fields *message.Reader) (identity.User, string, error) {
	user, err := s.Users.Find(fields.Text("user", ""))
	if err != nil {
		return user, "", err
	}
	name := fields.Path()
	if err := checked(fields); err != nil {
		return user, "", err
	}
	path, err := files.Resolve(s.Work, name)
	return user, path, err
}

func (s *Service) writeFile(call *session.Call, fields *message.Reader) error {
	defer call.Discard()
	options := files.WriteOptions{
		Mode:    uint32(fields.Int("mode", defaultMode)),
		Append:  fields.Truth("append", false),
		Parents: fields.Truth("parents", true),
	}
	user, path, err := s.subject(fields)
	if err != nil {
		return err
	}
	size, err := files.Upload(user, path, call, options)
	if err != nil {
		return err
	}
	call.Succeed(func(b *message.Builder) { b.Int("size", size) })
	return nil
}

func (s *Service) readFile(call *session.Call, fields *message.Reader) error {
	offset := fields.Int("offset", 0)
	limit := fields.Limit("limit", files.Unbounded, files.Unbounded)
	user, path, err := s.subject(fields)
	if err != nil {
		return err
	}
	file, info, err := files.Open(user, path)
	if err != nil {
		return err
	}
	defer file.Close()
	if offset < 0 {
		return failure.BadRequest("offset: must be at least 0")
	}
	call.End(session.Output)
	if err := files.Download(file, offset, limit, call); err != nil {
		return err
	}
	call.Succeed(func(b *message.Builder) { b.Int("size", info.Size()).Int("mode", permission(info.Mode())) })
	return nil
}

// permission returns the mode's lower twelve bits as the kernel counts them.
func permission(mode fs.FileMode) int64 { return int64(files.UnixMode(mode)) & permissions }
