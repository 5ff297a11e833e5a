package message

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const maxDepth = 32

var (
	errSyntax    = errors.New("not valid JSON")
	errDuplicate = errors.New("a key comes twice in one JSON object")
	errDepth     = errors.New("JSON is nested too deeply")
	errObject    = errors.New("not a JSON object")
)

// Parse reads exactly one JSON object.
func Parse(data []byte) (Object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	p := parser{data: data}
	p.space()
	if p.peek() != '{' {
		return nil, errObject
	}
	object, err := p.object(1)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at != len(data) {
		return nil, errSyntax
	}
	return object, nil
}

type parser struct {
	data []byte
	at   int
}

func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// take passes over white space and then over want; false leaves it where something else comes.
func (p *parser) take(want byte) bool {
	p.space()
	if p.peek() != want {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (Value, error) {
	p.space()
	switch c := p.peek(); {
	case c == '{':
		fields, err := p.object(depth + 1)
		return Value{Kind: Map, Fields: fields}, err
	case c == '[':
		items, err := p.list(depth + 1)
		return Value{Kind: List, Items: items}, err
	case c == '"':
		text, err := p.text()
		return Value{Kind: Text, Text: text}, err
	case c == 't':
		return Value{Kind: Bool, Truth: true}, p.word("true")
	case c == 'f':
		return Value{Kind: Bool}, p.word("false")
	case c == 'n':
		return Value{}, p.word("null")
	default:
		return p.number()
	}
}

func (p *parser) word(want string) error {
	end := p.at + len(want)
	if end > len(p.data) || string(p.data[p.at:end]) != want {
		return errSyntax
	}
	p.at = end
	return nil
}

func (p *parser) object(depth int) (Object, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	p.at++
	object := Object{}
	if p.take('}') {
		return object, nil
	}
	var seen map[string]struct{}
	for {
		p.space()
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if seen, err = p.unique(object, seen, name); err != nil {
			return nil, err
		}
		if !p.take(':') {
			return nil, errSyntax
		}
		value, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		object = append(object, Field{name, value})
		if p.take(',') {
			continue
		}
		if p.take('}') {
			return object, nil
		}
		return nil, errSyntax
	}
}

// unique compares small objects name by name and builds a set for large ones, so that a hostile object costs linear time.
func (p *parser) unique(object Object, seen map[string]struct{}, name string) (map[string]struct{}, error) {
	const few = 24
	if len(object) < few {
		if _, twice := object.Get(name); twice {
			return seen, errDuplicate
		}
		return seen, nil
	}
	if seen == nil {
		seen = make(map[string]struct{}, 2*few)
		for i := range object {
			seen[object[i].Name] = struct{}{}
		}
	}
	if _, twice := seen[name]; twice {
		return seen, errDuplicate
	}
	seen[name] = struct{}{}
	return seen, nil
}

func (p *parser) list(depth int) ([]Value, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	p.at++
	items := []Value{}
	if p.take(']') {
		return items, nil
	}
	for {
		value, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		items = append(items, value)
		if p.take(',') {
			continue
		}
		if p.take(']') {
			return items, nil
		}
		return nil, errSyntax
	}
}

func (p *parser) text() (string, error) {
	if p.peek() != '"' {
		return "", errSyntax
	}
	p.at++
	start := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			text := string(p.data[start:p.at])
			p.at++
			return text, nil
		case c == '\\':
			return p.escaped(append(make([]byte, 0, 2*(p.at-start)+16), p.data[start:p.at]...))
		case c < ' ':
			return "", errSyntax
		}
		p.at++
	}
	return "", errSyntax
}

func (p *parser) escaped(text []byte) (string, error) {
	for p.at < len(p.data) {
		c := p.data[p.at]
		p.at++
		switch {
		case c == '"':
			return string(text), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			text = append(text, c)
		default:
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, r)
		}
	}
	return "", errSyntax
}

func (p *parser) escape() (rune, error) {
	c := p.peek()
	p.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.codePoint()
	}
	return 0, errSyntax
}

func (p *parser) codePoint() (rune, error) {
	first, err := p.hex()
	if err != nil || !utf16.IsSurrogate(first) {
		return first, err
	}
	if p.word(`\u`) != nil {
		return 0, errSyntax
	}
	second, err := p.hex()
	if err != nil {
		return 0, err
	}
	if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
		return r, nil
	}
	return 0, errSyntax
}

func (p *parser) hex() (rune, error) {
	if p.at+4 > len(p.data) {
		return 0, errSyntax
	}
	var r rune
	for _, c := range p.data[p.at : p.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, errSyntax
		}
	}
	p.at += 4
	return r, nil
}

func (p *parser) digits() int {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at - start
}

func (p *parser) number() (Value, error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	leading := p.peek()
	if n := p.digits(); n == 0 || (n > 1 && leading == '0') {
		return Value{}, errSyntax
	}
	if p.peek() == '.' {
		p.at++
		if p.digits() == 0 {
			return Value{}, errSyntax
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return Value{}, errSyntax
		}
	}
	return Value{Kind: Number, Text: string(p.data[start:p.at])}, nil
}

// Int returns a Number as an integer; ok is false where it is none or does not fit.
func (v Value) Int() (number int64, ok bool) {
	if v.Kind != Number {
		return 0, false
	}
	n, err := strconv.ParseInt(v.Text, 10, 64)
	return n, err == nil
}
