package message_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"emberbox.dev/agent/internal/message"
)

func plain(v message.Value) any {
	switch v.Kind {
	case message.Bool:
		return v.Truth
	case message.Number:
		return json.Number(v.Text)
	case message.Text:
		return v.Text
	case message.List:
		list := []any{}
		for _, item := range v.Items {
			list = append(list, plain(item))
		}
		return list
	case message.Map:
		return plainObject(v.Fields)
	}
	return nil
}

func plainObject(o message.Object) map[string]any {
	m := map[string]any{}
	for _, f := range o {
		m[f.Name] = plain(f.Value)
	}
	return m
}

// FuzzParse holds the parser to the standard library's: what it takes must mean the same there.
func FuzzParse(f *testing.F) {
	for _, text := range []string{`{}`, ` {"a":[1,-2.5e+3,true,null,{"b":"\u00e4\ud83d\ude00\n"}]} `, `{"a":1,"a":2}`, `{"a":"` + "\xff" + `"}`, `{"a":01}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := message.Parse(data)
		if err != nil {
			return
		}
		decoder := json.NewDecoder(strings.NewReader(string(data)))
		decoder.UseNumber()
		var want map[string]any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("took what the library does not: %v", err)
		}
		if got := plainObject(object); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestBuilderWritesWhatTheLibraryReads(t *testing.T) {
	text := "ä\"\\\n\x00\x1f\U0001F600/\u2028"
	body := message.Build().Text("t", text).Int("i", -5).Bool("b", true).Null("n").Texts("l", []string{"a", "b"}).
		Object("o", message.Build().Float("f", 1.5)).TextOrNull("e", "").Bytes()
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	want := map[string]any{"t": text, "i": -5.0, "b": true, "n": nil, "l": []any{"a", "b"}, "o": map[string]any{"f": 1.5}, "e": nil}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v", got)
	}
}

func TestBuilderReplacesWhatIsNotUTF8(t *testing.T) {
	if got := string(message.Build().Text("t", "a\xffb").Bytes()); got != "{\"t\":\"a\uFFFDb\"}" {
		t.Fatalf("got %q", got)
	}
}

func TestReaderKeepsTheFirstMistake(t *testing.T) {
	object, err := message.Parse([]byte(`{"path":"a\u0000b","n":-1,"env":{"A=B":"c"},"list":[1],"big":1e400,"null":null}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(*message.Reader){
		"path":    func(r *message.Reader) { r.Text("path", "") },
		"n":       func(r *message.Reader) { r.Int("n", 0) },
		"env":     func(r *message.Reader) { r.Pairs("env") },
		"list":    func(r *message.Reader) { r.Texts("list") },
		"big":     func(r *message.Reader) { r.Int("big", 0) },
		"missing": func(r *message.Reader) { r.MustText("missing") },
	} {
		r := message.Read(object)
		read(r)
		if !strings.HasPrefix(r.Problem(), name+": ") {
			t.Errorf("%s: the problem is %q", name, r.Problem())
		}
	}
	r := message.Read(object)
	if r.Limit("null", 7, -1) != -1 || r.Limit("missing", 7, -1) != 7 || r.Int("null", 7) != 7 || r.Problem() != "" {
		t.Error("null and missing are mixed up")
	}
}

func TestManyKeysAreComparedInLinearTime(t *testing.T) {
	var text strings.Builder
	text.WriteString(`{"k":0`)
	for i := range 20000 {
		text.WriteString(`,"`)
		text.WriteString(strings.Repeat("x", i%7))
		text.WriteString(strings.Repeat("y", 1+i/7%3))
		text.WriteString(string(rune('a' + i%26)))
		text.WriteString(string(rune(0x4e00 + i)))
		text.WriteString(`":0`)
	}
	if _, err := message.Parse([]byte(text.String() + "}")); err != nil {
		t.Fatal(err)
	}
	if _, err := message.Parse([]byte(text.String() + `,"k":1}`)); err == nil {
		t.Fatal("a duplicate key among many was taken")
	}
}
