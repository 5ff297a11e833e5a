package message

import "testing"

func TestPath(t *testing.T) {
	for text, want := range map[string]string{
		`{"path":"a/b"}`:                  "a/b",
		`{"path_b64":"Yf8="}`:             "a\xff",
		`{"path":null,"path_b64":"Yf8="}`: "a\xff",
		`{}`:                              "",
		`{"path":"a","path_b64":"Yf8="}`:  "",
		`{"path_b64":""}`:                 "",
		`{"path_b64":"YQBi"}`:             "",
		`{"path_b64":"not base64"}`:       "",
		`{"path_b64":7}`:                  "",
	} {
		body, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		fields := Read(body)
		got := fields.Path()
		if fields.Problem() != "" {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, not %q", text, got, want)
		}
	}
}
