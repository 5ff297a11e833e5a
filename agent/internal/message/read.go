package message

import (
	"encoding/base64"
	"strings"
)

// Reader takes typed fields out of an object and keeps the first mistake.
type Reader struct {
	object  Object
	problem string
}

// Read returns a reader of an object's fields.
func Read(object Object) *Reader { return &Reader{object: object} }

// Problem is the first mistake in words, "" where there was none.
func (r *Reader) Problem() string { return r.problem }

// Fail keeps a mistake that the caller found.
func (r *Reader) Fail(name, problem string) {
	if r.problem == "" {
		r.problem = name + ": " + problem
	}
}

// Has tells whether a field is there and not null.
func (r *Reader) Has(name string) bool {
	v, ok := r.object.Get(name)
	return ok && v.Kind != Null
}

// present returns a field; null counts as missing.
func (r *Reader) present(name string, kind Kind, want string) (Value, bool) {
	v, ok := r.object.Get(name)
	if !ok || v.Kind == Null {
		return v, false
	}
	if v.Kind != kind {
		r.Fail(name, "must be "+want)
		return v, false
	}
	return v, true
}

// Text returns a text without NUL, or fallback where it is missing.
func (r *Reader) Text(name, fallback string) string {
	v, ok := r.present(name, Text, "text")
	if !ok {
		return fallback
	}
	if strings.IndexByte(v.Text, 0) >= 0 {
		r.Fail(name, "must not hold NUL")
	}
	return v.Text
}

// MustText returns a text that has to be there and must not be empty.
func (r *Reader) MustText(name string) string {
	text := r.Text(name, "")
	if text == "" {
		r.Fail(name, "is missing")
	}
	return text
}

// Path returns the path in `path`, or the bytes that `path_b64` stands for where it is not UTF-8; exactly one of them has to be there.
func (r *Reader) Path() string {
	if !r.Has("path_b64") {
		return r.MustText("path")
	}
	if r.Has("path") {
		r.Fail("path", "must not come with path_b64")
	}
	raw := string(r.Bytes("path_b64"))
	if raw == "" || strings.IndexByte(raw, 0) >= 0 {
		r.Fail("path_b64", "must be the base64 of a path without NUL")
	}
	return raw
}

// Truth returns a boolean, or fallback where it is missing.
func (r *Reader) Truth(name string, fallback bool) bool {
	if v, ok := r.present(name, Bool, "true or false"); ok {
		return v.Truth
	}
	return fallback
}

// Int returns a whole number of at least 0, or fallback where it is missing.
func (r *Reader) Int(name string, fallback int64) int64 {
	v, ok := r.present(name, Number, "a whole number")
	if !ok {
		return fallback
	}
	n, ok := v.Int()
	if !ok || n < 0 {
		r.Fail(name, "must be a whole number of at least 0")
		return fallback
	}
	return n
}

// Limit returns a whole number; fallback where it is missing; none where it is null.
func (r *Reader) Limit(name string, fallback, none int64) int64 {
	if v, ok := r.object.Get(name); ok && v.Kind == Null {
		return none
	}
	return r.Int(name, fallback)
}

// Texts returns a list of texts without NUL; nil where it is missing.
func (r *Reader) Texts(name string) []string {
	v, ok := r.present(name, List, "a list of texts")
	if !ok {
		return nil
	}
	texts := make([]string, 0, len(v.Items))
	for _, item := range v.Items {
		if item.Kind != Text || strings.IndexByte(item.Text, 0) >= 0 {
			r.Fail(name, "must be a list of texts without NUL")
			return nil
		}
		texts = append(texts, item.Text)
	}
	return texts
}

// Pairs returns an object of texts as `NAME=value` entries; nil where it is missing.
func (r *Reader) Pairs(name string) []string {
	v, ok := r.present(name, Map, "an object of texts")
	if !ok {
		return nil
	}
	pairs := make([]string, 0, len(v.Fields))
	for _, f := range v.Fields {
		if f.Value.Kind != Text || f.Name == "" || strings.ContainsAny(f.Name, "=\x00") || strings.IndexByte(f.Value.Text, 0) >= 0 {
			r.Fail(name, "must be an object of texts, without NUL, names without '='")
			return nil
		}
		pairs = append(pairs, f.Name+"="+f.Value.Text)
	}
	return pairs
}

// Bytes returns the bytes that a base64 text stands for; nil where it is missing.
func (r *Reader) Bytes(name string) []byte {
	v, ok := r.present(name, Text, "base64 text")
	if !ok {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(v.Text)
	if err != nil {
		r.Fail(name, "must be base64 text")
	}
	return data
}

// Object returns a reader of an object within this one, and false where it is missing or null.
func (r *Reader) Object(name string) (*Reader, bool) {
	v, ok := r.present(name, Map, "an object")
	return Read(v.Fields), ok
}

// Objects returns readers of a list of objects.
func (r *Reader) Objects(name string) []*Reader {
	v, ok := r.present(name, List, "a list of objects")
	if !ok {
		return nil
	}
	readers := make([]*Reader, 0, len(v.Items))
	for _, item := range v.Items {
		if item.Kind != Map {
			r.Fail(name, "must be a list of objects")
			return nil
		}
		readers = append(readers, Read(item.Fields))
	}
	return readers
}

// Adopt takes over the first mistake of an object within this one.
func (r *Reader) Adopt(name string, inner *Reader) {
	if inner.problem != "" {
		r.Fail(name+"."+inner.problem[:strings.IndexByte(inner.problem, ':')], inner.problem[strings.IndexByte(inner.problem, ':')+2:])
	}
}
