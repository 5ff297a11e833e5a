// Package vectors reads spec/vectors.json for the tests of the other packages.
package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// Payload describes a large payload.
type Payload struct {
	Prefix string `json:"prefix_hex"`
	Byte   string `json:"byte"`
	Count  int    `json:"count"`
	Suffix string `json:"suffix_hex"`
}

// Frame is one frame, valid or not.
type Frame struct {
	Name       string   `json:"name"`
	Side       string   `json:"side"`
	SentBy     string   `json:"sent_by"`
	Hex        string   `json:"hex"`
	HeaderHex  string   `json:"header_hex"`
	Payload    *Payload `json:"payload"`
	PayloadHex string   `json:"payload_hex"`
	Type       uint8    `json:"type"`
	Flags      uint8    `json:"flags"`
	Channel    uint32   `json:"channel"`
	Reason     string   `json:"reason"`
}

// Step is one step of a credit case.
type Step struct {
	Data   *int    `json:"data"`
	Credit *uint32 `json:"credit"`
	End    bool    `json:"end"`
}

// Credit is a case of one stream's account.
type Credit struct {
	Name        string `json:"name"`
	Steps       []Step `json:"steps"`
	ViolationAt *int   `json:"violation_at"`
	After       *int64 `json:"credit_after"`
}

// Session is a case of frames in a row.
type Session struct {
	Name        string   `json:"name"`
	Side        string   `json:"side"`
	Frames      []string `json:"frames"`
	ViolationAt *int     `json:"violation_at"`
	RefusedAt   *int     `json:"refused_at"`
}

// Vectors is the whole file.
type Vectors struct {
	Frames     []Frame   `json:"frames"`
	Violations []Frame   `json:"violations"`
	Credit     []Credit  `json:"credit"`
	Sessions   []Session `json:"sessions"`
}

// Load reads the file; a test that cannot have it fails.
func Load(t testing.TB) Vectors {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../spec/vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v Vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Frames) == 0 || len(v.Violations) == 0 || len(v.Credit) == 0 || len(v.Sessions) == 0 {
		t.Fatal("spec/vectors.json lacks a section")
	}
	return v
}

// Unhex decodes hexadecimal text of the file.
func Unhex(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Bytes returns the whole frame, header and payload.
func (f Frame) Bytes(t testing.TB) []byte {
	t.Helper()
	if f.Payload == nil {
		return Unhex(t, f.Hex)
	}
	repeated := bytes.Repeat(Unhex(t, f.Payload.Byte), f.Payload.Count)
	return slices.Concat(Unhex(t, f.HeaderHex), Unhex(t, f.Payload.Prefix), repeated, Unhex(t, f.Payload.Suffix))
}
